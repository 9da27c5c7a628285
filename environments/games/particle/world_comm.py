"""World with words: a leader who sees through forests directs a chase (`particle/world_comm`).

Purpose        pursuit with roles: food draws the good agents out, forests hide whoever is inside, and one adversary
               sees everybody and can speak to the others.
Agents         leadadversary_0, group `leadadversary`; adversary_0 ..., group `adversary`, one less than
               num_adversaries (radius 0.075, push 3, at most 1.0 per second); agent_0 ..., group `agent` (radius
               0.045, push 4, at most 1.3 per second). All collide, also with the obstacles (radius 0.2). Food (0.03)
               and forests (0.3) are only places.
Teams          `adversary` (leader and adversaries) and `good`.
Actions        leader: Discrete(20): move + 5 * word. Continuous: Box(0, 1, (9,)), five pushes, then the loudness of
               each of four words.
               others: Discrete(5). Continuous: Box(0, 1, (5,)).
               Moves: 0 stay, 1 left, 2 right, 3 down, 4 up; pushes in that order.
Rewards        adversaries: +5 for every pair of an adversary and a good agent that touch, to each adversary,
               -0.1 * (its distance to the nearest good agent).
               good agents: -5 for every adversary that touches them; +2 for every food they touch;
               -0.05 * (distance to the nearest food); and for each coordinate x, beyond |x| > 0.9, -20 (|x| - 0.9),
               beyond 1 -2 exp(2 |x| - 2), at most -20.
Ends           truncated at max_cycles.
Options        num_good, num_adversaries, num_obstacles, num_food, num_forests, max_cycles, continuous_actions; see
               `Options`.
Source         mpe2 1.1.1, simple_world_comm_v3.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-3        own position
    4 ...      offset of every obstacle, food and forest, 2 each
    ...        offset of every other agent, adversaries first, 2 each; zero for those who are hidden
    ...        adversaries: velocity of every good agent, 2 each, zero for those who are hidden; then for every forest 1
               inside it, -1 outside; then what the leader said last, 4 (zeros at first)
               good agents: the forests first, then the velocity of every other good agent, likewise

Two agents see one another if some forest holds both or no forest holds either. The leader sees everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.physics import MOVES, NOBODY, ONE, ZERO, F
from environments.intrinsics import scratch_row
from environments.native import Game
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array

LEADER = 0
ADVERSARY = Disc(size=0.075, push=3.0, max_speed=1.0)
GOOD = Disc(size=0.045, push=4.0, max_speed=1.3)
OBSTACLE_SIZE, FOOD_SIZE, FOREST_SIZE = 0.2, 0.03, 0.3
LANDMARK_REACH = F(0.9)  # landmarks of all sorts start within it
WORDS = 4
MOST_FORESTS = 64  # an agent's forests are the bits of one number
CATCH, FOOD = F(5.0), F(2.0)
TO_GOOD, TO_FOOD, TO_EDGE = F(0.1), F(0.05), F(2.0)
U = np.uint64


@dataclass(frozen=True, kw_only=True)
class Options(common.ParticleOptions):
    """What may be set."""

    num_good: int = 2
    """Number of good agents; 1 to 256."""
    num_adversaries: int = 4
    """Number of adversaries, the leader included; 1 to 256."""
    num_obstacles: int = 1
    """Number of obstacles; 0 to 256."""
    num_food: int = 2
    """Number of places with food; 1 to 256."""
    num_forests: int = 2
    """Number of forests; 0 to 64."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_count(self, "num_good", 1)
        common.check_count(self, "num_adversaries", 1)
        common.check_count(self, "num_obstacles", 0)
        common.check_count(self, "num_food", 1)
        common.check_count(self, "num_forests", 0, MOST_FORESTS)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer. Without a second adversary there is no group of that name."""
    good, followers = options.num_good, options.num_adversaries - 1
    speaks, silent = common.actions(options, words=WORDS), common.actions(options)
    others = common.numbered("good_seen", good)
    leader = _adversary_features(options, [*common.numbered("adversary_seen", followers), *others])
    pack = _adversary_features(options, ["leader", *common.numbered("adversary_seen", followers - 1), *others])
    groups = [common.group("leadadversary", "adversary", ["leadadversary_0"], leader, speaks)]
    if followers:
        groups.append(common.group("adversary", "adversary", common.numbered("adversary", followers), pack, silent))
    groups.append(_good_group(options))
    return common.spec(
        "particle/world_comm", options, groups, [("catches", "pairs x steps"), ("meals", "agents x steps")]
    )


def _places(options: Options) -> list[str]:
    counts = {"obstacle": options.num_obstacles, "food": options.num_food, "forest": options.num_forests}
    return [name for sort, count in counts.items() for name in common.numbered(sort, count)]


def _adversary_features(options: Options, others: list[str]) -> tuple[str, ...]:
    features = common.OWN_VELOCITY + common.OWN_POSITION + common.offsets([*_places(options), *others])
    features += common.velocities(common.numbered("good_seen", options.num_good))
    return features + common.numbered("in_forest", options.num_forests) + common.words(["leader"], WORDS)


def _good_group(options: Options) -> AgentGroup:
    friends = common.numbered("good_seen", options.num_good - 1)
    others = ["leader", *common.numbered("adversary_seen", options.num_adversaries - 1), *friends]
    features = common.OWN_VELOCITY + common.OWN_POSITION + common.offsets([*_places(options), *others])
    features += common.numbered("in_forest", options.num_forests) + common.velocities(friends)
    return common.group("agent", "good", common.numbered("agent", options.num_good), features, common.actions(options))


def params(options: Options) -> Array:
    """Numbers for the kernels. Landmarks are obstacles, then food, then forests."""
    sizes = [OBSTACLE_SIZE] * options.num_obstacles
    sizes += [FOOD_SIZE] * options.num_food + [FOREST_SIZE] * options.num_forests
    return common.params_record(
        options,
        [ADVERSARY] * options.num_adversaries + [GOOD] * options.num_good,
        sizes,
        adversaries=options.num_adversaries,
        obstacles=options.num_obstacles,
        first_forest=options.num_obstacles + options.num_food,
    )


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy; only the leader's row of `communication` is ever used."""
    landmarks = options.num_obstacles + options.num_food + options.num_forests
    return common.state_type(options.num_adversaries + options.num_good, landmarks, words=WORDS)


@kernel
def reset_one(state, params, clock):
    """Agents anywhere in the arena, landmarks not quite."""
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, LANDMARK_REACH)
    physics.silence(state)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Speak and move, then see who is caught, who eats and who has left the arena."""
    physics.speak(state, LEADER, MOVES, actions[0], e)
    first = 0
    for g in range(len(actions)):
        physics.steer(state, params, first, actions[g], e)
        first += actions[g].shape[1]
    physics.collide_agents(state, params)
    physics.collide_obstacles(state, params, params.obstacles)
    physics.move(state, params)
    physics.limit_speed(state, params)

    catches, meals = reward_good(state, params, out.groups[len(out.groups) - 1].reward, e)
    p = state.agent_position
    first = 0
    for g in range(len(out.groups) - 1):
        reward = out.groups[g].reward
        for n in range(reward.shape[1]):
            nearest = physics.nearest_distance(p, params.adversaries, p.shape[0], p, first + n)
            reward[e, n] = CATCH * F(catches) - TO_GOOD * nearest
        first += reward.shape[1]
    out.metrics[e, 0] = F(catches)
    out.metrics[e, 1] = F(meals)


@kernel
def reward_good(state, params, reward, e):
    """Rewards of the good agents; returns the numbers of catches and of meals."""
    p, q = state.agent_position, state.landmark_position
    catches, meals = 0, 0
    for n in range(reward.shape[1]):
        i = params.adversaries + n
        touched, eaten = 0, 0
        for j in range(params.adversaries):
            touched += physics.touching(state, params, i, j)
        for k in range(params.obstacles, params.first_forest):
            eaten += physics.upon(state, params, i, k)
        catches += touched
        meals += eaten
        to_food = physics.nearest_distance(q, params.obstacles, params.first_forest, p, i)
        to_edge = physics.beyond(p[i, 0]) + physics.beyond(p[i, 1])
        reward[e, n] = FOOD * F(eaten) - CATCH * F(touched) - TO_FOOD * to_food - TO_EDGE * to_edge
    return catches, meals


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    inside = scratch_row(state.agent_position, np.uint64)
    for i in range(state.agent_position.shape[0]):
        inside[i] = forests(state, params, i)
    i = 0
    for g in range(len(out.groups)):
        obs = out.groups[g].obs
        for n in range(obs.shape[1]):
            write_view(obs[e, n], state, params, inside, i)
            i += 1
    physics.write_state(out, e)


@kernel
def write_view(row, state, params, inside, i):
    """What agent `i` sees; `inside` holds the forests of every agent, as bits."""
    p, v = state.agent_position, state.agent_velocity
    column = physics.write_pair(row, 0, v, i)
    column = physics.write_pair(row, column, p, i)
    column = physics.write_offsets(row, column, 0, p, i, state.landmark_position, NOBODY)
    own = inside[i]
    good = i >= params.adversaries
    velocities = column + 2 * (p.shape[0] - 1)
    if good:  # their own forests come before the velocities, the adversaries' after them
        velocities = write_forests(row, velocities, state, params, own)
    for j in range(p.shape[0]):
        if j == i:
            continue
        others = inside[j]
        visible = ((own & others) != U(0)) | ((own | others) == U(0)) | (i == LEADER)
        row[column] = p[j, 0] - p[i, 0] if visible else ZERO
        row[column + 1] = p[j, 1] - p[i, 1] if visible else ZERO
        column += 2
        if j >= params.adversaries:
            row[velocities] = v[j, 0] if visible else ZERO
            row[velocities + 1] = v[j, 1] if visible else ZERO
            velocities += 2
    if not good:
        column = write_forests(row, velocities, state, params, own)
        physics.write_words(row, column, state, LEADER)


@kernel
def forests(state, params, i):
    """The forests that agent `i` is in, as bits."""
    bits = U(0)
    for k in range(params.first_forest, state.landmark_position.shape[0]):
        bits |= U(physics.upon(state, params, i, k)) << U(k - params.first_forest)
    return bits


@kernel
def write_forests(row, column, state, params, own):
    """1 for every forest of the agent's own, -1 for the others."""
    count = state.landmark_position.shape[0] - params.first_forest
    for k in range(count):
        row[column + k] = ONE if (own >> U(k)) & U(1) else -ONE
    return column + count


GAME = Game("particle/world_comm", Options, spec, params, state, reset_one, step_one, observe_one)
