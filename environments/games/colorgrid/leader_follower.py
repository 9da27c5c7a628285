"""Leader and follower: gather blocks of the right colour, which changes and which only some know
(`colorgrid/leader_follower`).

Purpose        to infer from what another does what it wants, and help, while that changes.
Agents         leader_0, follower_0, a group each, `leader` and `follower`, on the cells of a torus.
Teams          one, `team`.
Actions        Discrete(4): 0 up, 1 down, 2 left, 3 right. The leader moves first; nobody enters the other's cell.
Blocks         floor(density * cells / colors) of each color. Who enters a block's cell takes it, and a block of that
               colour appears on another cell, any free one with the same chance.
Goal           one of the colours: drawn at the start of an episode (`random_goal`), else always the first; after
               every step it becomes, with probability `switch_probability`, another one.
Rewards        to who takes a block: goal_reward if it has the goal's colour, else -penalty if the agent is one of those
               `penalized`. Whose reward counts, its own or the team's, is the scenario's.
Ends           truncated after max_cycles steps.
Options        width, height, colors, density, knows_goal, random_goal, switch_probability, goal_reward, penalty,
               penalized, sight, last_taken, max_cycles; see `Options`.
Source         Risukhin, Rao, Caffee and Fan 2025, "ColorGrid" (arXiv:2501.10593); own rules in its manner. Theirs:
               32 x 32, density 0.1, 3 colours, switches with probability 2/96, episodes of 1000 steps, all penalized.
Version        1

Observation    of a window with oneself in the middle: the whole grid, or `sight` cells to every side; rows from below,
               cells from the left, n of them; 1 or 0
    n each     a block of that colour is here, colour by colour
    n          the other agent is here
    colors     the goal, one-hot, for who knows it; zeros for who does not
    ...        with last_taken: the colour that oneself took last, one-hot, then the other; zeros for none yet

State          the grid seen from cell (0, 0): the blocks of every colour, the leader, the follower; then the goal.

Metrics        `leader_right`, `leader_wrong`, `follower_right`, `follower_wrong`: blocks taken; `switches` of the goal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.native import Game, options_of
from environments.rng import integer, uniform
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
ZERO, ONE = F(0.0), F(1.0)
U = np.uint64
AGENTS = ("leader", "follower")
MOVES = ("up", "down", "left", "right")
UP, DOWN, LEFT, RIGHT = range(4)
EMPTY = 0  # a block of colour k is k + 1
NONE = -1  # no block taken yet
KNOWING = {"both": (1, 1), "leader": (1, 0)}
PENALIZED = {"both": (1, 1), "leader": (1, 0), "follower": (0, 1), "none": (0, 0)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set."""

    width: int = 8
    """Cells from left to right, 2 to 64."""
    height: int = 8
    """Cells from top to bottom, 2 to 64."""
    colors: int = 3
    """Colours of blocks, 2 to 6."""
    density: float = 0.2
    """Share of the cells that hold a block, at most; 0 to 0.8, and enough for one block of each colour."""
    knows_goal: str = "leader"
    """Who sees the goal: `leader` or `both`."""
    random_goal: bool = True
    """Whether the goal is drawn at the start of an episode; otherwise it is the first colour."""
    switch_probability: float = 2 / 96
    """Chance that the goal becomes another colour after a step, 0 to 1."""
    goal_reward: float = 1.0
    """Paid for a block of the goal's colour, 0 to 1000."""
    penalty: float = 1.0
    """Cost of another block, 0 to 1000."""
    penalized: str = "both"
    """Who pays it: `both`, `leader`, `follower` or `none`."""
    sight: int | None = None
    """How many cells to every side an agent sees, 1 to 31, no cell twice; None: the whole grid."""
    last_taken: bool = False
    """Whether agents see which colour each of them took last."""
    max_cycles: int = 128
    """Steps of an episode, 1 to 1,000,000."""

    def __post_init__(self) -> None:
        for name, low, high in (("width", 2, 64), ("height", 2, 64), ("colors", 2, 6), ("max_cycles", 1, 1_000_000)):
            _check(low <= getattr(self, name) <= high, self, name, f"a whole number from {low} to {high}")
        for name, most in (("density", 0.8), ("switch_probability", 1), ("goal_reward", 1000), ("penalty", 1000)):
            _check(0 <= getattr(self, name) <= most, self, name, f"from 0 to {most}")
        for name, known in (("knows_goal", KNOWING), ("penalized", PENALIZED)):
            _check(getattr(self, name) in known, self, name, f"one of {', '.join(known)}")
        least = self.colors / (self.width * self.height)
        _check(
            self.blocks >= 1, self, "density", f"at least {least:.3g}, for one block of each of {self.colors} colors"
        )
        room = self.width * self.height - len(AGENTS) - 1
        _check(
            self.blocks * self.colors <= room,
            self,
            "density",
            f"less: {self.blocks * self.colors} blocks do not fit beside two agents and a free cell "
            f"on {self.width} x {self.height} cells",
        )
        widest = min(self.width, self.height, 63)
        if self.sight is not None:
            most = max(1, (widest - 1) // 2)
            fits = self.sight >= 1 and 2 * self.sight + 1 <= widest
            _check(fits, self, "sight", f"from 1 to {most} on {self.width} x {self.height} cells, or None")

    @property
    def blocks(self) -> int:
        """Blocks of each colour."""
        return int(self.density * self.width * self.height / self.colors + 1e-9)

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of what an agent sees."""
        return (self.height, self.width) if self.sight is None else (2 * self.sight + 1, 2 * self.sight + 1)


def _check(ok: bool, options: Options, name: str, wanted: str) -> None:
    """ValueError that names option, range and value unless `ok` (which is False for NaN)."""
    if not ok:
        raise ValueError(f"{name} must be {wanted}, not {getattr(options, name)!r}")


@kernel
def free_cell(state, clock):
    """Number of a cell without a block and without an agent, each with the same chance; there always is one."""
    height, width = state.grid.shape
    while True:
        cell = integer(clock, height * width)
        y, x = cell // width, cell % width
        if state.grid[y, x] != EMPTY:
            continue
        taken = False
        for i in range(2):
            taken |= state.place[i, 0] == x and state.place[i, 1] == y
        if not taken:
            return cell


@kernel
def reset_one(state, params, clock):
    """Agents and blocks anywhere, each on a cell of its own; a goal."""
    height, width = state.grid.shape
    for y in range(height):
        for x in range(width):
            state.grid[y, x] = EMPTY
    for i in range(2):
        state.place[i, 0] = NONE
        state.place[i, 1] = NONE
        state.took[i] = NONE
        state.last[i] = NONE
    for i in range(2):
        cell = free_cell(state, clock)
        state.place[i, 0] = cell % width
        state.place[i, 1] = cell // width
    for color in range(params.colors):
        for _ in range(params.blocks):
            cell = free_cell(state, clock)
            state.grid[cell // width, cell % width] = color + 1
    state.goal = integer(clock, params.colors) if params.random_goal else 0


@kernel
def walk(state, i, move):
    """One cell on the torus, unless the other agent stands there. Numbers that are no move count as the nearest one."""
    height, width = state.grid.shape
    x, y = state.place[i, 0], state.place[i, 1]
    if move <= UP:
        y = y + 1 if y + 1 < height else 0
    elif move == DOWN:
        y = y - 1 if y > 0 else height - 1
    elif move == LEFT:
        x = x - 1 if x > 0 else width - 1
    else:
        x = x + 1 if x + 1 < width else 0
    if x != state.place[1 - i, 0] or y != state.place[1 - i, 1]:
        state.place[i, 0] = x
        state.place[i, 1] = y


@kernel
def take(state, params, clock, out, e, i):
    """Take the block under an agent, if any: pay, count, and let one of its colour appear elsewhere."""
    x, y = state.place[i, 0], state.place[i, 1]
    block = state.grid[y, x]
    state.took[i] = NONE
    reward = ZERO
    if block != EMPTY:
        color = block - 1
        right = color == state.goal
        if right:
            reward = params.goal_reward
        elif params.penalized[i]:
            reward = -params.penalty
        out.metrics[e, 2 * i] = F(right)
        out.metrics[e, 2 * i + 1] = F(not right)
        state.took[i] = color
        state.last[i] = color
        state.grid[y, x] = EMPTY
        cell = free_cell(state, clock)
        state.grid[cell // state.grid.shape[1], cell % state.grid.shape[1]] = block
    return reward


@kernel
def step_one(state, params, clock, actions, out, e):
    """The leader, then the follower; then perhaps another goal."""
    walk(state, 0, actions[0][e, 0])
    walk(state, 1, actions[1][e, 0])
    out.groups[0].reward[e, 0] = take(state, params, clock, out, e, 0)
    out.groups[1].reward[e, 0] = take(state, params, clock, out, e, 1)
    if params.switch_probability > ZERO and uniform(clock, ZERO, ONE) < params.switch_probability:
        state.goal = (state.goal + 1 + integer(clock, params.colors - 1)) % params.colors
        out.metrics[e, 4] = ONE


@kernel
def write_color(row, column, colors, color):
    """One-hot of a colour, zeros for none; returns the column after it."""
    for k in range(colors):
        row[column + k] = ONE if color == k else ZERO
    return column + colors


@kernel
def write_window(row, state, params, i):
    """The window around agent `i`; returns the column after it."""
    height, width = state.grid.shape
    rows, columns = params.rows, params.columns
    cells = rows * columns
    seen = cells * (params.colors + 1)
    for column in range(seen):
        row[column] = ZERO
    left = state.place[i, 0] - columns // 2
    y = state.place[i, 1] - rows // 2
    y = y if y >= 0 else y + height
    other_x, other_y = state.place[1 - i, 0], state.place[1 - i, 1]
    cell = 0
    for _ in range(rows):
        x = left if left >= 0 else left + width
        for _ in range(columns):
            block = state.grid[y, x]
            if block != EMPTY:
                row[U((block - 1) * cells + cell)] = ONE
            if x == other_x and y == other_y:
                row[U(params.colors * cells + cell)] = ONE
            x = x + 1 if x + 1 < width else 0
            cell += 1
        y = y + 1 if y + 1 < height else 0
    return seen


@kernel
def write_state(row, state, params):
    """The grid from its first cell, both agents, the goal."""
    height, width = state.grid.shape
    cells = height * width
    for column in range((params.colors + 2) * cells):
        row[column] = ZERO
    for y in range(height):
        for x in range(width):
            block = state.grid[y, x]
            if block != EMPTY:
                row[U((block - 1) * cells + y * width + x)] = ONE
    for i in range(2):
        row[U((params.colors + i) * cells + state.place[i, 1] * width + state.place[i, 0])] = ONE
    write_color(row, (params.colors + 2) * cells, params.colors, state.goal)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    for i in range(2):
        row = out.groups[0].obs[e, 0] if i == 0 else out.groups[1].obs[e, 0]
        column = write_window(row, state, params, i)
        column = write_color(row, column, params.colors, state.goal if params.knows[i] else NONE)
        if params.last_taken:
            column = write_color(row, column, params.colors, state.last[i])
            write_color(row, column, params.colors, state.last[1 - i])
    write_state(out.state[e], state, params)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    rows, columns = options.window
    cells = [f"({x - columns // 2:+d}, {y - rows // 2:+d})" for y in range(rows) for x in range(columns)]
    features = [f"colour {k} at {cell}" for k in range(options.colors) for cell in cells]
    features += [f"other at {cell}" for cell in cells]
    features += [f"goal is colour {k}" for k in range(options.colors)]
    if options.last_taken:
        features += [f"{who} took colour {k} last" for who in ("own", "other") for k in range(options.colors)]
    groups = tuple(
        AgentGroup(
            name=name,
            kind="team",
            agents=(f"{name}_0",),
            observation_space=spaces.Box(0, 1, (len(features),), np.float32),
            action_space=spaces.Discrete(len(MOVES)),
            features=tuple(features),
        )
        for name in AGENTS
    )
    return EnvSpec(
        name="colorgrid/leader_follower",
        version=1,
        agents=tuple(agent for group in groups for agent in group.agents),
        groups=groups,
        kinds=(TeamKind("team", AGENTS),),
        state_size=(options.colors + 2) * options.width * options.height + options.colors,
        max_steps=options.max_cycles,
        metrics=(
            *((f"{name}_{what}", "blocks") for name in AGENTS for what in ("right", "wrong")),
            ("switches", "of the goal"),
        ),
        step_seconds=0.25,
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    rows, columns = options.window
    numbers = {
        "colors": options.colors,
        "blocks": options.blocks,
        "rows": rows,
        "columns": columns,
        "knows": KNOWING[options.knows_goal],
        "penalized": PENALIZED[options.penalized],
        "random_goal": int(options.random_goal),
        "last_taken": int(options.last_taken),
        "switch_probability": float(options.switch_probability),
        "goal_reward": float(options.goal_reward),
        "penalty": float(options.penalty),
    }
    arrays = {name: np.asarray(value) for name, value in numbers.items()}
    kinds = {name: np.int64 if array.dtype.kind == "i" else np.float32 for name, array in arrays.items()}
    record = np.zeros(1, np.dtype([(name, kinds[name], array.shape) for name, array in arrays.items()], align=True))
    for name, array in arrays.items():
        record[name] = array
    return record


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy.

    `grid [height, width]`: 0, or 1 + the colour of the block there, rows from below; `place [2, 2]`: x and y of leader
    and follower; `goal`: its colour; `took [2]`: colour of the block that each took in the last step, `last [2]`: that
    it took last at all, -1 for none.
    """
    fields = [
        ("grid", np.uint8, (options.height, options.width)),
        ("place", np.int64, (2, 2)),
        ("goal", np.int64),
        ("took", np.int64, (2,)),
        ("last", np.int64, (2,)),
    ]
    return np.dtype(fields, align=True)


GAME = Game("colorgrid/leader_follower", Options, spec, params, state, reset_one, step_one, observe_one)
