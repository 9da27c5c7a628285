"""Plans of leagues: which learners there are, whom each of them meets, when it leaves a snapshot and when it begins
anew. Plain data and pure functions of what is known of the opponents.

Source of the roles, shares and thresholds of `alphastar`: Vinyals et al. 2019, "Grandmaster level in StarCraft II using
multi-agent reinforcement learning", Methods; its phases of 2e9 steps are `snapshot_steps` here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from league import matchmaking
from league.config import LeagueConfig

Floats = NDArray[np.float64]
Part = Literal["main", "main_exploiter", "league_exploiter"]

BEATEN = 0.7
"""Win rate against everybody concerned from which a learner has done what it can."""
HOPELESS = 0.1
"""Win rate against a main below which its exploiter practises on the main's past first."""
EVEN = 0.3
"""Win rate against another main above which a main plays its present state."""
FORGOTTEN_EXPLOITER, FORGOTTEN_MAIN = 0.3, 0.7
"""Win rates below which an exploiter's or a main's snapshot counts as forgotten."""
HARD, FORGOTTEN, PRESENT = 0.5, 0.15, 0.35
"""A main's shares: the whole past by `pfsp`, what it has forgotten, present mains."""
RESTART = 0.25
"""Chance that a league exploiter begins anew after a snapshot."""
LONGEST = 2
"""Phases after which a snapshot is taken whatever the win rates."""


@dataclass(frozen=True)
class Candidate:
    """Somebody who can be met, as matchmaking sees him."""

    number: int
    """In the store; a learner's own number is that of the learner that is matched."""
    part: str
    """What it is: main, main_exploiter, league_exploiter (also of their snapshots), or bot."""
    line: str
    """Name of the learner that it is or was copied from; a bot's own."""
    live: bool
    """Whether it is a learner in its present state, rather than a snapshot or a bot."""
    win_rate: float = 0.5
    """Of the learner that is matched, against it."""


@dataclass(frozen=True)
class Situation:
    """All that a choice of opponents depends on."""

    part: Part
    """Of the learner that is matched."""
    candidates: tuple[Candidate, ...]
    """Of one kind of team, snapshots from old to new, then those who are live."""
    config: LeagueConfig


def parts(config: LeagueConfig) -> list[tuple[Part, int]]:
    """The learners of each kind of team: part and number of it, in the order of their turns."""
    counts: list[tuple[Part, int]] = [("main", config.mains)]
    if config.plan == "alphastar":
        counts += [("main_exploiter", config.main_exploiters), ("league_exploiter", config.league_exploiters)]
    return [(part, index) for part, count in counts for index in range(count)]


def names(config: LeagueConfig, kinds: Sequence[str]) -> dict[str, tuple[str, Part]]:
    """The learners of all those kinds of team: name -> kind and part."""
    found: dict[str, tuple[str, Part]] = {}
    for kind in kinds:
        for part, index in parts(config):
            alone = sum(other == part for other, _ in parts(config)) == 1
            name = part if alone else f"{part}_{index}"
            found[name if len(kinds) == 1 else f"{kind}.{name}"] = kind, part
    return found


def is_of(name: str, learner: str) -> bool:
    """Whether a player's name is that of a learner, of one that began anew in its place, or of one of its snapshots."""
    return re.fullmatch(rf"{re.escape(learner)}([.-]\d+)?", name) is not None


def opponents(situation: Situation) -> Floats:
    """Probability of meeting each candidate. ValueError where there is none."""
    bots = _where(situation, lambda c: c.part == "bot")
    share = situation.config.bot_share
    if bots.all():
        return matchmaking.uniform(len(bots))
    rule = PLANS[situation.config.plan]
    learned = _within(situation, ~bots, rule)
    if not bots.any() or share == 0.0:
        return learned
    return matchmaking.mix([share, 1.0 - share], [bots / bots.sum(), learned])


def _self_play(situation: Situation) -> Floats:
    """The present mains by the share that is asked for, the rest their past."""
    live = _where(situation, lambda c: c.live)
    past = ~live
    share = situation.config.latest if past.any() else 1.0
    return matchmaking.mix([share, 1.0 - share], [_even(live), _even(past)])


def _fictitious(situation: Situation) -> Floats:
    """All snapshots alike."""
    return _even(_past_or_all(situation))


def _pfsp(situation: Situation) -> Floats:
    """Snapshots by how hard they are to beat."""
    weighting = situation.config.weighting
    return _within(situation, _past_or_all(situation), lambda s: matchmaking.pfsp(_rates(s), weighting))


def _alphastar(situation: Situation) -> Floats:
    return {"main": main, "main_exploiter": main_exploiter, "league_exploiter": league_exploiter}[situation.part](
        situation
    )


def main(situation: Situation) -> Floats:
    """Half the whole past by `pfsp`, 15 % what was forgotten, 35 % present mains (itself, where it plays both sides).

    Where nothing is forgotten that share is the present's.
    """
    past = _where(situation, lambda c: not c.live)
    present = _present(situation)
    hard = _within(situation, past, lambda s: matchmaking.pfsp(_rates(s), "hard"))
    lost = _lost(situation)
    return matchmaking.mix([HARD, FORGOTTEN, PRESENT], [hard, lost if lost.any() else present, present])


def main_exploiter(situation: Situation) -> Floats:
    """A main; its snapshots by variance where it cannot be beaten yet."""
    return _over_mains(situation, HOPELESS)


def league_exploiter(situation: Situation) -> Floats:
    """All snapshots, the easy ones seldom."""
    return _within(situation, _past_or_all(situation), lambda s: matchmaking.pfsp(_rates(s), "capped"))


def _present(situation: Situation) -> Floats:
    """The mains as they are, or by their snapshots where one is too strong."""
    return _over_mains(situation, EVEN)


def _over_mains(situation: Situation, least: float) -> Floats:
    """Each main alike: its present state where the win rate is above `least`, else its snapshots by variance."""
    each = []
    for place, candidate in enumerate(situation.candidates):
        if not candidate.live or candidate.part != "main":
            continue
        own = np.zeros(len(situation.candidates))
        own[place] = 1.0
        line = candidate.line
        past = _where(situation, lambda c, line=line: not c.live and c.line == line)  # type: ignore[misc]
        if candidate.win_rate <= least and past.any():
            own = _within(situation, past, lambda s: matchmaking.pfsp(_rates(s), "variance"))
        each.append(own)
    if not each:
        return _even(_past_or_all(situation))
    return np.asarray(np.mean(each, 0), np.float64)


def _lost(situation: Situation) -> Floats:
    """Exploiters' snapshots that beat the learner; else snapshots of mains that it used to beat; zeros: none."""
    exploiters = _where(situation, lambda c: not c.live and c.part == "main_exploiter")
    found = _within(situation, exploiters, lambda s: matchmaking.forgotten(_rates(s), FORGOTTEN_EXPLOITER))
    if found.any():
        return found
    mains = _where(situation, lambda c: not c.live and c.part == "main")
    lines = np.array([candidate.line for candidate in situation.candidates])
    for line in np.unique(lines[mains]):
        own = np.flatnonzero(mains & (lines == line))
        mains[own[matchmaking.forgettable(_rates(situation)[own]) :]] = False
    return _within(situation, mains, lambda s: matchmaking.forgotten(_rates(s), FORGOTTEN_MAIN))


def snapshot_due(part: Part, steps: int, situations: Sequence[Situation], config: LeagueConfig) -> bool:
    """Whether a learner that trained `steps` since its last snapshot leaves one.

    After a phase; in alphastar after one in which it came to win, or after the longest.
    """
    if steps < config.snapshot_steps:
        return False
    if config.plan != "alphastar" or steps >= LONGEST * config.snapshot_steps:
        return True
    rates = [c.win_rate for situation in situations for c in situation.candidates if _is_to_beat(part, c)]
    return min(rates, default=0.0) > BEATEN


def _is_to_beat(part: Part, candidate: Candidate) -> bool:
    """Whom a learner has to beat before it is done: a main all snapshots, its exploiter the mains, others them all."""
    if part == "main_exploiter":
        return candidate.live and candidate.part == "main"
    return not candidate.live and candidate.part != "bot"


def begins_anew(part: Part, config: LeagueConfig, uniform_number: float) -> bool:
    """Whether a learner begins anew after its snapshot; the number, in [0, 1), decides where it is by chance."""
    if config.plan == "psro" or part == "main_exploiter":
        return True
    return part == "league_exploiter" and uniform_number < RESTART


Rule = Callable[[Situation], Floats]

PLANS: dict[str, Rule] = {
    "self-play": _self_play,
    "fictitious": _fictitious,
    "pfsp": _pfsp,
    "alphastar": _alphastar,
}
"""From a situation without bots to probabilities. In psro they are the meta-solver's: `league.psro`."""


def _where(situation: Situation, holds: Callable[[Candidate], bool]) -> NDArray[np.bool_]:
    return np.array([holds(candidate) for candidate in situation.candidates], np.bool_)


def _rates(situation: Situation) -> Floats:
    return np.array([candidate.win_rate for candidate in situation.candidates])


def _past_or_all(situation: Situation) -> NDArray[np.bool_]:
    past = _where(situation, lambda c: not c.live)
    return past if past.any() else ~past


def _even(chosen: NDArray[np.bool_]) -> Floats:
    """Those alike; zeros where there are none."""
    return chosen / max(int(chosen.sum()), 1)


def _within(situation: Situation, chosen: NDArray[np.bool_], rule: Rule) -> Floats:
    """A rule's choice among some of the candidates; zeros where there are none."""
    found = np.zeros(len(chosen))
    if chosen.any():
        some = tuple(c for c, is_one in zip(situation.candidates, chosen, strict=True) if is_one)
        found[chosen] = rule(Situation(situation.part, some, situation.config))
    return found
