"""Cross-play: how well players work together who did not learn together.

Every pair of players forms teams, each playing every other agent, both ways round on one key; and every player forms a
team with itself. What a player loses by strange partners is the gap between the diagonal and the rest (Hu et al. 2020,
"Other-Play", arXiv:2003.02979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import environments
from environments.spec import EnvSpec
from league.contest import Block, Contest, Entrant, Game, cut, match_key
from league.runner import complete
from league.store import Store


def split(agents: int, turned: int) -> tuple[int, ...]:
    """For each agent of a team, which of two players has it: every other one, the first or the second beginning."""
    return tuple((agent + turned) % 2 for agent in range(agents))


def blocks(contest: Contest, spec: EnvSpec, first: Entrant, second: Entrant) -> list[Block]:
    """All games of two players as one team; of one with itself, where both are the same."""
    agents, games = len(spec.agents), []
    for number in range(contest.games):
        pair, turned = divmod(number, 2)
        lineup = (0,) * agents if first is second else split(agents, turned)
        about: list[str | int] = [
            spec.digest,
            contest.seed,
            "together",
            *sorted((first.identity, second.identity)),
            pair,
        ]
        order = [(first, second)[place].identity for place in lineup]
        key = match_key(*about) if first is not second else match_key(*about, turned)
        games.append(Game(f"{match_key(*about, contest.greedy, turned, *order):016x}", key, lineup))
    return cut(contest, first, second, games)


def run(
    contest: Contest,
    entrants: Sequence[Entrant],
    store: Store,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """Play all pairs and return the team's returns, `[P, P, games]`; games that the store has are not played again.

    The environment has one team.
    """
    spec = environments.make(contest.environment, 1, **contest.options).spec
    count = len(entrants)
    pairs = [(a, b) for a in range(count) for b in range(a, count)]
    schedule = {pair: blocks(contest, spec, *(entrants[place] for place in pair)) for pair in pairs}
    complete(contest, [block for found in schedule.values() for block in found], store, workers, progress)
    returns = np.zeros((count, count, contest.games))
    for (a, b), found in schedule.items():
        ids = [game.id for block in found for game in block.games]
        returns[a, b] = returns[b, a] = [match.outcome[0] for match in store.find(ids)]
    return returns


def summary(returns: NDArray[np.float64]) -> Mapping[str, Any]:
    """Means `[P, P]` of `returns [P, P, games]`, and what strangers lose: the diagonal's mean less that of the rest.

    `low` and `high` are its 95 % interval over games, the players being as they are; None for a single player.
    """
    count, games = returns.shape[0], returns.shape[2]
    means = returns.mean(2)
    if count < 2:
        return {"means": means.tolist(), "gap": None, "low": None, "high": None}
    alone = np.eye(count, dtype=bool)
    strangers = np.triu(~alone, 1)
    gap = float(means[alone].mean() - means[strangers].mean())
    noise = returns.var(2, ddof=min(1, games - 1)) / games
    error = np.sqrt(noise[alone].sum() / alone.sum() ** 2 + noise[strangers].sum() / strangers.sum() ** 2)
    return {"means": means.tolist(), "gap": gap, "low": float(gap - 1.96 * error), "high": float(gap + 1.96 * error)}
