"""Meet: walkers on a line of cells try to stand in one cell (`toy/meet`).

Agents: `agent_0`, `agent_1`, ... in one group and one team, `team`.
Actions: Discrete(3): 0 stay, 1 step left, 2 step right. A step through the wall is illegal (masked) and does nothing.
Observation, float32, all in [-1, 1]:

| columns | what | unit |
|---|---|---|
| 0 | own cell | -1 first cell, 1 last |
| 1 | time left | share of `max_cycles` |
| 2.. | cell of each other agent minus own, in order | half lines |

State: every agent's cell, then the time left. Reward, to each agent: 1 when all stand in one cell, else -0.1.
Ends: terminated when all stand in one cell; truncated after `max_cycles` steps. At the start they never do.
Metrics: `moves` (cells walked by all agents), `met` (1 where the episode ended in one cell).
Source: this project. Version 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.errors import check_range
from environments.native import Game, options_of
from environments.rng import integer
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
ZERO, ONE, TWO = F(0.0), F(1.0), F(2.0)
COST = F(-0.1)


@dataclass(frozen=True)
class Options:
    """What people may set."""

    agents: int = 3
    """Walkers, 2 to 16."""
    cells: int = 5
    """Cells of the line, 2 to 64."""
    max_cycles: int = 25
    """Steps after which an episode is truncated, at least 1."""

    def __post_init__(self) -> None:
        check_range("agents", self.agents, 2, 16)
        check_range("cells", self.cells, 2, 64)
        check_range("max_cycles", self.max_cycles, 1, 10_000)


@kernel
def all_together(state):
    """True where every agent stands in one cell."""
    together = True
    for i in range(1, state.cell.shape[0]):
        together &= state.cell[i] == state.cell[0]
    return together


@kernel
def reset_one(state, params, clock):
    """Anywhere, but not all in one cell."""
    for i in range(state.cell.shape[0]):
        state.cell[i] = integer(clock, params.cells)
    if all_together(state):
        state.cell[0] = (state.cell[0] + 1) % params.cells


@kernel
def step_one(state, params, clock, actions, out, e):
    """Walk, then look whether all have met."""
    moved = 0
    for i in range(state.cell.shape[0]):
        move = actions[0][e, i]
        goal = state.cell[i] + (move == 2) - (move == 1)
        goal = min(max(goal, 0), params.cells - 1)
        moved += goal != state.cell[i]
        state.cell[i] = goal
    met = all_together(state)
    group = out.groups[0]
    for i in range(state.cell.shape[0]):
        group.reward[e, i] = ONE if met else COST
        group.terminated[e, i] = met
    out.metrics[e, 0] = F(moved)
    out.metrics[e, 1] = F(met)


@kernel
def observe_one(state, params, clock, out, e):
    """Write the views, the state and the legal moves."""
    group = out.groups[0]
    agents = state.cell.shape[0]
    span = F(params.cells - 1)
    left = F(params.max_steps - clock.step) / F(params.max_steps)
    for i in range(agents):
        group.obs[e, i, 0] = TWO * F(state.cell[i]) / span - ONE
        group.obs[e, i, 1] = left
        column = 2
        for j in range(agents):
            if j != i:
                group.obs[e, i, column] = F(state.cell[j] - state.cell[i]) / span
                column += 1
        group.action_mask[e, i, 1] = state.cell[i] > 0
        group.action_mask[e, i, 2] = state.cell[i] < params.cells - 1
        out.state[e, i] = group.obs[e, i, 0]
    out.state[e, agents] = left


def spec(options: Options) -> EnvSpec:
    """The description."""
    n = options.agents
    group = AgentGroup(
        name="agent",
        kind="team",
        agents=tuple(f"agent_{i}" for i in range(n)),
        observation_space=spaces.Box(-1, 1, (n + 1,), np.float32),
        action_space=spaces.Discrete(3),
        features=("cell", "time left", *(f"other {j} cell" for j in range(n - 1))),
        masked=True,
    )
    return EnvSpec(
        name="toy/meet",
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("team", ("agent",)),),
        state_size=n + 1,
        max_steps=options.max_cycles,
        metrics=(("moves", "cells"), ("met", "episodes")),
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    record = np.zeros(1, np.dtype([("cells", np.int64), ("max_steps", np.int64)], align=True))
    record["cells"] = options.cells
    record["max_steps"] = options.max_cycles
    return record


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state: `cell [agents]`, from 0."""
    return np.dtype([("cell", np.int64, (options.agents,))], align=True)


GAME = Game("toy/meet", Options, spec, params, state_type, reset_one, step_one, observe_one)
