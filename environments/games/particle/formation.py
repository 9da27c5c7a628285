"""Formation: agents stand evenly on a circle around a landmark (`particle/formation`).

Purpose        coordination: who takes which place, when the places turn with the agents.
Agents         agent_0 ... agent_{N-1}, one group `agent`, discs of radius 0.05 that push one another.
Teams          one, `team`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        all the same: -(mean over agents of the distance to the place assigned, at most 2 each), agents being
               assigned to places so that the summed distance is least.
Ends           truncated at max_cycles; terminated, with terminate_on_success, once all are within 0.05 of their places.
Options        N, max_cycles, continuous_actions, terminate_on_success; see `places.Options`.
Source         mpe2 1.1.1, simple_formation_v1.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2; other agents are not seen)
    0-1        own velocity, per second
    2-3        own position
    4-5        offset of the landmark, the centre
"""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics, places
from environments.games.particle.common import Disc
from environments.games.particle.physics import ZERO, F
from environments.games.particle.places import Options, observe_one
from environments.intrinsics import scratch_row
from environments.native import Game
from environments.spec import EnvSpec
from environments.vector import Array

AGENT = Disc(size=0.05)
LANDMARKS = 1
LANDMARK_SIZE = 0.03
CENTRE_REACH = F(0.5)  # the landmark starts within it
RADIUS = F(0.5)
FULL_TURN = F(2.0 * np.pi)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    return places.spec("particle/formation", options, LANDMARKS)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    angles = 2.0 * np.pi * np.arange(options.N) / options.N
    return common.params_record(
        options,
        [AGENT] * options.N,
        [LANDMARK_SIZE] * LANDMARKS,
        terminate_on_success=int(options.terminate_on_success),
        turn=np.stack([np.cos(angles), np.sin(angles)], axis=1),  # from the first place to place j
    )


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(options.N, LANDMARKS)


@kernel
def reset_one(state, params, clock):
    """Agents anywhere in the arena, the landmark near its centre."""
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, CENTRE_REACH)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then measure against the circle that starts at the agent with the smallest angle."""
    physics.steer(state, params, 0, actions[0], e)
    physics.collide_agents(state, params)
    physics.move(state, params)

    p, centre = state.agent_position, state.landmark_position
    agents = p.shape[0]
    start = FULL_TURN
    for i in range(agents):
        angle = np.arctan2(p[i, 1] - centre[0, 1], p[i, 0] - centre[0, 0])
        start = min(start, angle + FULL_TURN if angle < ZERO else angle)
    x, y = scratch_row(p, np.float32), scratch_row(p, np.float32)
    along = RADIUS * np.cos(start)
    across = RADIUS * np.sin(start)
    for j in range(agents):
        x[j] = centre[0, 0] + along * params.turn[j, 0] - across * params.turn[j, 1]
        y[j] = centre[0, 1] + along * params.turn[j, 1] + across * params.turn[j, 0]
    places.settle(state, params, clock, out, e, x, y)


GAME = Game("particle/formation", Options, spec, params, state, reset_one, step_one, observe_one)
