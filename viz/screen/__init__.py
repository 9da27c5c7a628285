"""The only place that opens pygame: painting scenes, and windows."""

from __future__ import annotations

import os
import sys
from typing import Any

from environments.errors import UsageError

NO_DISPLAY = (
    "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); "
    "export instead, for instance with --gif FILE, --mp4 FILE or --png FRAME"
)


def pygame_module() -> Any:
    """The pygame library, checked. UsageError with the cure where it is missing or gutted."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError as error:
        raise UsageError("pictures need pygame: pip install pygame-ce") from error
    if not hasattr(pygame, "init"):
        # pygame and pygame-ce install the same module; removing either leaves an empty shell of it.
        raise UsageError(
            "the pygame module is an empty shell (pygame and pygame-ce overwrite one another): "
            "pip uninstall -y pygame pygame-ce && pip install pygame-ce"
        )
    return pygame


def has_display() -> bool:
    """True where a window could open, or a driver was chosen on purpose."""
    return not sys.platform.startswith("linux") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    )


def open_display(pygame: Any) -> None:
    """Start SDL's video. UsageError where there is no screen: SDL would silently draw into memory."""
    if not has_display():
        raise UsageError(NO_DISPLAY)
    try:
        pygame.display.init()
    except pygame.error as error:
        raise UsageError(
            f"the display cannot be opened ({error}); export instead, for instance with --gif FILE"
        ) from error
    if pygame.display.get_driver() in ("offscreen", "dummy") and not os.environ.get("SDL_VIDEODRIVER"):
        pygame.display.quit()
        raise UsageError(NO_DISPLAY)
