"""Bots for the colour grid, which go to the nearest block that they take for the right one.

They read grids of three colours and square windows, the defaults' among them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError

COLORS = 3
STEPS = np.array([(1, 0), (-1, 0), (0, -1), (0, 1)])
"""Rows and columns that each action moves."""


def nearest(obs: NDArray[Any], mask: NDArray[np.bool_] | None, noise: NDArray[np.float32]) -> NDArray[np.int32]:
    """One step nearer to the nearest block of the goal's colour, round other blocks where that is no detour.

    Who does not know the goal takes it for the colour that the other took last, where that is seen; else, or where no
    such block is in sight, it walks about without stepping on blocks.
    """
    blocks, other, goal = _read(obs)
    rows, side = len(obs), blocks.shape[-1]
    middle = side // 2
    wanted = (blocks * goal[:, :, None, None]).any(axis=1)
    wrong = np.logical_and(blocks.any(axis=1), ~wanted)
    y, x = np.mgrid[:side, :side] - middle
    distance = np.where(wanted, np.abs(y) + np.abs(x), 4 * side).reshape(rows, -1)
    target = distance.argmin(axis=1)
    known = distance[np.arange(rows), target] < 4 * side
    there = np.stack([target // side - middle, target % side - middle], axis=1)
    nearer = (there @ STEPS.T > 0) | ~known[:, None]
    steps = middle + STEPS
    blocked = wrong[:, steps[:, 0], steps[:, 1]] + 2.0 * other[:, steps[:, 0], steps[:, 1]]
    toss = (noise[:, None] * len(STEPS) + np.arange(len(STEPS))) % len(STEPS) / len(STEPS)
    worth = np.where(known[:, None], 4.0 * nearer, 0.0) - 2.0 * blocked + toss
    return worth.argmax(axis=1).astype(np.int32)


def _read(obs: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """`[B, 3, side, side]` blocks, `[B, side, side]` the other agent, `[B, 3]` the goal as far as it is known."""
    columns = obs.shape[1] if obs.ndim == 2 else 0
    for extra in (COLORS, 3 * COLORS):
        side = math.isqrt(max(0, columns - extra) // (COLORS + 1))
        if side >= 2 and (COLORS + 1) * side * side + extra == columns:
            planes = obs[:, : columns - extra].reshape(-1, COLORS + 1, side, side) != 0
            goal = obs[:, columns - extra : columns - extra + COLORS] != 0
            if extra > COLORS:
                goal = np.where(goal.any(axis=1, keepdims=True), goal, obs[:, columns - COLORS :] != 0)
            return planes[:, :COLORS], planes[:, COLORS], goal
    raise UsageError(f"a bot of colorgrid reads square windows of {COLORS} colours, not {columns} columns")
