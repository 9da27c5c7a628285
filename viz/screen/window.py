"""Windows: the replay viewer, and the one that `render_mode="human"` shows. Only SDL's video and fonts are started."""

from __future__ import annotations

import time
import weakref
from typing import Any, ClassVar

from environments.vector import VectorEnv
from viz.page import Pane
from viz.screen import open_display, pygame_module
from viz.screen.raster import paint_page
from viz.viewer import SMALLEST, Viewer

pygame = pygame_module()
FRAMES_PER_SECOND = 60


def watch(viewer: Viewer, title: str) -> None:
    """Show a viewer until it is closed. UsageError where there is no display."""
    open_display(pygame)
    try:
        surface = pygame.display.set_mode(_fitting(viewer.size), pygame.RESIZABLE)
        viewer.resize(*surface.get_size())
        pygame.display.set_caption(title)
        clock = pygame.time.Clock()
        stale = True
        while not viewer.playback.quit:
            for event in pygame.event.get():
                stale |= handle(viewer, event)
            stale |= viewer.playback.advance(clock.tick(FRAMES_PER_SECOND) / 1000)
            if stale:
                paint_page(pygame.display.get_surface(), viewer.page())
                pygame.display.flip()
                stale = False
    finally:
        pygame.display.quit()


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The wanted size, or what the desktop has room for."""
    desktop = pygame.display.get_desktop_sizes()[0]
    return tuple(
        max(least, min(wanted, room - 60)) for wanted, room, least in zip(size, desktop, SMALLEST, strict=True)
    )


def handle(viewer: Viewer, event: Any) -> bool:
    """Hand one of pygame's events to the viewer; True where the picture may have changed."""
    if event.type == pygame.QUIT:
        viewer.playback.command("quit")
    elif event.type == pygame.KEYDOWN:
        shift = "shift " if event.mod & pygame.KMOD_SHIFT else ""
        typed = event.unicode if event.unicode in ("?", "+", "-", "=") and event.unicode else ""
        return viewer.press(typed or shift + pygame.key.name(event.key))
    elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
        return viewer.mouse_down(*event.pos)
    elif event.type == pygame.MOUSEMOTION:
        return viewer.mouse_move(*event.pos)
    elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
        viewer.mouse_up()
    elif event.type == pygame.MOUSEWHEEL:
        return viewer.wheel(event.y)
    elif event.type == pygame.VIDEORESIZE:
        viewer.resize(event.w, event.h)
        return True
    return event.type in (pygame.WINDOWEXPOSED, pygame.QUIT)


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
