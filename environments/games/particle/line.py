"""Line: agents stand evenly on the line between two landmarks (`particle/line`).

Purpose        coordination: who takes which place on a line that is new in every episode.
Agents         agent_0 ... agent_{N-1}, one group `agent`, discs of radius 0.03 that push one another.
Teams          one, `team`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        all the same: -(mean over agents of the distance to the place assigned, at most 2 each), agents being
               assigned to places so that the summed distance is least.
Ends           truncated at max_cycles; terminated, with terminate_on_success, once all are within 0.05 of their places.
Options        N, max_cycles, continuous_actions, terminate_on_success; see `places.Options`.
Source         mpe2 1.1.1, simple_line_v1.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2; other agents are not seen)
    0-1        own velocity, per second
    2-3        own position
    4-7        offset of landmarks 0, 1, the ends of the line
"""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics, places
from environments.games.particle.common import Disc
from environments.games.particle.physics import ONE, ZERO, F
from environments.games.particle.places import Options, observe_one
from environments.intrinsics import scratch_row
from environments.native import Game
from environments.rng import uniform
from environments.spec import EnvSpec
from environments.vector import Array

AGENT = Disc(size=0.03)
LANDMARKS = 2
LANDMARK_SIZE = 0.02
START_REACH = F(0.25)  # landmark 0 starts within it
LENGTH = F(1.25)  # of the line
FULL_TURN = F(2.0 * np.pi)
TURN = F(np.pi / 36.0)  # 5 degrees
TURNS = 72


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    return places.spec("particle/line", options, LANDMARKS)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    success = int(options.terminate_on_success)
    sizes = [LANDMARK_SIZE] * LANDMARKS
    return common.params_record(options, [AGENT] * options.N, sizes, terminate_on_success=success)


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(options.N, LANDMARKS)


@kernel
def reset_one(state, params, clock):
    """Agents anywhere in the arena, a line in a random direction, turned on until it ends inside the arena."""
    physics.scatter_agents(state, clock)
    q = state.landmark_position
    q[0, 0] = uniform(clock, -START_REACH, START_REACH)
    q[0, 1] = uniform(clock, -START_REACH, START_REACH)
    angle = uniform(clock, ZERO, FULL_TURN)
    for _ in range(TURNS):
        q[1, 0] = q[0, 0] + LENGTH * np.cos(angle)
        q[1, 1] = q[0, 1] + LENGTH * np.sin(angle)
        if abs(q[1, 0]) < ONE and abs(q[1, 1]) < ONE:
            break
        angle += TURN


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then measure against places evenly spaced from landmark 0 to landmark 1."""
    physics.steer(state, params, 0, actions[0], e)
    physics.collide_agents(state, params)
    physics.move(state, params)

    q = state.landmark_position
    agents = state.agent_position.shape[0]
    x, y = scratch_row(state.agent_position, np.float32), scratch_row(state.agent_position, np.float32)
    for j in range(agents):
        share = F(j) / F(max(agents - 1, 1))
        x[j] = q[0, 0] + share * (q[1, 0] - q[0, 0])
        y[j] = q[0, 1] + share * (q[1, 1] - q[0, 1])
    places.settle(state, params, clock, out, e, x, y)


GAME = Game("particle/line", Options, spec, params, state, reset_one, step_one, observe_one)
