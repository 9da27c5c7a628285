"""The time line below the picture: where it is, what happened when, rewards, the part that is repeated.

Plain shapes in pixels. What stands still is made once; only the head moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from environments.vector import Array
from viz.charts import area, columns, reach
from viz.page import EVENT_COLORS, Mark, Pane, pixels
from viz.playback import Playback
from viz.scene import (
    EDGE,
    FAINT_INK,
    GOLD,
    GRID,
    INK,
    PANEL,
    SOFT_INK,
    Box,
    Bubble,
    Circle,
    Color,
    Line,
    Polygon,
    Scene,
    Shape,
    Text,
    View,
)

TIMELINE = 84
"""Height."""
TRACK_LEFT, TRACK_RIGHT = 118, 92
"""Pixels left and right of the track."""
TRACK = 27
"""Height of the track's middle, from the top."""
CHART = (42, 78)
NEAR = 5
"""Pixels from a mark within which the mouse means it."""

Curve = tuple[Color, Array]
"""Rewards per step `[T]` and their colour."""


class Timeline:
    """Draws itself, and says which frame or mark is at a place."""

    def __init__(self, playback: Playback) -> None:
        self.playback = playback
        self.pointed: Mark | None = None
        """The mark under the mouse."""
        self._still: tuple[object, Scene] | None = None

    def frame_at(self, x: float, width: int) -> float:
        """Share in [0, 1] of the track at a place."""
        track = width - TRACK_RIGHT - TRACK_LEFT
        return min(max((x - TRACK_LEFT) / max(1, track), 0.0), 1.0)

    def point(self, x: float, y: float, width: int) -> bool:
        """The mouse is at a place of the time line; True where it means another mark than before."""
        before = self.pointed
        near = (
            [(abs(self._x(mark.frame, width) - x), mark) for mark in self.playback.marks] if 0 <= y < CHART[1] else []
        )
        gap, mark = min(near, key=lambda item: item[0], default=(NEAR + 1, None))
        self.pointed = mark if gap <= NEAR else None
        return self.pointed is not before

    def _x(self, frame: float, width: int) -> float:
        last = self.playback.last
        return TRACK_LEFT + (width - TRACK_RIGHT - TRACK_LEFT) * (frame / last if last else 0.0)

    def panes(self, top: int, width: int, curves: Sequence[Curve]) -> list[Pane]:
        """What stands still, and over it what moves."""
        return [
            Pane(0, top, width, TIMELINE, self._background(width, curves)),
            Pane(0, top, width, TIMELINE, Scene(View(0, TIMELINE, width, 0), self._head(width), None)),
        ]

    def _background(self, width: int, curves: Sequence[Curve]) -> Scene:
        key = (width, self.playback.range, tuple(id(values) for _, values in curves))
        if self._still is None or self._still[0] != key:
            self._still = (key, pixels(width, TIMELINE, self._still_shapes(width, curves)))
        return self._still[1]

    def _still_shapes(self, width: int, curves: Sequence[Curve]) -> list[Shape]:
        left, right = TRACK_LEFT, width - TRACK_RIGHT
        shapes: list[Shape] = [Line(((0, 0.5), (width, 0.5)), EDGE, 1)]
        if self.playback.range:
            first, end = (self._x(frame, width) for frame in self.playback.range)
            shapes.append(Box((first, 4), (end, CHART[1]), GOLD.faded(0.16)))
            shapes += [Line(((x, 4), (x, CHART[1])), GOLD, 1.5) for x in (first, end)]
        shapes.append(Box((left, TRACK - 3), (right, TRACK + 3), GRID, radius=3))
        shapes += self._marks(width)
        box = Box((left, CHART[0]), (right, CHART[1]))
        shown = [(color, columns(values, right - left)) for color, values in curves]
        largest = reach(*(values for _, values in shown))
        for color, values in shown:
            shapes += area(values, box, color.faded(0.75 if len(shown) == 1 else 0.5), largest)
        shapes.append(Text((left - 10, (CHART[0] + CHART[1]) / 2), "reward", 11, FAINT_INK, "right"))
        return shapes

    def _marks(self, width: int) -> list[Shape]:
        """One tick per pixel at most: a long episode has thousands of events."""
        shapes: list[Shape] = []
        taken: set[tuple[int, str]] = set()
        for mark in self.playback.marks:
            x = round(self._x(mark.frame, width))
            if (x, mark.tone) in taken:
                continue
            taken.add((x, mark.tone))
            color = EVENT_COLORS[mark.tone]
            if mark.tone == "difference":
                shapes.append(Polygon(((x, 4), (x + 6, 11), (x, 18), (x - 6, 11)), color))
            elif mark.tone == "end":
                shapes.append(Polygon(((x - 4.5, 8), (x + 4.5, 8), (x, 18)), color))
            else:
                shapes.append(Box((x - 1.5, 7), (x + 1.5, 19), color, radius=1))
        return shapes

    def _head(self, width: int) -> list[Shape]:
        playback = self.playback
        at = self._x(playback.frame + playback.share, width)
        shapes: list[Shape] = [
            *_play_button(34, TRACK, playback.playing),
            Text((100, TRACK), f"×{playback.speed:g}", 14, INK, "right", True),
            Box((TRACK_LEFT, TRACK - 3), (max(at, TRACK_LEFT + 1), TRACK + 3), SOFT_INK, radius=3),
            Line(((at, TRACK), (at, CHART[1])), INK.faded(0.45), 1),
            Circle((at, TRACK), 8, INK, PANEL, 2),
            Text((width - 46, TRACK), f"{playback.frame} / {playback.last}", 13, INK, max_width=TRACK_RIGHT - 4),
            Text((width - 46, TRACK + 26), _mode(playback), 11, FAINT_INK, max_width=TRACK_RIGHT - 4),
        ]
        if self.pointed is not None:
            words = f"{self.pointed.frame}: {self.pointed.name}"
            half = 4.0 * len(words) + 12
            x = min(max(self._x(self.pointed.frame, width), half), width - half)
            shapes.append(Bubble((x, CHART[0] + 14), words, 13))
        return shapes


def _mode(playback: Playback) -> str:
    if playback.range:
        return f"loop {playback.range[0]}–{playback.range[1]}"
    return "loop · h help" if playback.loop else "h help"


def _play_button(x: float, y: float, playing: bool) -> list[Shape]:
    """Two bars while it plays, a triangle while it does not."""
    if playing:
        return [
            Box((x - 8, y - 9), (x - 3, y + 9), INK, radius=1.5),
            Box((x + 3, y - 9), (x + 8, y + 9), INK, radius=1.5),
        ]
    return [Polygon(((x - 7, y - 10), (x + 10, y), (x - 7, y + 10)), INK)]


def team_rewards(rewards: Sequence[Array]) -> Array:
    """Rewards per step of several agents, `[T]`, summed."""
    total: Array = np.sum(np.stack(rewards).astype(np.float64), axis=0)
    return total
