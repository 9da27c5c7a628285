"""Repeated rock, paper, scissors against another learner, a bot or a population of them (`roshambo/repeated`).

Purpose        find the pattern in what the other throws, and show none.
Agents         player_0, player_1, one group `player`; against a bot, which then has seat 1, only player_0.
Teams          one kind, `player`, with two teams of one agent (against a bot: one). Both seats are alike.
Actions        Discrete(3): 0 rock, 1 paper, 2 scissors, by both at once.
Rewards        of a throw: 1 to who wins it and -1 to the other, 0 to both where they are equal.
Ends           truncated after `throws` throws: nobody sees a clock.
Outcome        the return, throws won minus throws lost.
Options        throws, recall, opponent; see `Options`.
Source         Lanctot et al. 2023, "Population-based Evaluation in Repeated Rock-Paper-Scissors as a Benchmark for
               Multiagent Reinforcement Learning" (arXiv:2303.03196).
Version        1

Observation    for each of the last `recall` throws, the last one first; zeros where there was none yet
    0-2        what oneself threw, one-hot
    3-5        what the other threw, one-hot
    ...

State          the same from player_0's seat; against a population also which bot it is, one-hot, in the order of
               `names.BOTS`.

Metrics        `rock`, `paper`, `scissors`: throws of player_0; `draws`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.errors import nearest
from environments.games.roshambo import opponents
from environments.games.roshambo.names import BOTS, THROWS
from environments.games.roshambo.opponents import ONE, ZERO, F
from environments.native import Game, options_of
from environments.rng import integer
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

NONE = -1  # no throw yet
TEAM, POPULATION = "team", "population"
A_TEAM, ANY_BOT = -1, -2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set."""

    throws: int = 1000
    """Throws of a match, 1 to 1,000,000."""
    recall: int = 1
    """How many of the last throws are seen, 1 to 100."""
    opponent: str = TEAM
    """`team`: both seats learn; a name from `names.BOTS`: that bot; `population`: one of them, drawn per episode."""

    def __post_init__(self) -> None:
        for name, most in (("throws", 1_000_000), ("recall", 100)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        known = (TEAM, POPULATION, *BOTS)
        if self.opponent not in known:
            listed = f"opponent must be one of {', '.join(known)}, not {self.opponent!r}"
            hint = nearest(str(self.opponent), known)
            raise ValueError(listed + (hint if "did you mean" in hint else ""))


@kernel
def reset_one(state, params, clock):
    """Nobody has thrown yet; a population sends one of its own."""
    state.bot = integer(clock, len(BOTS)) if params.opponent == ANY_BOT else params.opponent
    for i in range(state.recent.shape[0]):
        state.recent[i, 0] = NONE
        state.recent[i, 1] = NONE
    for k in range(3):
        state.counts[0, k] = 0
        state.counts[1, k] = 0
        for j in range(3):
            state.follows[k, j] = 0


@kernel
def remember(state, first, second):
    """Both throws become the last ones."""
    before = state.recent[0, 0]
    if before != NONE:
        state.follows[before, first] += 1
    for i in range(state.recent.shape[0] - 1, 0, -1):
        state.recent[i, 0] = state.recent[i - 1, 0]
        state.recent[i, 1] = state.recent[i - 1, 1]
    state.recent[0, 0] = first
    state.recent[0, 1] = second
    state.counts[0, first] += 1
    state.counts[1, second] += 1


@kernel
def step_one(state, params, clock, actions, out, e):
    """Both throw; numbers that are no throw count as the nearest one."""
    reward = out.groups[0].reward
    first = np.int64(min(max(actions[0][e, 0], 0), 2))
    if reward.shape[1] == 2:
        second = np.int64(min(max(actions[0][e, 1], 0), 2))
    else:
        second = np.int64(opponents.throw(state, params, clock))
    remember(state, first, second)
    ahead = (first - second + 3) % 3  # each throw beats the one before it: 0 draw, 1 won, 2 lost
    won = ONE if ahead == 1 else (-ONE if ahead == 2 else ZERO)
    reward[e, 0] = won
    if reward.shape[1] == 2:
        reward[e, 1] = ZERO - won
    for k in range(3):
        out.metrics[e, k] = ONE if first == k else ZERO
    out.metrics[e, 3] = ONE if ahead == 0 else ZERO


@kernel
def write_recall(row, recent, own):
    """The last throws from seat `own`."""
    column = 0
    for i in range(recent.shape[0]):
        for k in range(3):
            row[column] = ONE if recent[i, own] == k else ZERO
            row[column + 3] = ONE if recent[i, 1 - own] == k else ZERO
            column += 1
        column += 3


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    obs = out.groups[0].obs
    for seat in range(obs.shape[1]):
        write_recall(obs[e, seat], state.recent, seat)
    write_recall(out.state[e], state.recent, 0)
    seen = 6 * state.recent.shape[0]
    for k in range(seen, out.state.shape[1]):
        out.state[e, k] = F(state.bot == k - seen)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    seats = 2 if options.opponent == TEAM else 1
    features = [
        f"{who} {name}, {ago} ago"
        for ago in range(1, options.recall + 1)
        for who in ("own", "other")
        for name in THROWS
    ]
    group = AgentGroup(
        name="player",
        kind="player",
        agents=tuple(f"player_{seat}" for seat in range(seats)),
        observation_space=spaces.Box(0, 1, (len(features),), np.float32),
        action_space=spaces.Discrete(len(THROWS)),
        features=tuple(features),
    )
    return EnvSpec(
        name="roshambo/repeated",
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("player", ("player",), teams=seats),),
        state_size=len(features) + (len(BOTS) if options.opponent == POPULATION else 0),
        max_steps=options.throws,
        metrics=(*((name, "throws of player_0") for name in THROWS), ("draws", "throws")),
        step_seconds=0.4,
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    pi, cycle = opponents.pi_throws(), opponents.de_bruijn_throws()
    fields = [("opponent", np.int64), ("pi", np.int64, pi.shape), ("cycle", np.int64, cycle.shape)]
    record = np.zeros(1, np.dtype(fields, align=True))
    known = {TEAM: A_TEAM, POPULATION: ANY_BOT, **{name: number for number, name in enumerate(BOTS)}}
    record["opponent"], record["pi"], record["cycle"] = known[options.opponent], pi, cycle
    return record


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy.

    `bot`: number of the opponent in `names.BOTS`, negative where there is none; `recent [recall, 2]`: the last
    throws, the last one first, -1 where there is none; `counts [2, 3]`: how often each seat made each throw;
    `follows [3, 3]`: how often player_0 made a throw (second axis) after another (first axis).
    """
    fields = [
        ("bot", np.int64),
        ("recent", np.int64, (options.recall, 2)),
        ("counts", np.int64, (2, 3)),
        ("follows", np.int64, (3, 3)),
    ]
    return np.dtype(fields, align=True)


GAME = Game("roshambo/repeated", Options, spec, params, state, reset_one, step_one, observe_one)
