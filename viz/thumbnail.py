"""What an agent sees, where that is an image or another grid of numbers, as pixels to be looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from environments.vector import Array

COLORS = 3
MOST_PLANES = 64
DARKEST = 16
"""Bytes that are all less are no shades of grey."""
GAP = 1
"""Pixels between two planes."""
BETWEEN = 235
"""Grey of what lies between them."""


def thumbnail(obs: Array) -> NDArray[np.uint8] | None:
    """An observation of two or three axes as `[H, W, 3]`; None on any other, and on an empty one.

    Three planes, in the last axis or in the first, are red, green and blue; any other number of them stand side by
    side in grey: masks of a board, the last pictures of a game. Bytes stay as they are; other numbers, and bytes that
    would all be black, go from black, the least, to white, the largest.
    """
    if obs.ndim not in (2, 3) or not obs.size:
        return None
    planes = np.moveaxis(obs, -1, 0) if obs.ndim == 3 and _last(obs.shape) else obs.reshape(-1, *obs.shape[-2:])
    levels = _levels(planes[:MOST_PLANES])
    if len(planes) == COLORS:
        return np.ascontiguousarray(np.moveaxis(levels, 0, -1))
    return np.repeat(_side_by_side(levels)[:, :, None], COLORS, axis=2)


def _last(shape: tuple[int, ...]) -> bool:
    """True where planes are in the last axis: it is the shortest, or has as many as colours."""
    return shape[-1] == COLORS or (shape[0] != COLORS and shape[-1] <= shape[0])


def _levels(planes: Array) -> NDArray[np.uint8]:
    """0 to 255."""
    if planes.dtype == np.uint8 and planes.max() >= DARKEST:
        return planes
    numbers = np.nan_to_num(planes.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    return np.rint((numbers - low) * (255 / (high - low) if high > low else 0.0)).astype(np.uint8)


def _side_by_side(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Planes in rows of about as many as there are rows."""
    count, height, width = planes.shape
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    whole = np.full((down * (height + GAP) - GAP, across * (width + GAP) - GAP), BETWEEN, np.uint8)
    for k, plane in enumerate(planes):
        y, x = k // across * (height + GAP), k % across * (width + GAP)
        whole[y : y + height, x : x + width] = plane
    return whole
