"""Floors: where shelves stand, where robots may always drive, where shelves are handed over. numpy only.

Places are (x, y), x from the left and y from the top, as in pictures; arrays are `[height, width]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHELF, AISLE, GOAL = "x", ".", "g"
LONGEST = 700
"""Most rows or columns of a floor that somebody drew."""


@dataclass(frozen=True)
class Layout:
    """One floor."""

    highway: NDArray[np.uint8]
    """`[height, width]` 1 where no shelf may be put down; shelves begin wherever it is 0."""
    goals: tuple[tuple[int, int], ...]
    """Places (x, y) where requested shelves are handed over, in the order in which they are looked at."""

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.highway.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.highway.shape[1])

    @property
    def cells(self) -> int:
        """Places for a robot."""
        return self.height * self.width

    @property
    def shelves(self) -> int:
        """Shelves that there are."""
        return int(self.cells - np.count_nonzero(self.highway))


def of(options: Mapping[str, Any]) -> Layout:
    """The floor that an environment's options (`EnvSpec.options`) ask for. ValueError on a drawing that is none."""
    if options["layout"] is not None:
        return drawn(options["layout"])
    return regular(options["shelf_columns"], options["column_height"], options["shelf_rows"])


def regular(columns: int, height: int, rows: int) -> Layout:
    """Blocks of shelves two wide and `height` high between aisles; the middle of the lowest row is left out, so that
    robots can queue before the two goals at the bottom."""
    tall, wide = (height + 1) * rows + 2, 3 * columns + 1
    y, x = np.indices((tall, wide))
    middle = (x == wide // 2 - 1) | (x == wide // 2)
    queue = middle & (y > tall - (height + 3))
    highway = (x % 3 == 0) | (y % (height + 1) == 0) | (y == tall - 1) | queue
    return Layout(highway.astype(np.uint8), ((wide // 2 - 1, tall - 1), (wide // 2, tall - 1)))


def drawn(picture: str) -> Layout:
    """A floor as lines of letters: x a shelf, . an aisle, g a goal. ValueError says what is wrong with it."""
    lines = picture.strip().replace(" ", "").lower().split("\n")
    if not 1 <= len(lines) <= LONGEST or not 1 <= len(lines[0]) <= LONGEST:
        raise ValueError(
            f"layout must have 1 to {LONGEST} rows and columns, not {len(lines)} rows and {len(lines[0])} columns"
        )
    for number, line in enumerate(lines, 1):
        if len(line) != len(lines[0]):
            raise ValueError(
                f"layout must be a rectangle: row {number} has {len(line)} cells, the first {len(lines[0])}"
            )
        if strange := set(line) - {SHELF, AISLE, GOAL}:
            raise ValueError(f"layout must be drawn with x (shelf), . (aisle) and g (goal), not {min(strange)!r}")
    goals = tuple((x, y) for y, line in enumerate(lines) for x, letter in enumerate(line) if letter == GOAL)
    if not goals:
        raise ValueError("layout must have at least 1 goal (g), not 0")
    return Layout(np.array([[letter != SHELF for letter in line] for line in lines], np.uint8), goals)
