"""Recall: each agent sees a sign for one step and has to name it many steps later (`memory/recall`).

Agents: `agent_0`, `agent_1`, ... in one group and one team, `team`.
Actions: Discrete(`signs`): the sign that is named. What is said before the last step is not heard.
Observation, float32, 0 or 1:

| columns | what | unit |
|---|---|---|
| 0 .. `signs` - 1 | own sign, at the first step; zeros afterwards | one-hot |
| `signs` | it is time to name it | flag |

Nothing tells the steps between apart, so an action that depends on the observation alone is right by chance: once in
`signs` times. State: every agent's sign (one-hot, one after the other), then the share of the episode that is over.
Reward: 1 to each agent that names its sign at the last step. Ends: terminated after step number `delay`, the first
being number 0. Metrics: `recalled` (share of the agents that were right, noted at the last step).
Source: this project; the sign and the delay are the T-maze's (Bakker 2001, "Reinforcement learning with long
short-term memory"), without the walk. Version 1.
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
ZERO, ONE = F(0.0), F(1.0)


@dataclass(frozen=True)
class Options:
    """What people may set."""

    agents: int = 2
    """Agents, 1 to 16."""
    signs: int = 4
    """Different signs, 2 to 16."""
    delay: int = 20
    """Steps between the sign and the answer, 1 to 1000."""

    def __post_init__(self) -> None:
        check_range("agents", self.agents, 1, 16)
        check_range("signs", self.signs, 2, 16)
        check_range("delay", self.delay, 1, 1000)


@kernel
def reset_one(state, params, clock):
    """A sign for everybody."""
    for i in range(state.sign.shape[0]):
        state.sign[i] = integer(clock, params.signs)
        state.said[i] = -1
    state.waited = 0


@kernel
def step_one(state, params, clock, actions, out, e):
    """Wait; at the last step hear what is said."""
    agents = state.sign.shape[0]
    group = out.groups[0]
    last = state.waited == params.delay
    right = 0
    for i in range(agents):
        state.said[i] = actions[0][e, i]
        found = last and state.said[i] == state.sign[i]
        right += found
        group.reward[e, i] = ONE if found else ZERO
        group.terminated[e, i] = last
    state.waited += 1
    out.metrics[e, 0] = F(right) / F(agents)


@kernel
def observe_one(state, params, clock, out, e):
    """Write the views and the state."""
    obs = out.groups[0].obs
    signs = params.signs
    first = state.waited == 0
    for i in range(state.sign.shape[0]):
        for k in range(signs):
            here = ONE if state.sign[i] == k else ZERO
            obs[e, i, k] = here if first else ZERO
            out.state[e, i * signs + k] = here
        obs[e, i, signs] = ONE if state.waited == params.delay else ZERO
    out.state[e, state.sign.shape[0] * signs] = F(state.waited) / F(params.delay + 1)


def spec(options: Options) -> EnvSpec:
    """The description."""
    group = AgentGroup(
        name="agent",
        kind="team",
        agents=tuple(f"agent_{i}" for i in range(options.agents)),
        observation_space=spaces.Box(0, 1, (options.signs + 1,), np.float32),
        action_space=spaces.Discrete(options.signs),
        features=(*(f"sign {k}" for k in range(options.signs)), "now"),
    )
    return EnvSpec(
        name="memory/recall",
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("team", ("agent",)),),
        state_size=options.agents * options.signs + 1,
        max_steps=None,
        metrics=(("recalled", "share of agents"),),
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    record = np.zeros(1, np.dtype([("signs", np.int64), ("delay", np.int64)], align=True))
    record["signs"] = options.signs
    record["delay"] = options.delay
    return record


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state: `sign` and `said` (the last action, -1 before the first), each `[agents]`, and the
    number of the present step."""
    n = (options.agents,)
    return np.dtype([("sign", np.int64, n), ("said", np.int64, n), ("waited", np.int64)], align=True)


GAME = Game("memory/recall", Options, spec, params, state_type, reset_one, step_one, observe_one)
