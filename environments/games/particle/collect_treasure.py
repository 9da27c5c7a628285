"""Treasure: collectors fetch treasures and hand them to the deposit of the right type (`particle/collect_treasure`).

Purpose        cooperation of two roles over several steps: find, fetch, meet.
Agents         collector_0 ..., group `collector` (radius 0.05, mass 1); deposit_0 ..., group `deposit` (radius 0.075,
               mass 2.25), one for each type of treasure. Push 1.5, at most 1.0 per second; nothing collides.
Teams          one, `team`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rules          after moving, each treasure in turn is taken by the first collector with empty hands that touches it, or,
               if it was taken in an earlier step, returns with a new type anywhere in [-0.95, 0.95]^2; then each
               collector hands its treasure over if it touches the deposit of that type.
Rewards        all: +5 for every treasure taken and +5 for every treasure handed over in this step.
               collectors: -5 for every other collector that they touch; -0.1 * (distance to the nearest treasure), or,
               with a treasure in hand, to its deposit.
               deposits: -0.1 * (distance to the nearest collector that holds their type), or, where nobody does, to
               the centre of all collectors.
Ends           truncated at max_cycles.
Options        num_collectors, num_deposits, num_treasures, max_cycles, continuous_actions; see `Options`.
Source         mpe2 1.1.1, collect_treasure_v1.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2; T = num_deposits, the number of types)
    0-1        own position
    2-3        own velocity, per second
    4 ...      collectors only: type held, one-hot T
    ...        every other agent, nearest first: offset 2, velocity 2, type accepted one-hot T, type held one-hot T
    ...        every treasure, nearest first: offset 2, type one-hot T; those that are taken come last, all zero
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.physics import ZERO, F
from environments.native import Game
from environments.rng import integer, uniform
from environments.spec import EnvSpec
from environments.vector import Array

COLLECTOR = Disc(size=0.05, push=1.5, max_speed=1.0)
DEPOSIT = Disc(size=0.075, push=1.5, max_speed=1.0, mass=2.25)
TREASURE_SIZE = 0.025
TREASURE_REACH = F(0.95)
MOST_TYPES = 6
EMPTY = -1
PRIZE, CLASH, SHAPING = F(5.0), F(5.0), F(0.1)


@dataclass(frozen=True, kw_only=True)
class Options(common.ParticleOptions):
    """What may be set."""

    num_collectors: int = 6
    """Number of collectors; 1 to 256."""
    num_deposits: int = 2
    """Number of deposits, and of types of treasure; 1 to 6."""
    num_treasures: int = 6
    """Number of treasures; 1 to 256."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_count(self, "num_collectors", 1)
        common.check_count(self, "num_deposits", 1, MOST_TYPES)
        common.check_count(self, "num_treasures", 1)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    collectors, deposits = options.num_collectors, options.num_deposits
    own = tuple(f"{name}_{axis}" for name in ("position", "velocity") for axis in ("x", "y"))
    holding = common.numbered("holding", deposits)
    others: list[str] = []
    for agent in common.numbered("nearest_agent", collectors + deposits - 1):
        others += common.offsets([agent]) + common.velocities([agent])
        others += common.numbered(f"{agent}_accepts", deposits) + common.numbered(f"{agent}_holds", deposits)
    for treasure in common.numbered("nearest_treasure", options.num_treasures):
        others += common.offsets([treasure]) + common.numbered(f"{treasure}_type", deposits)
    action = common.actions(options)
    groups = [
        common.group("collector", "team", common.numbered("collector", collectors), [*own, *holding, *others], action),
        common.group("deposit", "team", common.numbered("deposit", deposits), [*own, *others], action),
    ]
    metrics = (("taken", "treasures"), ("handed_over", "treasures"), ("collisions", "pairs x steps"))
    return common.spec("particle/collect_treasure", options, groups, metrics)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    discs = [COLLECTOR] * options.num_collectors + [DEPOSIT] * options.num_deposits
    return common.params_record(options, discs, [TREASURE_SIZE] * options.num_treasures, types=options.num_deposits)


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy. A taken treasure (`treasure_alive` 0) lies where it was taken until it returns."""
    return common.state_type(
        options.num_collectors + options.num_deposits,
        options.num_treasures,
        holding=(np.int64, (options.num_collectors,)),  # type in hand, or -1
        treasure_type=(np.int64, (options.num_treasures,)),
        treasure_alive=(np.uint8, (options.num_treasures,)),
    )


@kernel
def reset_one(state, params, clock):
    """Agents anywhere in the arena with empty hands, treasures of any type."""
    physics.scatter_agents(state, clock)
    for i in range(state.holding.shape[0]):
        state.holding[i] = EMPTY
    for k in range(state.treasure_type.shape[0]):
        lay(state, params, clock, k)


@kernel
def lay(state, params, clock, k):
    """Treasure `k` appears somewhere, of some type."""
    state.treasure_type[k] = integer(clock, params.types)
    state.landmark_position[k, 0] = uniform(clock, -TREASURE_REACH, TREASURE_REACH)
    state.landmark_position[k, 1] = uniform(clock, -TREASURE_REACH, TREASURE_REACH)
    state.treasure_alive[k] = 1


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, take, hand over, then pay."""
    collectors = state.holding.shape[0]
    physics.steer(state, params, 0, actions[0], e)
    physics.steer(state, params, collectors, actions[1], e)
    physics.move(state, params)
    physics.limit_speed(state, params)
    taken = take(state, params, clock)
    handed = hand_over(state, params)

    shared = PRIZE * F(taken + handed)
    clashes = 0
    for i in range(collectors):
        own = 0
        for j in range(collectors):
            own += i != j and physics.touching(state, params, i, j)
        clashes += own
        out.groups[0].reward[e, i] = shared - CLASH * F(own) - SHAPING * collector_distance(state, i)
    for d in range(params.types):
        out.groups[1].reward[e, d] = shared - SHAPING * deposit_distance(state, d)
    out.metrics[e, 0] = F(taken)
    out.metrics[e, 1] = F(handed)
    out.metrics[e, 2] = F(clashes // 2)


@kernel
def take(state, params, clock):
    """Treasures are taken, or return; returns how many are taken."""
    taken = 0
    for k in range(state.treasure_type.shape[0]):
        if not state.treasure_alive[k]:
            lay(state, params, clock, k)
            continue
        for i in range(state.holding.shape[0]):
            if state.holding[i] == EMPTY and physics.upon(state, params, i, k):
                state.treasure_alive[k] = 0
                state.holding[i] = state.treasure_type[k]
                taken += 1
                break
    return taken


@kernel
def hand_over(state, params):
    """Collectors at the right deposit empty their hands; returns how many do."""
    collectors = state.holding.shape[0]
    handed = 0
    for i in range(collectors):
        for d in range(params.types):
            if state.holding[i] == d and physics.touching(state, params, i, collectors + d):
                state.holding[i] = EMPTY
                handed += 1
                break
    return handed


@kernel
def collector_distance(state, i):
    """Distance of collector `i` to where it should go next; 0 where there is nothing to go to."""
    p = state.agent_position
    collectors = state.holding.shape[0]
    nearest = F(np.inf)
    if state.holding[i] == EMPTY:
        for k in range(state.treasure_type.shape[0]):
            if state.treasure_alive[k]:
                nearest = min(nearest, physics.squared_distance(p, i, state.landmark_position, k))
    else:
        for j in range(collectors, p.shape[0]):
            if j - collectors == state.holding[i]:
                nearest = physics.squared_distance(p, i, p, j)
    return np.sqrt(nearest) if nearest < F(np.inf) else ZERO


@kernel
def deposit_distance(state, d):
    """Distance of deposit `d` to the nearest collector with something for it, or to the centre of all collectors."""
    p = state.agent_position
    collectors = state.holding.shape[0]
    nearest = F(np.inf)
    x, y = ZERO, ZERO
    for i in range(collectors):
        if state.holding[i] == d:
            nearest = min(nearest, physics.squared_distance(p, i, p, collectors + d))
        x += p[i, 0]
        y += p[i, 1]
    if nearest < F(np.inf):
        return np.sqrt(nearest)
    dx = x / F(collectors) - p[collectors + d, 0]
    dy = y / F(collectors) - p[collectors + d, 1]
    return np.sqrt(dx * dx + dy * dy)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    p, v = state.agent_position, state.agent_velocity
    collectors = state.holding.shape[0]
    types = p.shape[0] - collectors
    for i in range(p.shape[0]):
        collects = i < collectors
        row = out.groups[0].obs[e, i] if collects else out.groups[1].obs[e, i - collectors]
        column = physics.write_pair(row, 0, p, i)
        column = physics.write_pair(row, column, v, i)
        if collects:
            column = write_type(row, column, types, state.holding[i])
        for j in range(p.shape[0]):
            if j != i:
                write_agent(row, column + physics.nearness(p, i, p, j, i) * (4 + 2 * types), state, i, j)
        column += (p.shape[0] - 1) * (4 + 2 * types)
        for k in range(state.treasure_type.shape[0]):
            write_treasure(row, column + treasure_rank(state, i, k) * (2 + types), state, i, k)
    physics.write_state(out, e)


@kernel
def write_type(row, column, types, kind):
    """One-hot type; all zero where there is none."""
    for c in range(types):
        row[column + c] = F(c == kind)
    return column + types


@kernel
def write_agent(row, column, state, i, j):
    """Agent `j` as agent `i` sees it."""
    collectors = state.holding.shape[0]
    types = state.agent_position.shape[0] - collectors
    column = physics.write_offset(row, column, state.agent_position, i, state.agent_position, j)
    column = physics.write_pair(row, column, state.agent_velocity, j)
    column = write_type(row, column, types, j - collectors)  # no type is negative: zeros for collectors
    write_type(row, column, types, state.holding[j] if j < collectors else EMPTY)


@kernel
def treasure_rank(state, i, k):
    """Place of treasure `k` in what agent `i` sees: by distance, those that are taken last."""
    p, q = state.agent_position, state.landmark_position
    own = physics.squared_distance(p, i, q, k)
    alive = state.treasure_alive[k] != 0
    rank = 0
    for other in range(q.shape[0]):
        squared = physics.squared_distance(p, i, q, other)
        if (state.treasure_alive[other] != 0) != alive:
            rank += not alive
        elif alive:
            rank += (squared < own) | ((squared == own) & (other < k))
        else:
            rank += other < k
    return rank


@kernel
def write_treasure(row, column, state, i, k):
    """Treasure `k` as agent `i` sees it: nothing, where it is taken."""
    alive = F(state.treasure_alive[k] != 0)
    row[column] = alive * (state.landmark_position[k, 0] - state.agent_position[i, 0])
    row[column + 1] = alive * (state.landmark_position[k, 1] - state.agent_position[i, 1])
    for c in range(state.agent_position.shape[0] - state.holding.shape[0]):
        row[column + 2 + c] = alive * F(c == state.treasure_type[k])


GAME = Game("particle/collect_treasure", Options, spec, params, state, reset_one, step_one, observe_one)
