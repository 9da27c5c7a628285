"""Adversary: good agents hold the goal without showing which landmark it is (`particle/adversary`).

Purpose        deception: the adversary must guess the goal from where the good agents go, so they spread out.
Agents         adversary_0, group `adversary`; agent_0 ... agent_{N-1}, group `agent`. Discs of radius 0.15 that
               collide with nothing.
Teams          `adversary` and `good`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        adversary: -(its distance to the goal landmark).
               good agents, all the same: that distance - (distance of the nearest good agent to the goal).
Ends           truncated at max_cycles.
Options        N, max_cycles, continuous_actions, num_agent_neighbors, num_landmark_neighbors; see `Options`.
Source         mpe2 1.1.1, simple_adversary_v3.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2; velocities are not seen)
    0-1        good agents only: offset of the goal
    ...        offset of every landmark, 2 each; or of the num_landmark_neighbors nearest, zero where there is none
    ...        offset of every other agent, the adversary first, 2 each; or of the num_agent_neighbors nearest, likewise
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.physics import NOBODY, ONE
from environments.native import Game
from environments.rng import integer
from environments.spec import EnvSpec
from environments.vector import Array

BODY = Disc(size=0.15)
LANDMARK_SIZE = 0.08


@dataclass(frozen=True, kw_only=True)
class Options(common.SightOptions):
    """What may be set."""

    N: int = 2
    """Number of good agents, and of landmarks; 1 to 256."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_count(self, "N", 1)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    n, action = options.N, common.actions(options)
    landmarks = common.seen(common.numbered("landmark", n), "landmark", options.num_landmark_neighbors)
    for_adversary = common.seen(common.numbered("good_seen", n), "agent", options.num_agent_neighbors)
    others = ("adversary", *common.numbered("good_seen", n - 1))
    for_good = common.seen(others, "agent", options.num_agent_neighbors)
    groups = [
        common.group("adversary", "adversary", ["adversary_0"], common.offsets([*landmarks, *for_adversary]), action),
        common.group(
            "agent", "good", common.numbered("agent", n), common.offsets(["goal", *landmarks, *for_good]), action
        ),
    ]
    metrics = (("final_distance_adversary", "arena units"), ("final_distance_good", "arena units"))
    return common.spec("particle/adversary", options, groups, metrics)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_record(
        options,
        [BODY] * (options.N + 1),
        [LANDMARK_SIZE] * options.N,
        **common.slots(options),
    )


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(options.N + 1, options.N, goal=(np.int64,))


@kernel
def reset_one(state, params, clock):
    """Everything anywhere in the arena, one landmark the goal."""
    state.goal = integer(clock, state.landmark_position.shape[0])
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then compare distances to the goal."""
    physics.steer(state, params, 0, actions[0], e)
    physics.steer(state, params, 1, actions[1], e)
    physics.move(state, params)

    p, q = state.agent_position, state.landmark_position
    goal = physics.landmark_number(state.goal, state)
    of_adversary = physics.distance(p, 0, q, goal)
    of_nearest = physics.nearest_distance(p, 1, p.shape[0], q, goal)
    out.groups[0].reward[e, 0] = -of_adversary
    for n in range(p.shape[0] - 1):
        out.groups[1].reward[e, n] = of_adversary - of_nearest
    if physics.last_step(params, clock):
        out.metrics[e, 0] = of_adversary
        out.metrics[e, 1] = of_nearest


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    p, q = state.agent_position, state.landmark_position
    goal = physics.landmark_number(state.goal, state)
    write_others(out.groups[0].obs[e, 0], 0, state, params, 0)
    for i in range(1, p.shape[0]):
        row = out.groups[1].obs[e, i - 1]
        column = physics.write_offset(row, 0, p, i, q, goal)
        write_others(row, column, state, params, i)
    physics.write_state(out, e)


@kernel
def write_others(row, column, state, params, i):
    """What both sides see: landmarks and other agents."""
    p = state.agent_position
    column = physics.write_offsets(row, column, params.landmark_slots, p, i, state.landmark_position, NOBODY)
    physics.write_offsets(row, column, params.agent_slots, p, i, p, i)


GAME = Game("particle/adversary", Options, spec, params, state, reset_one, step_one, observe_one)
