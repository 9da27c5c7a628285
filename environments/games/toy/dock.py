"""Dock: carts on a line drive to their own berth against gusts of wind (`toy/dock`).

Agents: `cart_0`, `cart_1`, ... in one group and one team, `team`.
Actions: Box float32, thrust in [-1, 2] (lopsided on purpose) and brake in [0, 1]; values outside are clipped.
Observation, float32: position (m), velocity (m/s), berth minus position (m), time left (share of `max_cycles`).
State: position, velocity and berth of every cart, then the time left. Agent state: the same numbers, own cart first.
Dynamics, each step of 0.1 s: v <- (1 - brake/2) v + (2 thrust + gust) 0.1; x <- x + 0.1 v; the gust is uniform in
[-`gust`, `gust`] and new at every step for every cart. Speed and position are not bounded.
Reward: minus the distance to the own berth, in m. Ends: never by rule; truncated after `max_cycles` steps.
Metrics: `distance` (sum over carts and steps of the distance to the berth, m).
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
from environments.rng import uniform
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
ZERO, ONE, TWO, HALF = F(0.0), F(1.0), F(2.0), F(0.5)
STEP_SECONDS = F(0.1)
LOW, HIGH = F(-1.0), F(2.0)  # thrust


@dataclass(frozen=True)
class Options:
    """What people may set."""

    carts: int = 2
    """Carts, 1 to 16."""
    gust: float = 0.5
    """Strongest gust, m/s^2, 0 to 10."""
    max_cycles: int = 20
    """Steps after which an episode is truncated, at least 1."""

    def __post_init__(self) -> None:
        check_range("carts", self.carts, 1, 16)
        check_range("gust", self.gust, 0, 10)
        check_range("max_cycles", self.max_cycles, 1, 10_000)


@kernel
def reset_one(state, params, clock):
    """Carts at rest, carts and berths anywhere in [-1, 1]."""
    for i in range(state.position.shape[0]):
        state.position[i] = uniform(clock, -ONE, ONE)
        state.berth[i] = uniform(clock, -ONE, ONE)
        state.velocity[i] = ZERO


@kernel
def step_one(state, params, clock, actions, out, e):
    """Drive, then pay."""
    reward = out.groups[0].reward
    total = ZERO
    for i in range(state.position.shape[0]):
        thrust = min(max(actions[0][e, i, 0], LOW), HIGH)
        brake = min(max(actions[0][e, i, 1], ZERO), ONE)
        gust = uniform(clock, -params.gust, params.gust)
        v = (ONE - HALF * brake) * state.velocity[i] + (TWO * thrust + gust) * STEP_SECONDS
        state.velocity[i] = v
        state.position[i] += v * STEP_SECONDS
        away = abs(state.berth[i] - state.position[i])
        reward[e, i] = -away
        total += away
    out.metrics[e, 0] = total


@kernel
def observe_one(state, params, clock, out, e):
    """Write the views, the state and every cart's own view of it."""
    group = out.groups[0]
    carts = state.position.shape[0]
    left = F(params.max_steps - clock.step) / F(params.max_steps)
    for i in range(carts):
        group.obs[e, i, 0] = state.position[i]
        group.obs[e, i, 1] = state.velocity[i]
        group.obs[e, i, 2] = state.berth[i] - state.position[i]
        group.obs[e, i, 3] = left
        out.state[e, 3 * i] = state.position[i]
        out.state[e, 3 * i + 1] = state.velocity[i]
        out.state[e, 3 * i + 2] = state.berth[i]
    out.state[e, 3 * carts] = left
    for i in range(carts):
        for j in range(carts):
            other = (i + j) % carts
            for c in range(3):
                group.agent_state[e, i, 3 * j + c] = out.state[e, 3 * other + c]
        group.agent_state[e, i, 3 * carts] = left


def spec(options: Options) -> EnvSpec:
    """The description."""
    n = options.carts
    group = AgentGroup(
        name="cart",
        kind="team",
        agents=tuple(f"cart_{i}" for i in range(n)),
        observation_space=spaces.Box(-np.inf, np.inf, (4,), np.float32),
        action_space=spaces.Box(np.array([-1, 0], np.float32), np.array([2, 1], np.float32)),
        features=("position", "velocity", "to berth", "time left"),
        agent_state_size=3 * n + 1,
    )
    return EnvSpec(
        name="toy/dock",
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("team", ("cart",)),),
        state_size=3 * n + 1,
        max_steps=options.max_cycles,
        metrics=(("distance", "m"),),
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    record = np.zeros(1, np.dtype([("gust", np.float32), ("max_steps", np.int64)], align=True))
    record["gust"] = options.gust
    record["max_steps"] = options.max_cycles
    return record


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state: `position`, `velocity`, `berth`, each `[carts]`, in m and m/s."""
    n = (options.carts,)
    fields = [("position", np.float32, n), ("velocity", np.float32, n), ("berth", np.float32, n)]
    return np.dtype(fields, align=True)


GAME = Game("toy/dock", Options, spec, params, state_type, reset_one, step_one, observe_one)
