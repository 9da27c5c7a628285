"""Push: an adversary keeps the good agent away from a goal that only the good agent knows (`particle/push`).

Purpose        competition with hidden information and body contact.
Agents         adversary_0, group `adversary`; agent_0, group `agent`. Discs of radius 0.05 that push one another.
Teams          `adversary` and `good`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        good agent: -(its distance to the goal landmark).
               adversary: (distance of the good agent to the goal) - (its own).
Ends           truncated at max_cycles.
Options        max_cycles, continuous_actions; see `common.ParticleOptions`.
Source         mpe2 1.1.1, simple_push_v3.
Version        1

Observation of the adversary    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-5        offset of landmarks 0, 1
    6-7        offset of the good agent

Observation of the good agent
    0-1        own velocity, per second
    2-3        offset of the goal
    4-6        own colour, which shows the goal
    7-10       offset of landmarks 0, 1
    11-16      colour of landmarks 0, 1
    17-18      offset of the adversary
"""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.common import ParticleOptions as Options
from environments.games.particle.physics import NOBODY, ONE, F
from environments.native import Game
from environments.rng import integer
from environments.spec import EnvSpec
from environments.vector import Array

ADVERSARY, GOOD = 0, 1
LANDMARKS = 2
COLOURS = ("red", "green", "blue")
AGENT_BRIGHT, AGENT_DARK = F(0.75), F(0.25)  # the good agent's colour: bright in channel 1 + goal
BRIGHT, DARK = F(0.9), F(0.1)  # colour of landmark k: bright in channel 1 + k


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    landmarks = common.numbered("landmark", LANDMARKS)
    colours = tuple(f"{thing}_{colour}" for thing in landmarks for colour in COLOURS)
    own = tuple(f"own_{colour}" for colour in COLOURS)
    of_adversary = common.OWN_VELOCITY + common.offsets([*landmarks, "agent"])
    of_good = common.OWN_VELOCITY + common.offsets(["goal"]) + own
    of_good += common.offsets(landmarks) + colours + common.offsets(["adversary"])
    groups = [
        common.group("adversary", "adversary", ["adversary_0"], of_adversary, common.actions(options)),
        common.group("agent", "good", ["agent_0"], of_good, common.actions(options)),
    ]
    metrics = (("final_distance_adversary", "arena units"), ("final_distance_good", "arena units"))
    return common.spec("particle/push", options, groups, metrics)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_record(options, [Disc(), Disc()], [0.05] * LANDMARKS)


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(2, LANDMARKS, goal=(np.int64,))


@kernel
def reset_one(state, params, clock):
    """Everything anywhere in the arena, one landmark the goal."""
    state.goal = integer(clock, LANDMARKS)
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then compare distances to the goal."""
    physics.steer(state, params, ADVERSARY, actions[0], e)
    physics.steer(state, params, GOOD, actions[1], e)
    physics.collide_agents(state, params)
    physics.move(state, params)

    goal = physics.landmark_number(state.goal, state)
    of_adversary = physics.distance(state.agent_position, ADVERSARY, state.landmark_position, goal)
    of_good = physics.distance(state.agent_position, GOOD, state.landmark_position, goal)
    out.groups[0].reward[e, 0] = of_good - of_adversary
    out.groups[1].reward[e, 0] = -of_good
    if physics.last_step(params, clock):
        out.metrics[e, 0] = of_adversary
        out.metrics[e, 1] = of_good


@kernel
def observe_one(state, params, clock, out, e):
    """The tables above."""
    p, q, v = state.agent_position, state.landmark_position, state.agent_velocity
    goal = physics.landmark_number(state.goal, state)

    row = out.groups[0].obs[e, 0]
    column = physics.write_pair(row, 0, v, ADVERSARY)
    column = physics.write_offsets(row, column, 0, p, ADVERSARY, q, NOBODY)
    physics.write_offset(row, column, p, ADVERSARY, p, GOOD)

    row = out.groups[1].obs[e, 0]
    column = physics.write_pair(row, 0, v, GOOD)
    column = physics.write_offset(row, column, p, GOOD, q, goal)
    column = write_colour(row, column, goal, AGENT_BRIGHT, AGENT_DARK)
    column = physics.write_offsets(row, column, 0, p, GOOD, q, NOBODY)
    for k in range(LANDMARKS):
        column = write_colour(row, column, k, BRIGHT, DARK)
    physics.write_offset(row, column, p, GOOD, p, ADVERSARY)
    physics.write_state(out, e)


@kernel
def write_colour(row, column, k, bright, dark):
    """Three channels, of which number 1 + k is bright."""
    for c in range(3):
        row[column + c] = bright if c == 1 + k else dark
    return column + 3


GAME = Game("particle/push", Options, spec, params, state, reset_one, step_one, observe_one)
