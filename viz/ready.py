"""What takes seconds is made in a thread of its own, while the window says so and goes on answering."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from environments.errors import MarlError
from viz.page import Pane, pixels
from viz.scene import FAINT_INK, INK, PANEL, SOFT_INK, Text
from viz.shown import Shown

Made = TypeVar("Made")
GETTING_READY = "getting ready"


class Task(Generic[Made]):
    """A call of `make` in a thread, from now on. A program that ends waits for it: libraries do not bear to be cut off
    while they load."""

    def __init__(self, make: Callable[[], Made], apart: bool = True) -> None:
        """Not `apart`: in `result` itself, after `done` was asked for once, so that a page can say so before.

        Somebody else's environment may draw only in the thread that has made it.
        """
        self._make = make
        self._made: list[Made] = []
        self._error: BaseException | None = None
        self._asked = False
        self._thread = threading.Thread(target=self._work, name=GETTING_READY) if apart else None
        if self._thread is not None:
            self._thread.start()

    def _work(self) -> None:
        try:
            self._made.append(self._make())
        except BaseException as error:
            self._error = error

    def done(self) -> bool:
        """True once it is time for `result`."""
        before, self._asked = self._asked, True
        return before if self._thread is None else not self._thread.is_alive()

    def result(self) -> Made:
        """What was made; whatever was raised is raised here."""
        if self._thread is None:
            self._work()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made[0]


class Ready(Shown):
    """Says that something is being made and then opens it; a MarlError is told, until somebody leaves."""

    def __init__(self, title: str, make: Callable[[], Shown], apart: bool = True) -> None:
        """`apart` as in `Task`."""
        self.title, self.error = title, ""
        self._task: Task[Shown] | None = Task(make, apart)
        self._opened: Shown | None = None
        self._passed = 0.0

    def page(self) -> list[Pane]:
        """Two lines in the middle; a point more every half second says that the window is alive."""
        width, height = self.size
        said = self.error or GETTING_READY + " " + "·" * (1 + int(2 * self._passed) % 6)
        shapes = [
            Text((width / 2, height / 2 - 22), self.title, 20, INK, bold=True, max_width=width - 60),
            Text((width / 2, height / 2 + 12), said, 15, SOFT_INK, max_width=width - 60),
            Text((width / 2, height / 2 + 42), "esc back", 13, FAINT_INK),
        ]
        return [Pane(0, 0, width, height, pixels(width, height, shapes, PANEL))]

    def advance(self, seconds: float) -> bool:
        """Open what has been made."""
        before = int(2 * self._passed)
        self._passed += seconds
        if self._task is None or not self._task.done():
            return self._task is not None and int(2 * self._passed) != before
        task, self._task = self._task, None
        try:
            self._opened = task.result()
        except MarlError as error:
            self.error = str(error)
        else:
            self.quit = True
        return True

    def opened(self) -> Shown | None:
        """What was made, once."""
        found, self._opened = self._opened, None
        return found

    def press(self, key: str) -> bool:
        """Escape goes back; what is being made is then not shown."""
        if key.removeprefix("shift ") not in ("escape", "q"):
            return False
        self._task, self.quit = None, True
        return True
