"""Simple: one agent walks to one landmark (`particle/simple`).

Purpose        a first check that a learner learns.
Agents         agent_0, group `agent`, a disc of radius 0.05 that collides with nothing.
Teams          one, `team`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        -(squared distance to the landmark).
Ends           truncated at max_cycles.
Options        max_cycles, continuous_actions; see `common.ParticleOptions`.
Source         mpe2 1.1.1, simple_v3.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-3        offset of the landmark
"""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.common import ParticleOptions as Options
from environments.games.particle.physics import ONE
from environments.native import Game
from environments.spec import EnvSpec
from environments.vector import Array


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    features = common.OWN_VELOCITY + common.offsets(["landmark"])
    group = common.group("agent", "team", ["agent_0"], features, common.actions(options))
    return common.spec("particle/simple", options, [group], [("final_distance", "arena units")])


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_record(options, [Disc()], [0.05])


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(1, 1)


@kernel
def reset_one(state, params, clock):
    """Agent and landmark anywhere in the arena."""
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then pay for the distance."""
    physics.steer(state, params, 0, actions[0], e)
    physics.move(state, params)
    squared = physics.squared_distance(state.agent_position, 0, state.landmark_position, 0)
    out.groups[0].reward[e, 0] = -squared
    if physics.last_step(params, clock):
        out.metrics[e, 0] = np.sqrt(squared)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    row = out.groups[0].obs[e, 0]
    column = physics.write_pair(row, 0, state.agent_velocity, 0)
    physics.write_offset(row, column, state.agent_position, 0, state.landmark_position, 0)
    physics.write_state(out, e)


GAME = Game("particle/simple", Options, spec, params, state, reset_one, step_one, observe_one)
