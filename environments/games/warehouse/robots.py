"""Robots: fetch the shelves that are asked for, hand them over, put them back (`warehouse/robots`).

Purpose        cooperation under congestion, with a reward so rare that random play hardly ever sees it.
Agents         agent_0 ... agent_{n-1}, one group `agent`: robots on cells of a grid, one on a cell.
Teams          one, `team`.
Actions        Discrete(5): 0 nothing, 1 forward, 2 turn left, 3 turn right, 4 lift the shelf above or put it down. Any
               other number is 0. A robot without a shelf drives under shelves; one with a shelf does not, and puts it
               down wherever no aisle is. Who drives when several robots want one cell: see `traffic`.
Requests       request_queue_size shelves are asked for at any time. A requested shelf on a goal is handed over: another
               one, drawn among all that are not asked for, takes its place in the queue. The robot still carries it.
Rewards        individual: 1 to the robot that hands over; global: 1 to everyone; two_stage: 0.5 to the robot that
               hands over, and 0.5 when it next puts down a shelf.
Ends           terminated after max_cycles, as in rware, or only truncated without timeout_terminates; terminated after
               max_inactivity_steps in a row without a shelf handed over.
Options        the floor (shelf_columns, column_height, shelf_rows, or layout), n_agents, request_queue_size,
               sensor_range, reward_type, max_cycles, timeout_terminates, max_inactivity_steps, normalised_coordinates;
               see `Options`.
Source         rware 2.0.0, Warehouse with flattened observations and without messages.
Version        1

Observation    (r = sensor_range; numbers are 0 or 1 but for the first two)
    0-1        own x from the left and y from the top, in cells; or, normalised, as shares of the floor
    2          carries a shelf
    3-6        heads up, down, left, right
    7          stands where no shelf may be put down
    8 ...      7 for each cell within r of its own, row by row: a robot is there (it itself in the middle); it heads up,
               down, left, right (up where there is none, as rware has it); a shelf is there; that shelf is asked for

State          all observations, one after the other; with timeout_terminates also the share of time left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.errors import UsageError
from environments.games.warehouse import layout, traffic
from environments.intrinsics import copy_row, scratch_row
from environments.native import Game, options_of
from environments.rng import integer
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
U = np.uint64
ZERO, ONE, HALF = F(0.0), F(1.0), F(0.5)
FORWARD, TURN_LEFT, TURN_RIGHT, LIFT = 1, 2, 3, 4
UP, DOWN, LEFT, RIGHT = 0, 1, 2, 3
LEFT_OF, RIGHT_OF = (LEFT, RIGHT, DOWN, UP), (RIGHT, LEFT, UP, DOWN)
FREE, SHELF, REQUESTED = 0, 1, 2
OWN_COLUMNS, CELL_COLUMNS = 8, 7
REWARDS = ("individual", "global", "two_stage")
INDIVIDUAL, GLOBAL, TWO_STAGE = 0, 1, 2
MOST_ROBOTS = 100


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; names and defaults are those of rware-tiny-2ag-v2."""

    shelf_columns: int = 3
    """Blocks of shelves side by side, an odd number from 1 to 31; each is two shelves wide."""
    column_height: int = 8
    """Shelves of a block from top to bottom, 1 to 30."""
    shelf_rows: int = 1
    """Blocks of shelves one below the other, 1 to 20."""
    layout: str | None = None
    """A floor drawn in lines of x (shelf), . (aisle) and g (goal), instead of blocks; up to 700 by 700."""
    n_agents: int = 2
    """Robots; 1 to 100, and no more than cells."""
    request_queue_size: int = 2
    """Shelves asked for at a time; at least 1, and fewer than there are shelves."""
    sensor_range: int = 1
    """Cells that a robot sees in each direction; 0 to 20."""
    reward_type: Literal["individual", "global", "two_stage"] = "individual"
    """Whom a shelf that is handed over pays; see the page."""
    max_cycles: int = 500
    """Steps of an episode, at most; 1 to 1,000,000."""
    timeout_terminates: bool = True
    """Call an end by max_cycles a termination, as rware does; otherwise it is a truncation."""
    max_inactivity_steps: int | None = None
    """Steps in a row without a shelf handed over that end an episode, 1 to 1,000,000; None: any number."""
    normalised_coordinates: bool = False
    """Show own place as shares of the floor, 0 to 1, instead of cells."""

    def __post_init__(self) -> None:
        _check("shelf_columns", self.shelf_columns, 1, 31)
        if self.shelf_columns % 2 == 0:
            raise UsageError(f"shelf_columns must be an odd number from 1 to 31, not {self.shelf_columns!r}")
        _check("column_height", self.column_height, 1, 30)
        _check("shelf_rows", self.shelf_rows, 1, 20)
        _check("sensor_range", self.sensor_range, 0, 20)
        _check("max_cycles", self.max_cycles, 1, 1_000_000)
        if self.max_inactivity_steps is not None:
            _check("max_inactivity_steps", self.max_inactivity_steps, 1, 1_000_000)
        if self.reward_type not in REWARDS:
            raise UsageError(f"reward_type must be one of {', '.join(REWARDS)}, not {self.reward_type!r}")
        floor = layout.of(options_of(self))
        if floor.shelves < 2:
            raise UsageError(f"{_floor_options(self)} must leave at least 2 shelves, not {floor.shelves}")
        _check("n_agents", self.n_agents, 1, min(MOST_ROBOTS, floor.cells), f" on {floor.cells} cells")
        _check("request_queue_size", self.request_queue_size, 1, floor.shelves - 1, f" with {floor.shelves} shelves")


def _check(name: str, value: Any, low: int, high: int, where: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}{where}, not {value!r}")


def _floor_options(options: Options) -> str:
    """The options that the number of shelves comes from, and their values."""
    if options.layout is not None:
        return "layout"
    names = ("shelf_columns", "column_height", "shelf_rows")
    return ", ".join(f"{name}={getattr(options, name)}" for name in names)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    reach = range(-options.sensor_range, options.sensor_range + 1)
    cell = ("robot", "robot_up", "robot_down", "robot_left", "robot_right", "shelf", "requested")
    seen = [f"({dx:+d},{dy:+d})_{what}" for dy in reach for dx in reach for what in cell]
    features = ("x", "y", "carries", "up", "down", "left", "right", "aisle", *seen)
    group = AgentGroup(
        name="agent",
        kind="team",
        agents=tuple(f"agent_{i}" for i in range(options.n_agents)),
        observation_space=spaces.Box(-np.inf, np.inf, (len(features),), np.float32),
        action_space=spaces.Discrete(5),
        features=features,
    )
    return EnvSpec(
        name="warehouse/robots",
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("team", ("agent",)),),
        state_size=options.n_agents * len(features) + options.timeout_terminates,
        max_steps=options.max_cycles,
        metrics=(("deliveries", "shelves"), ("blocked", "robots x steps")),
        step_seconds=0.2,
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels, one row: the floor and what is set."""
    floor = layout.of(options_of(options))
    fields = [
        ("highway", np.uint8, floor.highway.shape),
        ("goal", np.int64, (len(floor.goals), 2)),
        ("requests", np.int64),
        ("reach", np.int64),
        ("reward_type", np.int64),
        ("most_idle", np.int64),
        ("max_steps", np.int64),
        ("timeout_terminates", np.int64),
        ("scale", np.float64, (2,)),
    ]
    record = np.zeros(1, np.dtype(fields, align=True))
    record["highway"] = floor.highway
    record["goal"] = floor.goals
    record["requests"] = options.request_queue_size
    record["reach"] = options.sensor_range
    record["reward_type"] = REWARDS.index(options.reward_type)
    record["most_idle"] = options.max_inactivity_steps or 0
    record["max_steps"] = options.max_cycles
    record["timeout_terminates"] = options.timeout_terminates
    record["scale"] = (max(floor.width - 1, 1), max(floor.height - 1, 1)) if options.normalised_coordinates else 1
    return record


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy. Shelves are what the floor holds: 0 nothing, 1 a shelf, 2 one that is asked for.

    A carried shelf is on the floor where its robot is. `delivered`: two_stage still owes the second half; `idle`: steps
    since a shelf was handed over.
    """
    floor = layout.of(options_of(options))
    fields = [
        ("floor", np.uint8, (floor.height, floor.width)),
        ("position", np.int16, (options.n_agents, 2)),
        ("direction", np.uint8, (options.n_agents,)),
        ("carrying", np.uint8, (options.n_agents,)),
        ("delivered", np.uint8, (options.n_agents,)),
        ("idle", np.int64),
    ]
    return np.dtype(fields, align=True)


@kernel
def within(value, size):
    """A coordinate on the floor: states may come from a file, so the nearest one for any that is not."""
    return min(max(np.int64(value), 0), size - 1)


@kernel
def request(state, clock):
    """Ask for one more shelf, each that is not asked for being as likely; nothing where there is none."""
    height, width = state.floor.shape
    others = 0
    for y in range(height):
        for x in range(width):
            others += state.floor[y, x] == SHELF
    if others == 0:
        return
    left = integer(clock, others)
    for y in range(height):
        for x in range(width):
            if state.floor[y, x] == SHELF:
                if left == 0:
                    state.floor[y, x] = REQUESTED
                    return
                left -= 1


@kernel
def reset_one(state, params, clock):
    """Shelves in their places, robots anywhere (under shelves too) in any direction, requests drawn."""
    height, width = state.floor.shape
    for y in range(height):
        for x in range(width):
            state.floor[y, x] = SHELF * (params.highway[y, x] == 0)
    for i in range(state.direction.shape[0]):
        taken = True
        while taken:
            cell = integer(clock, height * width)
            x, y = cell % width, cell // width
            taken = False
            for j in range(i):
                taken |= state.position[j, 0] == x and state.position[j, 1] == y
            state.position[i, 0] = x
            state.position[i, 1] = y
        state.direction[i] = integer(clock, 4)
        state.carrying[i] = 0
        state.delivered[i] = 0
    for _ in range(params.requests):
        request(state, clock)
    state.idle = 0


@kernel
def aim(state, actions, e, to_x, to_y, ahead):
    """The cell `(to_x[i], to_y[i])` that each robot wants, and who is on it (see `traffic.resolve`).

    A robot with a shelf does not even try to drive onto a standing shelf.
    """
    height, width = state.floor.shape
    count = state.direction.shape[0]
    for i in range(count):
        x = within(state.position[i, 0], width)
        y = within(state.position[i, 1], height)
        state.position[i, 0] = x
        state.position[i, 1] = y
        moves = actions[e, i] == FORWARD
        heading = state.direction[i]
        to_x[i] = within(x + moves * ((heading == RIGHT) - (heading == LEFT)), width)
        to_y[i] = within(y + moves * ((heading == DOWN) - (heading == UP)), height)
    for i in range(count):
        ahead[i] = i
        if to_x[i] == state.position[i, 0] and to_y[i] == state.position[i, 1]:
            continue
        there = count
        for j in range(count):
            if state.position[j, 0] == to_x[i] and state.position[j, 1] == to_y[i]:
                there = j
        moving_shelf = there < count and state.carrying[there] != 0
        if state.carrying[i] and state.floor[to_y[i], to_x[i]] != FREE and not moving_shelf:
            to_x[i] = state.position[i, 0]
            to_y[i] = state.position[i, 1]
        else:
            ahead[i] = there


@kernel
def drive(state, to_x, to_y, goes):
    """Robots that go, with their shelves: all are lifted off the floor before any is put on it again."""
    lifted = scratch_row(state.position, np.uint8)
    for i in range(state.direction.shape[0]):
        lifted[i] = FREE
        if goes[i] and state.carrying[i]:
            lifted[i] = state.floor[state.position[i, 1], state.position[i, 0]]
            state.floor[state.position[i, 1], state.position[i, 0]] = FREE
    for i in range(state.direction.shape[0]):
        if goes[i]:
            state.position[i, 0] = to_x[i]
            state.position[i, 1] = to_y[i]
            if state.carrying[i]:
                state.floor[to_y[i], to_x[i]] = lifted[i]


@kernel
def handle(state, params, actions, reward, e):
    """Robots that turn, lift or put down."""
    for i in range(state.direction.shape[0]):
        action = actions[e, i]
        x, y = state.position[i, 0], state.position[i, 1]
        heading = U(state.direction[i] & 3)
        if action == TURN_LEFT:
            state.direction[i] = LEFT_OF[heading]
        elif action == TURN_RIGHT:
            state.direction[i] = RIGHT_OF[heading]
        elif action == LIFT and not state.carrying[i]:
            state.carrying[i] = state.floor[y, x] != FREE
        elif action == LIFT and not params.highway[y, x]:
            state.carrying[i] = 0
            if state.delivered[i] and params.reward_type == TWO_STAGE:
                reward[e, i] += HALF
            state.delivered[i] = 0


@kernel
def hand_over(state, params, clock, reward, e):
    """Requested shelves on goals, in the order of the goals; returns how many."""
    count = state.direction.shape[0]
    handed = 0
    for g in range(params.goal.shape[0]):
        x, y = params.goal[g, 0], params.goal[g, 1]
        if state.floor[y, x] != REQUESTED:
            continue
        handed += 1
        request(state, clock)  # first: the shelf handed over is not among those drawn from
        state.floor[y, x] = SHELF
        for i in range(count):
            here = state.position[i, 0] == x and state.position[i, 1] == y
            if params.reward_type == GLOBAL or (here and params.reward_type == INDIVIDUAL):
                reward[e, i] += ONE
            elif here:
                reward[e, i] += HALF
                state.delivered[i] = 1
    return handed


@kernel
def step_one(state, params, clock, actions, out, e):
    """Drive, turn and lift, hand over, pay."""
    count = state.direction.shape[0]
    group = out.groups[0]
    to_x, to_y = scratch_row(state.position, np.int64), scratch_row(state.position, np.int64)
    ahead = scratch_row(state.position, np.int64)
    goes = scratch_row(state.position, np.uint8)
    aim(state, actions[0], e, to_x, to_y, ahead)
    wanted = 0
    for i in range(count):
        wanted += actions[0][e, i] == FORWARD
        goes[i] = 0
    if wanted:
        traffic.resolve(state.position, to_x, to_y, ahead, goes)
    driven = 0
    for i in range(count):
        driven += goes[i]
    drive(state, to_x, to_y, goes)
    handle(state, params, actions[0], group.reward, e)
    handed = hand_over(state, params, clock, group.reward, e)
    out.metrics[e, 0] = F(handed)
    out.metrics[e, 1] = F(wanted - driven)
    state.idle = 0 if handed else state.idle + 1
    bored = params.most_idle > 0 and state.idle >= params.most_idle
    if bored or (params.timeout_terminates and clock.step + 1 >= params.max_steps):
        for i in range(count):
            group.terminated[e, i] = True


@kernel
def observe_one(state, params, clock, out, e):
    """The table above, and the global state."""
    height, width = state.floor.shape
    count = state.direction.shape[0]
    side = 2 * params.reach + 1
    obs = out.groups[0].obs
    for i in range(count):
        row = obs[e, i]
        x = within(state.position[i, 0], width)
        y = within(state.position[i, 1], height)
        row[0] = F(x / params.scale[0])
        row[1] = F(y / params.scale[1])
        row[2] = F(state.carrying[i] != 0)
        for d in range(4):
            row[3 + d] = F(state.direction[i] == d)
        row[7] = F(params.highway[y, x])
        column = U(OWN_COLUMNS)
        for dy in range(side):
            for dx in range(side):
                seen_x, seen_y = U(x - params.reach + dx), U(y - params.reach + dy)
                held = FREE
                if seen_x < U(width) and seen_y < U(height):
                    held = state.floor[seen_y, seen_x]
                row[column] = ZERO
                row[column + U(1)] = ONE
                row[column + U(2)] = ZERO
                row[column + U(3)] = ZERO
                row[column + U(4)] = ZERO
                row[column + U(5)] = F(held != FREE)
                row[column + U(6)] = F(held == REQUESTED)
                column += U(CELL_COLUMNS)
        for j in range(count):
            right = U(state.position[j, 0] - x + params.reach)
            below = U(state.position[j, 1] - y + params.reach)
            if right < U(side) and below < U(side):
                column = U(OWN_COLUMNS) + U(CELL_COLUMNS) * (below * U(side) + right)
                row[column] = ONE
                row[column + U(1)] = ZERO
                row[column + U(1) + U(state.direction[j] & 3)] = ONE
    column = U(copy_row(out.state, e, 0, obs, e))
    if params.timeout_terminates:
        out.state[e, column] = F(params.max_steps - clock.step) / F(params.max_steps)


GAME = Game("warehouse/robots", Options, spec, params, state, reset_one, step_one, observe_one)
