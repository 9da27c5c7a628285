"""A list to choose from, as a window's content: titles with a detail, and what each opens. Knows no screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from environments.errors import MarlError
from viz.page import Pane, pixels
from viz.ready import GETTING_READY, Task
from viz.scene import EDGE, FAINT_INK, GOLD, INK, PANEL, SOFT_INK, Box, Line, Shape, Text
from viz.shown import Shown

HEADER, FOOTER, ROW = 56, 40, 30
LEFT = 28
DETAIL = 0.42
"""Where details begin, as a share of the width."""
REFRESH = 1.0
"""Seconds between two looks at what there is to choose from."""


class Entry(NamedTuple):
    """A line of a list."""

    title: str
    detail: str = ""
    open: Callable[[], Shown | None] | None = None
    """What choosing it shows; None for a heading, which cannot be chosen. A MarlError of it is told in the list."""
    slow: bool = False
    """It takes seconds: the list says so meanwhile."""


class Menu(Shown):
    """A list of entries; `entries` is asked again from time to time, so that a list may grow."""

    def __init__(
        self,
        title: str,
        entries: Callable[[], Sequence[Entry]],
        hint: str = "",
        leave: bool = False,
        apart: bool = True,
    ) -> None:
        """`hint` stands below the list. `leave`: the list ends when something was chosen. `apart`: as in `Task`."""
        self.title, self.hint = title, hint
        self.note = ""
        """What went wrong with the last choice."""
        self._ask, self._leave, self._apart = entries, leave, apart
        self._task: Task[Shown | None] | None = None
        """What makes the slow entry that was chosen."""
        self.entries = list(entries())
        self.at = next((i for i, entry in enumerate(self.entries) if entry.open), 0)
        """The entry that return chooses."""
        self._first = 0
        self._waited = 0.0
        self._opened: Shown | None = None

    @property
    def fitting(self) -> int:
        """Entries that there is room for."""
        return max(1, int((self.size[1] - HEADER - FOOTER) // ROW))

    def page(self) -> list[Pane]:
        """The list, as much of it as fits around what is pointed at."""
        width, height = self.size
        shapes: list[Shape] = [
            Text((LEFT, HEADER / 2), self.title, 20, INK, "left", True, width * 0.6),
            Text((width - LEFT, HEADER / 2), self._place(), 14, FAINT_INK, "right"),
            Line(((0, HEADER - 0.5), (width, HEADER - 0.5)), EDGE, 1),
        ]
        for i, entry in enumerate(self.entries[self._first : self._first + self.fitting], self._first):
            y = HEADER + ROW * (i - self._first + 0.5) + 4
            if i == self.at and entry.open:
                corner, opposite = (LEFT - 12, y - ROW / 2 + 1), (width - LEFT + 12, y + ROW / 2 - 1)
                shapes.append(Box(corner, opposite, GOLD.faded(0.28), None, 0, 6))
            heading = not entry.open and not entry.detail
            ink, detail = (INK, SOFT_INK) if entry.open else (SOFT_INK if heading else FAINT_INK, FAINT_INK)
            room = width * DETAIL - LEFT - 12 if entry.detail else width - 2 * LEFT
            shapes.append(Text((LEFT, y), entry.title, 15, ink, "left", heading, room))
            shapes.append(
                Text((width * DETAIL, y), entry.detail, 14, detail, "left", False, width * (1 - DETAIL) - LEFT)
            )
        below = self.note or self.hint
        shapes.append(Line(((0, height - FOOTER + 0.5), (width, height - FOOTER + 0.5)), EDGE, 1))
        shapes.append(
            Text((LEFT, height - FOOTER / 2), below, 13, INK if self.note else SOFT_INK, "left", False, width * 0.6)
        )
        keys = "↑ ↓ choose · return open · esc back"
        shapes.append(Text((width - LEFT, height - FOOTER / 2), keys, 13, FAINT_INK, "right"))
        return [Pane(0, 0, width, height, pixels(width, height, shapes, PANEL))]

    def _place(self) -> str:
        count = len(self.entries)
        return f"{self._first + 1}–{min(count, self._first + self.fitting)} of {count}" if count > self.fitting else ""

    def advance(self, seconds: float) -> bool:
        """Look from time to time whether there is more to choose from; what is pointed at stays pointed at."""
        if self._task is not None:
            return self._wait(self._task)
        self._waited += seconds
        if self._waited < REFRESH:
            return False
        self._waited = 0.0
        fresh = list(self._ask())
        if [entry[:2] for entry in fresh] == [entry[:2] for entry in self.entries]:
            return False
        title = self.entries[self.at].title if self.entries else ""
        self.entries = fresh
        same = [i for i, entry in enumerate(fresh) if entry.title == title and entry.open]
        self._point(same[0] if same else min(self.at, len(fresh) - 1))
        return True

    def _wait(self, task: Task[Shown | None]) -> bool:
        if not task.done():
            return False
        self._task = None
        self._take(task.result)
        return True

    def press(self, key: str) -> bool:
        """Arrows and pages move, return chooses, escape goes back; what was chosen and is not ready is then left."""
        if self._task is not None and key not in ("escape", "q"):
            return False
        far = {"up": -1, "down": 1, "page up": -self.fitting, "page down": self.fitting}
        if key in far:
            self._move(far[key])
        elif key in ("home", "end"):
            self._point(0 if key == "home" else len(self.entries) - 1)
            self._move(0)
        elif key in ("return", "enter", "right"):
            self._choose()
        elif key in ("escape", "q", "left"):
            self._task, self.quit = None, True
        else:
            return False
        return True

    def _move(self, by: int) -> None:
        """Point at another entry that can be chosen: that far away, or the next one in that direction, or the last."""
        way = -1 if by < 0 else 1
        at = min(max(self.at + by, 0), len(self.entries) - 1)
        for start, step in ((at, way), (at, -way)):
            i = start
            while 0 <= i < len(self.entries):
                if self.entries[i].open:
                    return self._point(i)
                i += step
        return None

    def _point(self, at: int) -> None:
        self.at = max(0, at)
        self._first = min(max(self._first, self.at - self.fitting + 1), self.at)
        if self.at < self.fitting // 2:
            self._first = 0

    def _choose(self) -> None:
        entry = self.entries[self.at] if self.entries else None
        if entry is None or entry.open is None:
            return
        if entry.slow:
            self.note, self._task = f"{GETTING_READY} — {entry.title}", Task(entry.open, self._apart)
        else:
            self._take(entry.open)

    def _take(self, made: Callable[[], Shown | None]) -> None:
        self.note = ""
        try:
            self._opened = made()
        except MarlError as error:
            self.note = str(error)
        else:
            self.quit = self._leave

    def opened(self) -> Shown | None:
        """What the last choice opened."""
        found, self._opened = self._opened, None
        return found

    def mouse_down(self, x: float, y: float) -> bool:
        """A click chooses."""
        if self._task is not None:
            return False
        i = self._first + int((y - HEADER - 4) // ROW)
        if y < HEADER + 4 or i >= min(len(self.entries), self._first + self.fitting) or not self.entries[i].open:
            return False
        self.at = i
        self._choose()
        return True

    def wheel(self, turns: int, x: float, y: float) -> bool:
        """Scroll."""
        self._move(-turns)
        return True
