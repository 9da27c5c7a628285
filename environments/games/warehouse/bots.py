"""A robot that keeps to one-way traffic: it drives a round past all shelves, and everything else happens on the way.

The round goes up one aisle and down the next, and back along the lowest row, where the goals are. A robot without a
shelf turns aside for one that is asked for and lifts it; one with a shelf that is asked for leaves the round where that
is shorter to the goals; one with a shelf that nobody asks for turns aside for the first free place and puts it down.
Because all drive the same way they seldom meet head-on; a random action once in a while frees those who do.

A robot does not see how large the floor is, so there is a bot for each of rware's four sizes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError
from environments.games.warehouse import layout
from environments.games.warehouse.names import SIZES

UP, DOWN, LEFT, RIGHT = 0, 1, 2, 3
FORWARD, TURN_LEFT, TURN_RIGHT, LIFT = 1, 2, 3, 4
AHEAD = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])
"""(x, y) of one step in each direction."""
QUARTER = np.array([0, 2, 3, 1])
"""Quarters of a turn to the right from up to each direction."""
TURNS = np.array([FORWARD, TURN_RIGHT, TURN_RIGHT, TURN_LEFT])
"""What to do when the way is so many quarters to the right."""
OWN_COLUMNS, CELL_COLUMNS = 8, 7
ROBOT, SHELF, REQUESTED = 0, 5, 6
"""Columns of a cell."""
COLUMN_HEIGHT = 8
FOLLY = 0.03
"""Share of random actions."""


def rounds(floor: layout.Layout) -> NDArray[np.int64]:
    """`[2, height, width]` direction to take on each cell: the round, and the way of one who is to hand over."""
    y, x = np.indices((floor.height, floor.width))
    last = floor.width - 1
    low, lowest = y == floor.height - 2, y == floor.height - 1
    up, down = x % 6 == 0, x % 6 == 3
    sideways = np.where((x % 3 == 2) | low | (y == 0), RIGHT, LEFT)
    way = np.where(up & (y > 0), UP, np.where(down & ~low, DOWN, sideways))
    queue = (floor.highway == 1) & (x % 3 > 0) & (y > floor.height - COLUMN_HEIGHT - 3) & ~low
    way = np.where(queue, DOWN, way)
    way = np.where(low & (x == last), DOWN, way)
    way = np.where(lowest & (x > 0), LEFT, way)
    goal = max(x for x, _ in floor.goals)
    handing = np.where(low & (x < goal), RIGHT, np.where(low & (x == goal), DOWN, way))
    return np.stack([way, handing])


def fetch(
    obs: NDArray[Any], mask: NDArray[np.bool_] | None, noise: NDArray[np.float32], size: str
) -> NDArray[np.int32]:
    """Drives a round past all shelves with the traffic, and fetches and brings back on the way.

    `[B]` actions of robots that see `[B, D]` on a floor of that size. UsageError where it is another one.
    """
    rows, columns = SIZES[size]
    floor = layout.regular(columns, COLUMN_HEIGHT, rows)
    obs = np.asarray(obs)
    side = round(max((obs.shape[-1] - OWN_COLUMNS) / CELL_COLUMNS, 0) ** 0.5)
    if obs.ndim != 2 or side % 2 == 0 or obs.shape[1] != OWN_COLUMNS + CELL_COLUMNS * side**2 or side < 3:
        raise UsageError(
            f"this bot reads what robots of {size} floors see, at least one cell far; here is something else"
        )
    place = np.rint(obs[:, :2]).astype(np.int64)
    if (place != obs[:, :2]).any() or (place < 0).any() or (place >= [floor.width, floor.height]).any():
        raise UsageError(f"this bot knows floors of {floor.width} x {floor.height} cells ({size}); here is another")
    cells = obs[:, OWN_COLUMNS:].reshape(len(obs), side, side, CELL_COLUMNS)
    middle = side // 2
    here = cells[:, middle, middle]
    beside = cells[:, middle + AHEAD[:, 1], middle + AHEAD[:, 0]]
    carries = obs[:, 2] > 0
    heading = obs[:, 3:7].argmax(1)
    asked = here[:, REQUESTED] > 0

    around = place[:, None] + AHEAD
    inside = ((around >= 0) & (around < [floor.width, floor.height])).all(-1)
    x, y = np.clip(around, 0, [floor.width - 1, floor.height - 1]).transpose(2, 0, 1)
    free = inside & (floor.highway[y, x] == 0) & (beside[..., SHELF] == 0)
    tempting = np.where(carries[:, None], free & ~asked[:, None], beside[..., REQUESTED] > 0)
    tempting &= beside[..., ROBOT] == 0
    way = rounds(floor)[(carries & asked).astype(int), place[:, 1], place[:, 0]]
    way = np.where(tempting.any(1), tempting.argmax(1), way)

    stored = floor.highway[place[:, 1], place[:, 0]] == 0
    lift = np.where(carries, stored & ~asked, asked)
    chosen = np.where(lift, LIFT, TURNS[(QUARTER[way] - QUARTER[heading]) % 4])
    at_random = FORWARD + np.floor(np.minimum(noise / FOLLY, 0.999) * 3)  # forward, left or right
    return np.where(noise < FOLLY, at_random, chosen).astype(np.int32)


fetch_tiny, fetch_small, fetch_medium, fetch_large = (partial(fetch, size=size) for size in SIZES)
