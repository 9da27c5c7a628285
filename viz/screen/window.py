"""Windows: that of the viewer, and the one that `render_mode="human"` shows. Only SDL's video and fonts are started."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress
from typing import Any, ClassVar

from environments.vector import VectorEnv
from viz.page import Pane
from viz.screen import open_display, pygame_module
from viz.screen.raster import Painter, paint_page
from viz.shown import SMALLEST, Shown, Stack

pygame = pygame_module()
FRAMES_PER_SECOND = 60
FINE, ROUGH = 2, 1
SLOW_PAINTING = 0.02
"""Seconds: what moves and takes longer to paint is painted roughly until it rests."""
LONG_RESTED = 0.25
"""Seconds without a change after which the picture is painted finely again."""
REPEATED = ("left", "right", "page up", "page down", "up", "down", "backspace", "tab")
"""Keys that act again while they are held; others act once."""
REPEAT_AFTER, REPEAT_EVERY = 350, 40
"""Milliseconds."""
DENSE = ((2800, 2.0), (2000, 1.5))
"""Height of a desktop in pixels from which on everything is larger, and how much."""


def watch(shown: Shown, title: str = "", scale: float | None = None) -> None:
    """Show something until it has ended. UsageError where there is no display.

    `scale`: pixels for every unit of the page; None takes `MARL_SCALE`, or what suits the desktop.
    """
    open_display(pygame)
    try:
        _Window(shown, title, scale or desktop_scale(pygame.display.get_desktop_sizes()[0])).run()
    finally:
        pygame.display.quit()


def desktop_scale(desktop: tuple[int, int]) -> float:
    """Pixels for every unit of the page that suit a desktop: more on dense screens, at most what fits on it."""
    with suppress(ValueError):
        asked = float(os.environ.get("MARL_SCALE", ""))
        if 0.5 <= asked <= 4:
            return asked
    wanted = next((scale for height, scale in DENSE if desktop[1] >= height), 1.0)
    return max(1.0, min(wanted, *(room / least for room, least in zip(desktop, SMALLEST, strict=True))))


class _Window:
    """The loop: events, time, painting."""

    def __init__(self, shown: Shown, title: str, scale: float) -> None:
        self.stack = Stack(shown)
        self.title = title
        self.scale = scale
        self.painter = Painter()
        self.smoothness = FINE
        self._slow = False
        self._rested = 0.0
        self._held: set[int] = set()
        pygame.key.set_repeat(REPEAT_AFTER, REPEAT_EVERY)
        pygame.display.set_mode(_fitting(shown.size, scale), pygame.RESIZABLE)
        self._fit()

    def _fit(self) -> None:
        """The window has another size, or another thing to show."""
        width, height = pygame.display.get_surface().get_size()
        self.stack.top.resize(round(width / self.scale), round(height / self.scale))
        pygame.display.set_caption(self.stack.top.title or self.title)

    def run(self) -> None:
        clock = pygame.time.Clock()
        stale = True
        while not self.stack.over:
            seconds = clock.tick(FRAMES_PER_SECOND) / 1000
            for event in pygame.event.get():
                if not self._repeats_in_vain(event):
                    stale |= handle(self.stack.top, event, self.scale)
                if event.type == pygame.VIDEORESIZE:
                    self._fit()
                if self.stack.settle():
                    self._fit()
                    stale = True
            stale |= self.stack.top.advance(seconds)
            if self.stack.settle():
                self._fit()
                stale = True
            self._rested = 0.0 if stale else self._rested + seconds
            if stale or (self.smoothness != FINE and self._rested > LONG_RESTED):
                self._paint(ROUGH if stale and self._slow and self.stack.top.moving else FINE)
            stale = False

    def _repeats_in_vain(self, event: Any) -> bool:
        """True for a key that is still held and acts only once."""
        if event.type == pygame.KEYUP:
            self._held.discard(event.key)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self._held.clear()
        elif event.type == pygame.KEYDOWN:
            held = event.key in self._held
            self._held.add(event.key)
            return held and pygame.key.name(event.key) not in REPEATED
        return False

    def _paint(self, smoothness: int) -> None:
        before = time.perf_counter()
        surface = pygame.display.get_surface()
        top = self.stack.top
        top_width, top_height = (round(self.scale * side) for side in top.size)
        if (top_width, top_height) != surface.get_size():
            surface.fill((255, 255, 255))  # the window is smaller or larger than what it shows
        self.painter.paint_page(surface, top.page(), smoothness, self.scale)
        pygame.display.flip()
        self.smoothness = smoothness
        taken = time.perf_counter() - before
        self._slow = taken > (SLOW_PAINTING if smoothness == FINE else SLOW_PAINTING / 8)


def _fitting(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The wanted size in pixels, or what the desktop has room for."""
    desktop = pygame.display.get_desktop_sizes()[0]
    return tuple(
        max(round(scale * least), min(round(scale * wanted), room - 60))
        for wanted, room, least in zip(size, desktop, SMALLEST, strict=True)
    )


def handle(shown: Shown, event: Any, scale: float = 1.0) -> bool:
    """Hand one of pygame's events to what is shown; True where the picture may have changed."""
    if event.type == pygame.QUIT:
        shown.escape()
    elif event.type == pygame.KEYDOWN:
        return _press(shown, event)
    elif event.type == pygame.KEYUP:
        return shown.release(pygame.key.name(event.key))
    elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
        return shown.mouse_down(*(at / scale for at in event.pos))
    elif event.type == pygame.MOUSEMOTION:
        return shown.mouse_move(*(at / scale for at in event.pos))
    elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
        return shown.mouse_up()
    elif event.type == pygame.MOUSEWHEEL:
        return shown.wheel(event.y, *(at / scale for at in pygame.mouse.get_pos()))
    return event.type in (pygame.WINDOWEXPOSED, pygame.QUIT, pygame.VIDEORESIZE)


def _press(shown: Shown, event: Any) -> bool:
    shift = "shift " if event.mod & pygame.KMOD_SHIFT else ""
    typed = event.unicode if event.unicode in ("?", "+", "-", "=") and event.unicode else ""
    return shown.press(typed or shift + pygame.key.name(event.key))


class LiveWindow:
    """The window of a running environment. There is one for all of them, as SDL shows one at a time."""

    _open: LiveWindow | None = None
    _watched: ClassVar[weakref.WeakSet[VectorEnv]] = weakref.WeakSet()

    def __init__(self, title: str, width: int, height: int) -> None:
        """UsageError where there is no display."""
        open_display(pygame)
        pygame.display.set_mode((width, height))
        pygame.display.set_caption(title)
        self._shown_at = 0.0

    @classmethod
    def of(cls, vector: VectorEnv, width: int, height: int) -> LiveWindow:
        """The open window, opened if need be; it closes when `vector` is gone."""
        if cls._open is None or not pygame.display.get_init() or pygame.display.get_surface() is None:
            cls._open = cls(vector.spec.name, width, height)
        if vector not in cls._watched:
            cls._watched.add(vector)
            weakref.finalize(vector, cls.close).atexit = False
        return cls._open

    def show(self, panes: list[Pane], seconds: float) -> None:
        """Show a page, no sooner than `seconds` after the last one."""
        pygame.event.pump()
        paint_page(pygame.display.get_surface(), panes)
        time.sleep(max(0.0, self._shown_at + seconds - time.monotonic()))
        pygame.display.flip()
        self._shown_at = time.monotonic()

    @classmethod
    def close(cls) -> None:
        """Close the window, if one is open."""
        if cls._open is not None:
            cls._open = None
            pygame.display.quit()
