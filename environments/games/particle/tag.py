"""Tag: slow adversaries chase fast good agents around obstacles (`particle/tag`).

Purpose        pursuit and evasion: two teams with opposite aims, the pursuers sharing every catch.
Agents         adversary_0 ..., group `adversary` (radius 0.075, push 3, at most 1.0 per second);
               agent_0 ..., group `agent` (radius 0.05, push 4, at most 1.3 per second). All collide, also with the
               obstacles (radius 0.2).
Teams          `adversary` and `good`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        adversaries: +10 for every pair of an adversary and a good agent that touch, to each adversary.
               good agents: -10 for every adversary that touches them, and for each coordinate x, beyond |x| > 0.9,
               -10 (|x| - 0.9), beyond 1 -exp(2 |x| - 2), at most -10.
Ends           truncated at max_cycles; terminated, with terminate_on_success, once every good agent is touched.
Options        num_good, num_adversaries, num_obstacles, max_cycles, continuous_actions, terminate_on_success,
               curriculum_stage, num_agent_neighbors, num_landmark_neighbors; see `Options`.
Source         mpe2 1.1.1, simple_tag_v3. `curriculum_stage=s` is its curriculum=True at stage s.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-3        own position
    4 ...      offset of every obstacle, 2 each; or of the num_landmark_neighbors nearest, zero where there is none
    ...        offset of every other agent, adversaries first, 2 each; or of the num_agent_neighbors nearest, likewise
    ...        velocity of every other good agent, 2 each; with num_agent_neighbors, of each agent seen, zero for
               adversaries
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.physics import NOBODY, F
from environments.native import Game
from environments.spec import EnvSpec
from environments.vector import Array

ADVERSARY = Disc(size=0.075, push=3.0, max_speed=1.0)
GOOD = Disc(size=0.05, push=4.0, max_speed=1.3)
OBSTACLE_SIZE = 0.2
OBSTACLE_REACH = F(0.9)  # obstacles start within it
CATCH = F(10.0)
SPEED_OF_STAGE = (0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Options(common.SightOptions):
    """What may be set."""

    num_good: int = 1
    """Number of good agents; 1 to 256."""
    num_adversaries: int = 3
    """Number of adversaries; 1 to 256."""
    num_obstacles: int = 2
    """Number of obstacles; 0 to 256."""
    terminate_on_success: bool = False
    """End the episode as soon as all good agents are touched at once."""
    curriculum_stage: int | None = None
    """0: good agents are half as fast; 1: three quarters; 2 or None: the full game."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_count(self, "num_good", 1)
        common.check_count(self, "num_adversaries", 1)
        common.check_count(self, "num_obstacles", 0)
        common.check_switch(self, "terminate_on_success")
        common.check_count(self, "curriculum_stage", 0, len(SPEED_OF_STAGE) - 1, optional=True)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    good, adversaries = options.num_good, options.num_adversaries
    return common.spec(
        "particle/tag",
        options,
        [
            _group(options, "adversary", "adversary", adversaries, _others(adversaries - 1, good)),
            _group(options, "agent", "good", good, _others(adversaries, good - 1)),
        ],
        [("catches", "pairs x steps")],
    )


def _others(adversaries: int, good: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return common.numbered("adversary_seen", adversaries), common.numbered("good_seen", good)


def _group(options: Options, name: str, kind: str, count: int, seen: tuple[tuple[str, ...], tuple[str, ...]]) -> Any:
    adversaries, good = seen
    agents = common.seen([*adversaries, *good], "agent", options.num_agent_neighbors)
    moving = good if options.num_agent_neighbors is None else agents
    obstacles = common.seen(
        common.numbered("obstacle", options.num_obstacles), "obstacle", options.num_landmark_neighbors
    )
    places = common.offsets([*obstacles, *agents])
    features = common.OWN_VELOCITY + common.OWN_POSITION + places + common.velocities(moving)
    return common.group(name, kind, common.numbered(name, count), features, common.actions(options))


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    speed = 1.0 if options.curriculum_stage is None else SPEED_OF_STAGE[options.curriculum_stage]
    good = Disc(size=GOOD.size, push=GOOD.push * speed, max_speed=GOOD.max_speed * speed)
    return common.params_record(
        options,
        [ADVERSARY] * options.num_adversaries + [good] * options.num_good,
        [OBSTACLE_SIZE] * options.num_obstacles,
        terminate_on_success=int(options.terminate_on_success),
        **common.slots(options),
    )


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(options.num_adversaries + options.num_good, options.num_obstacles)


@kernel
def reset_one(state, params, clock):
    """Agents anywhere in the arena, obstacles not quite."""
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, OBSTACLE_REACH)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then see who is caught and who has left the arena."""
    adversaries = out.groups[0].reward.shape[1]
    physics.steer(state, params, 0, actions[0], e)
    physics.steer(state, params, adversaries, actions[1], e)
    physics.collide_agents(state, params)
    physics.collide_obstacles(state, params, state.landmark_position.shape[0])
    physics.move(state, params)
    physics.limit_speed(state, params)

    p = state.agent_position
    good = p.shape[0] - adversaries
    catches, caught = 0, 0
    for n in range(good):
        i = adversaries + n
        touched = 0
        for j in range(adversaries):
            touched += physics.touching(state, params, i, j)
        catches += touched
        caught += touched > 0
        out.groups[1].reward[e, n] = -CATCH * F(touched) - physics.beyond(p[i, 0]) - physics.beyond(p[i, 1])
    for n in range(adversaries):
        out.groups[0].reward[e, n] = CATCH * F(catches)
    out.metrics[e, 0] = F(catches)
    if params.terminate_on_success and caught == good and not physics.last_step(params, clock):
        physics.terminate(out, e)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    adversaries = out.groups[0].obs.shape[1]
    for i in range(adversaries):
        write_view(out.groups[0].obs[e, i], state, params, adversaries, i)
    for i in range(adversaries, state.agent_position.shape[0]):
        write_view(out.groups[1].obs[e, i - adversaries], state, params, adversaries, i)
    physics.write_state(out, e)


@kernel
def write_view(row, state, params, adversaries, i):
    """What agent `i` sees."""
    p, v = state.agent_position, state.agent_velocity
    column = physics.write_pair(row, 0, v, i)
    column = physics.write_pair(row, column, p, i)
    column = physics.write_offsets(row, column, params.landmark_slots, p, i, state.landmark_position, NOBODY)
    column = physics.write_offsets(row, column, params.agent_slots, p, i, p, i)
    if params.agent_slots == 0:
        for j in range(adversaries, p.shape[0]):
            if j != i:
                column = physics.write_pair(row, column, v, j)
        return
    physics.zero(row, column, row.shape[0])
    for j in range(adversaries, p.shape[0]):
        rank = physics.nearness(p, i, p, j, i)
        if j != i and rank < params.agent_slots:
            physics.write_pair(row, column + 2 * rank, v, j)


GAME = Game("particle/tag", Options, spec, params, state, reset_one, step_one, observe_one)
