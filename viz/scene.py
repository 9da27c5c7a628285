"""A picture as plain data: shapes and text in the units of whatever is drawn. Knows no screen and no environment.

A drawing makes a `Scene`; `viz.screen.raster` paints it, `viz.page` places several beside one another. Everything,
also line widths and heights of letters, is in the scene's own units, so that a picture looks the same at every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]


class Color(NamedTuple):
    """Red, green, blue and opacity, each 0 to 255."""

    r: int
    g: int
    b: int
    a: int = 255

    def faded(self, opacity: float) -> Color:
        """The same colour, with `opacity` in [0, 1] times its own."""
        return Color(self.r, self.g, self.b, round(self.a * opacity))

    def mixed(self, other: Color, share: float) -> Color:
        """`share` in [0, 1] of the way to another colour."""
        r, g, b, a = (round(x + (y - x) * share) for x, y in zip(self, other, strict=True))
        return Color(r, g, b, a)


INK = Color(38, 44, 56)
SOFT_INK = Color(112, 121, 137)
FAINT_INK = Color(176, 183, 195)
PAPER = Color(250, 250, 248)
PANEL = Color(255, 255, 255)
GRID = Color(231, 233, 236)
EDGE = Color(213, 217, 223)
WHITE = Color(255, 255, 255)
GOLD = Color(240, 178, 41)
RED = Color(222, 83, 87)
BLUE = Color(66, 118, 214)
GREEN = Color(63, 160, 106)

TEAM_COLORS = (
    BLUE,
    RED,
    GREEN,
    GOLD,
    Color(139, 99, 200),
    Color(35, 158, 178),
    Color(214, 96, 158),
    Color(141, 110, 84),
)
"""Colours that stay apart, also for people who see few."""

OBJECT_COLORS = (RED, GREEN, BLUE, GOLD, Color(139, 99, 200), Color(141, 110, 84))
"""Colours of things that are told apart by colour (landmarks, kinds of treasure)."""


class Circle(NamedTuple):
    """A disc (`fill`) with a rim (`line`, `width`), either of which may be missing."""

    center: Point
    radius: float
    fill: Color | None = None
    line: Color | None = None
    width: float = 0.0


class Line(NamedTuple):
    """Straight pieces through two or more points."""

    points: tuple[Point, ...]
    color: Color
    width: float


class Polygon(NamedTuple):
    """A closed shape."""

    points: tuple[Point, ...]
    fill: Color | None = None
    line: Color | None = None
    width: float = 0.0


class Box(NamedTuple):
    """An upright rectangle between two opposite corners, with rounded corners of `radius`."""

    corner: Point
    opposite: Point
    fill: Color | None = None
    line: Color | None = None
    width: float = 0.0
    radius: float = 0.0


class Arrow(NamedTuple):
    """A line from `start` to `end` with a filled head."""

    start: Point
    end: Point
    color: Color
    width: float


class Text(NamedTuple):
    """One line of text. `anchor` is the part of it at `at`: `left`, `center` or `right`; vertically its middle."""

    at: Point
    text: str
    height: float
    color: Color = INK
    anchor: str = "center"
    bold: bool = False
    max_width: float = 0.0
    """Longer text is cut with an ellipsis; 0 for any length."""


class Bubble(NamedTuple):
    """Text on a rounded box that is as wide as the text."""

    at: Point
    text: str
    height: float
    color: Color = INK
    fill: Color = PANEL
    line: Color = EDGE


@dataclass(frozen=True, eq=False)
class Picture:
    """Recorded pixels, row 0 uppermost, between two opposite corners. Equal where the very same pixels are meant."""

    corner: Point
    opposite: Point
    pixels: NDArray[np.uint8]
    """`[H, W, 3]`."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Picture):
            return False
        return self.pixels is other.pixels and (self.corner, self.opposite) == (other.corner, other.opposite)

    def __hash__(self) -> int:
        return hash((self.corner, self.opposite, id(self.pixels)))


Shape = Circle | Line | Polygon | Box | Arrow | Text | Bubble | Picture


class View(NamedTuple):
    """The part of the plane that is shown. With `bottom > top` the vertical axis points down."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        """Extent along the horizontal axis."""
        return abs(self.right - self.left)

    @property
    def height(self) -> float:
        """Extent along the vertical axis."""
        return abs(self.top - self.bottom)


FAR = 20_000.0
"""Pixels: SDL's integers overflow beyond."""


class Fit(NamedTuple):
    """Where a view lies on a picture: pixel = offset + scale * coordinate, `down` is the vertical sign."""

    x: float
    y: float
    scale: float
    down: float

    def pixel(self, point: Point) -> Point:
        """Pixel of a point, clamped to where SDL can draw."""
        x = self.x + self.scale * float(point[0])
        y = self.y + self.scale * self.down * float(point[1])
        return min(max(x, -FAR), FAR), min(max(y, -FAR), FAR)

    def point(self, x: float, y: float) -> Point:
        """The point that a pixel shows."""
        return (x - self.x) / self.scale, (y - self.y) / (self.scale * self.down)

    def length(self, units: float) -> float:
        """Pixels of a length."""
        return min(self.scale * float(units), FAR)


def fit(view: View, width: float, height: float) -> Fit:
    """A view in the middle of a picture, as large as it goes."""
    scale = min(width / view.width, height / view.height)
    down = -1.0 if view.top > view.bottom else 1.0
    center_x = (view.left + view.right) / 2
    center_y = (view.bottom + view.top) / 2
    return Fit(width / 2 - scale * center_x, height / 2 - scale * down * center_y, scale, down)


class LegendEntry(NamedTuple):
    """One line of a legend."""

    name: str
    color: Color


@dataclass(frozen=True)
class Scene:
    """Shapes, painted in their order (text on top), and what explains them."""

    view: View
    shapes: Sequence[Shape]
    background: Color | None = PAPER
    """None lets through what lies below."""
    legend: tuple[LegendEntry, ...] = field(default=())


def grid(view: View, spacing: float, width: float, color: Color = GRID) -> list[Shape]:
    """Lines at the multiples of `spacing` across a view."""
    shapes: list[Shape] = []
    for i in range(int(view.left // spacing), int(view.right // spacing) + 2):
        shapes.append(Line(((i * spacing, view.bottom), (i * spacing, view.top)), color, width))
    for i in range(int(view.bottom // spacing), int(view.top // spacing) + 2):
        shapes.append(Line(((view.left, i * spacing), (view.right, i * spacing)), color, width))
    return shapes
