"""What a window shows: anything that makes pages and answers keys and mouse. Knows no screen.

`viz.viewer.Viewer` is one. Another mode (playing by hand, a list to choose from) is a class of its own with these
methods: all but `page` have a default that does nothing, so that it says only what it answers.
`viz.screen.window.watch` shows it. What is asked for by a key of a viewer is an `Extra`; whatever it makes is shown on
top and, once it has ended, what lay below is there again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from viz.page import Pane

if TYPE_CHECKING:
    from viz.viewer import Viewer

SMALLEST = (640, 420)
"""Least size of a window, in units of the page."""


class Shown:
    """Something that a window shows. Places are in units of the page, from its upper left corner."""

    title = ""
    quit = False
    """True once it has ended: the window goes back to what lies below, or closes."""
    size = (1280, 720)
    moving = False
    """True while the picture changes by itself: it is then painted quickly rather than finely."""

    def page(self) -> list[Pane]:
        """The whole picture at the present size."""
        raise NotImplementedError

    def advance(self, seconds: float) -> bool:
        """Let time pass; True where the picture may have changed. Called some sixty times a second."""
        return False

    def opened(self) -> Shown | None:
        """Something else, to be shown on top of this from now on; asked for after every event, told once."""
        return None

    def press(self, key: str) -> bool:
        """A key goes down: pygame's name of it, with `shift ` before it where held; True where it means something."""
        return False

    def release(self, key: str) -> bool:
        """A key goes up; its name is without `shift `."""
        return False

    def mouse_down(self, x: float, y: float) -> bool:
        """The left button is pressed; True where that means something."""
        return False

    def mouse_move(self, x: float, y: float) -> bool:
        """The mouse is somewhere else, with or without a button held; True where the picture may have changed."""
        return False

    def mouse_up(self) -> bool:
        """The left button is released; True where the picture may have changed."""
        return False

    def wheel(self, turns: int, x: float, y: float) -> bool:
        """The wheel turns with the mouse at a place: positive turns go up."""
        return False

    def resize(self, width: int, height: int) -> None:
        """The window has another size."""
        self.size = (max(width, SMALLEST[0]), max(height, SMALLEST[1]))

    def escape(self) -> None:
        """The window's own button to close it: ends this."""
        self.quit = True


class Extra(NamedTuple):
    """One more key of a viewer, handed in by whoever makes the viewer."""

    key: str
    """As in `Shown.press`; it comes before the viewer's own keys."""
    meaning: str
    """For the list of keys."""
    act: Callable[[Viewer], Shown | None]
    """What it does, at the frame and for the agent that the viewer shows; what it returns is shown on top."""


class Stack:
    """Several things to show on top of one another; the topmost is seen and gets the events."""

    def __init__(self, first: Shown) -> None:
        self._all = [first]

    @property
    def top(self) -> Shown:
        """What is seen."""
        return self._all[-1]

    @property
    def over(self) -> bool:
        """True once the last one has ended."""
        return self.top.quit

    def settle(self) -> bool:
        """Put on top what the topmost opened, take away what has ended; True where another one is seen now."""
        before, size = self.top, self.top.size
        found = self.top.opened()
        if found is not None:
            self._all.append(found)
        while self.top.quit and len(self._all) > 1:
            self._all.pop()
        if self.top is not before:
            self.top.resize(*size)
        return self.top is not before
