"""Small charts of numbers over an episode, as shapes in pixels: an area around zero, a line."""

from __future__ import annotations

import numpy as np

from environments.vector import Array
from viz.scene import EDGE, Box, Color, Line, Polygon, Shape

LARGEST = 1e30


def columns(values: Array, count: int) -> Array:
    """`[T] -> [min(count, T)]` float64: in equal pieces, the number of largest size of each. Not-a-numbers are 0."""
    clean = np.clip(
        np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=LARGEST, neginf=-LARGEST), -1e30, 1e30
    )
    if len(clean) <= count:
        return clean
    starts = np.arange(count) * len(clean) // count
    high, low = np.maximum.reduceat(clean, starts), np.minimum.reduceat(clean, starts)
    return np.where(high >= -low, high, low)


def reach(*series: Array) -> float:
    """The largest size of any number, at least a tiny one, so that it may be divided by."""
    return max((float(np.abs(values).max(initial=0.0)) for values in series), default=0.0) or 1.0


def area(values: Array, box: Box, color: Color, largest: float) -> list[Shape]:
    """Steps around the middle of a box, from `-largest` at its foot to `largest` at its top, and the line of zero."""
    (left, top), (right, bottom) = box.corner, box.opposite
    middle, half = (top + bottom) / 2, (bottom - top) / 2
    shapes: list[Shape] = [Line(((left, middle), (right, middle)), EDGE, 1)]
    if not len(values) or not np.any(values):
        return shapes
    wide = (right - left) / len(values)
    heights = middle - half * np.clip(values / largest, -1, 1)
    points = [(left, middle)]
    for k, y in enumerate(heights.tolist()):
        points += [(left + k * wide, y), (left + (k + 1) * wide, y)]
    shapes.append(Polygon((*points, (right, middle)), color))
    return shapes


def line(values: Array, box: Box, color: Color, low: float, high: float, width: float = 1.5) -> list[Shape]:
    """A curve through a box, from `low` at its foot to `high` at its top; it has gaps where there are no numbers."""
    (left, top), (right, bottom) = box.corner, box.opposite
    count = max(2, int(right - left) // 2)
    chosen = np.unique(np.linspace(0, len(values) - 1, count).astype(int)).tolist() if len(values) else []
    shapes: list[Shape] = []
    run: list[tuple[float, float]] = []
    for t in chosen:
        number = float(values[t])
        if np.isfinite(number):
            share = (number - low) / max(high - low, 1e-12)
            x = left + (right - left) * float(t) / max(1, len(values) - 1)
            run.append((x, bottom - (bottom - top) * min(max(share, 0.0), 1.0)))
        elif run:
            shapes.append(Line(tuple(run), color, width))
            run = []
    if len(run) > 1:
        shapes.append(Line(tuple(run), color, width))
    return shapes
