"""Players of the skirmish family: functions of what one unit sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError

MOVES = 5  # actions that aim at nobody: stop, forward, back, up, down
LEAST_COLUMNS = 4  # of a block


def nearest(obs: NDArray[Any], mask: NDArray[np.bool_] | None, noise: NDArray[np.float32]) -> NDArray[np.int32]:
    """Strike the nearest foe in range; else walk towards the nearest in sight; else forward, or along the wall.

    Who heals, heals somebody within range and otherwise walks with the others. UsageError where the columns are not
    those of a skirmish (2 M blocks where there are 5 + M actions).
    """
    places = 0 if mask is None else mask.shape[1] - MOVES
    if mask is None or places < 1 or obs.shape[1] % (2 * places) or obs.shape[1] < 2 * places * LEAST_COLUMNS:
        raise UsageError("the bot skirmish/nearest plays only skirmish environments")
    blocks = obs.reshape(len(obs), 2 * places, -1)[:, 1 : 1 + places]
    distance = np.where(blocks[..., 3] > 0, blocks[..., 2], 2.0)  # health above 0: in sight; a sight is 1
    rows = np.arange(len(obs))
    targets = mask[:, MOVES:]
    target = np.where(targets, distance, np.inf).argmin(1)
    closest = distance.argmin(1)
    dx, dy = blocks[rows, closest, 0], blocks[rows, closest, 1]
    sideways = np.where(dx > 0, 1, 2)
    move = np.where(np.abs(dx) >= np.abs(dy), sideways, np.where(dy > 0, 3, 4))
    move = np.where(distance[rows, closest] > 1, 1, move)
    move = np.where(mask[rows, move], move, _any_of(mask[:, :MOVES], noise))
    return np.where(targets.any(1), MOVES + target, move).astype(np.int32)


def _any_of(mask: NDArray[np.bool_], noise: NDArray[np.float32]) -> NDArray[np.int64]:
    """One of the legal columns of each row, by the noise."""
    rank = np.minimum((noise * mask.sum(1)).astype(np.int64), mask.sum(1) - 1)
    chosen: NDArray[np.int64] = (mask.cumsum(1) > rank[:, None]).argmax(1)
    return chosen
