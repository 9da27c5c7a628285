"""Spread: N agents cover N landmarks without colliding (`particle/spread`, after mpe2's simple_spread_v3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.games.particle import physics
from environments.games.particle.physics import F, ZERO, ONE
from environments.native import Game, options_of
from environments.spec import AgentGroup, EnvSpec, TeamKind


@dataclass(frozen=True)
class Options:
    N: int = 3
    local_ratio: float = 0.5
    max_cycles: int = 25
    continuous_actions: bool = False


@kernel
def reset_one(state, params, clock):
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)


@kernel
def step_one(state, params, clock, actions, out, e):
    physics.steer(state, params, 0, actions[0], e)
    physics.simulate(state, params)
    p = state.agent_position
    q = state.landmark_position
    shared = ZERO
    for k in range(q.shape[0]):
        nearest = F(np.inf)
        for i in range(p.shape[0]):
            nearest = min(nearest, physics.distance(p[i, 0], p[i, 1], q[k, 0], q[k, 1]))
        shared -= nearest
    reward = out.groups[0].reward
    for i in range(p.shape[0]):
        reward[e, i] = shared * (ONE - params.local_ratio)
    for i in range(p.shape[0]):
        for j in range(i + 1, p.shape[0]):
            if physics.touching(state, params, i, j):
                reward[e, i] -= params.local_ratio
                reward[e, j] -= params.local_ratio


@kernel
def observe_one(state, params, clock, out, e):
    obs = out.groups[0].obs
    p = state.agent_position
    q = state.landmark_position
    agents = p.shape[0]
    for i in range(agents):
        obs[e, i, 0] = state.agent_velocity[i, 0]
        obs[e, i, 1] = state.agent_velocity[i, 1]
        obs[e, i, 2] = p[i, 0]
        obs[e, i, 3] = p[i, 1]
        column = 4
        for k in range(q.shape[0]):
            obs[e, i, column] = q[k, 0] - p[i, 0]
            obs[e, i, column + 1] = q[k, 1] - p[i, 1]
            column += 2
        for j in range(agents):
            if j != i:
                obs[e, i, column] = p[j, 0] - p[i, 0]
                obs[e, i, column + 1] = p[j, 1] - p[i, 1]
                column += 2
        for c in range(column, obs.shape[2]):
            obs[e, i, c] = ZERO
    for i in range(agents):
        for c in range(obs.shape[2]):
            out.state[e, i * obs.shape[2] + c] = obs[e, i, c]


def spec(o):
    n = o.N
    size = 4 + 2*n + 4*(n-1)
    agents = tuple(f"agent_{i}" for i in range(n))
    space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
    act = spaces.Box(0, 1, (5,), np.float32) if o.continuous_actions else spaces.Discrete(5)
    return EnvSpec(name="particle/spread", version=1, agents=agents, groups=(AgentGroup("agent", "team", agents, space, act),), kinds=(TeamKind("team", ("agent",)),), state_size=size*n, max_steps=o.max_cycles, options=options_of(o))


def params(o):
    n = o.N
    dt = np.dtype([("agent_size", "f4", (n,)), ("sensitivity", "f4", (n,)), ("max_speed", "f4", (n,)), ("agent_collides", "u1", (n,)), ("agent_movable", "u1", (n,)), ("landmark_size", "f4", (n,)), ("landmark_collides", "u1", (n,)), ("local_ratio", "f4")], align=True)
    x = np.zeros(1, dt)
    x["agent_size"] = .15; x["sensitivity"] = 5; x["max_speed"] = np.inf; x["agent_collides"] = True; x["agent_movable"] = True; x["landmark_size"] = .05; x["local_ratio"] = o.local_ratio
    return x


def state_type(o):
    n = o.N
    return np.dtype([("agent_position", "f4", (n, 2)), ("agent_velocity", "f4", (n, 2)), ("force", "f4", (n, 2)), ("landmark_position", "f4", (n, 2))], align=True)

GAME = Game("particle/spread", Options, spec, params, state_type, reset_one, step_one, observe_one)
