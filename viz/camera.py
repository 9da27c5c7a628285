"""Which part of a drawing is seen: zoom, pan, and keeping one point in the middle. Pure arithmetic, no screen."""

from __future__ import annotations

from viz.scene import Fit, Point, View, fit

LARGEST, SMALLEST = 40.0, 0.5
TURN = 1.15
"""Zoom of one notch of the wheel."""
CLOSE = 2.0
"""Zoom with which following begins, unless it is larger already."""


class Camera:
    """A zoom and a centre, relative to the view that shows everything (`home`)."""

    def __init__(self) -> None:
        self.zoom = 1.0
        self.follows = False
        self._center: Point | None = None

    def reset(self) -> None:
        """Everything again."""
        self.zoom, self.follows, self._center = 1.0, False, None

    def follow(self, wanted: bool) -> None:
        """Keep the target of `view` in the middle, or stay where the picture is."""
        self.follows = wanted
        if wanted:
            self.zoom = max(self.zoom, CLOSE)

    def view(self, home: View, target: Point | None = None) -> View:
        """What is seen; the vertical axis points as in `home`."""
        x, y = self._middle(home, target)
        across, up = (home.right - home.left) / 2 / self.zoom, (home.top - home.bottom) / 2 / self.zoom
        return View(x - across, y - up, x + across, y + up)

    def _middle(self, home: View, target: Point | None) -> Point:
        if self.follows and target is not None:
            return target
        return self._center or ((home.left + home.right) / 2, (home.bottom + home.top) / 2)

    def drag(self, right: float, down: float, seen: Fit, home: View, target: Point | None) -> None:
        """Move the picture by some of its pixels; ends following."""
        x, y = self._middle(home, target)
        self.follows = False
        self._center = (x - right / seen.scale, y - down / (seen.scale * seen.down))

    def turn(self, turns: float, x: float, y: float, size: tuple[int, int], home: View, target: Point | None) -> None:
        """Zoom by notches of the wheel; what is at pixel (x, y) of a picture of `size` stays there."""
        before = fit(self.view(home, target), *size).point(x, y)
        middle = self._middle(home, target)
        self.zoom = min(max(self.zoom * TURN**turns, SMALLEST), LARGEST)
        if not self.follows:
            after = fit(self.view(home, target), *size).point(x, y)
            self._center = (middle[0] + before[0] - after[0], middle[1] + before[1] - after[1])
