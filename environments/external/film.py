"""Pictures of the first copies of a batch of somebody else's environment, taken while it is played.

A picture belongs to every view, that of an ended episode's last moment included: it is taken before the copy begins
another one. Nobody has to fetch them; where nobody does, no more are taken.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from environments.errors import UsageError
from environments.external import ending
from environments.external.layout import Factory, last_line, prepared
from environments.spec import is_image
from environments.vector import Array

RENDER_MODE = "rgb_array"
WAITING = 2
"""Pictures of a copy that wait to be fetched, at most: an ended episode's last, and the next one's first."""


MUJOCO_LIBRARY = "MUJOCO_GL"
"""How MuJoCo is told what to draw with; by default with a window's library, which needs a display."""


@contextlib.contextmanager
def without_display() -> Iterator[None]:
    """Has MuJoCo draw into memory (EGL) where there is no display and nobody chose otherwise; afterwards all is as it
    was: with that setting MuJoCo cannot even be imported where EGL does not work."""
    shown = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", MUJOCO_LIBRARY))
    if shown or not sys.platform.startswith("linux"):
        yield
        return
    os.environ[MUJOCO_LIBRARY] = "egl"
    try:
        yield
    finally:
        os.environ.pop(MUJOCO_LIBRARY, None)


def seeing(plain: Factory, drawing: Factory) -> Factory:
    """Makes environments whose agents see what is there: those that show images have a render mode, if they take one.

    PettingZoo's cooperative_pong and pistonball draw for nobody, and so for no agent, where they have none.
    """
    drawn: list[bool] = []
    """Whether the environment is made by `drawing`, once that is known."""

    def make() -> Any:
        if drawn:
            return (drawing if drawn[0] else plain)()
        env = plain()
        drawn.append(_draws_what_it_shows(env))
        if not drawn[0]:
            return env
        ending.close([env])  # before another is made: pygame is one for all
        try:
            return drawing()
        except UsageError:
            drawn[0] = False
            return plain()

    return make


def _draws_what_it_shows(env: Any) -> bool:
    """True where some agent sees an image, and the environment could draw and was not asked to."""
    try:
        modes = (getattr(env, "metadata", None) or {}).get("render_modes", ())
        able = RENDER_MODE in modes and getattr(env, "render_mode", None) is None
        return able and any(_holds_image(env.observation_space(agent)) for agent in env.possible_agents)
    except Exception:  # whoever looks at it next says in words what is wrong with it
        return False


def _holds_image(space: Any) -> bool:
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return any(is_image(part) for part in parts)


class Drawn(NamedTuple):
    """What a copy has drawn since somebody asked last."""

    pictures: list[Array]
    """`[H, W, 3]` uint8, the oldest first."""
    missing: str
    """Why there are none, or no more; empty where all is well."""
    seconds: float
    """Time that all copies took to draw."""


class Film:
    """Makes environments that draw themselves, and keeps what they drew until it is fetched."""

    def __init__(self, copies: int = 0, factory: Factory | None = None) -> None:
        """`factory` makes one environment with `render_mode="rgb_array"`, for the first `copies` of a batch."""
        self.missing = "" if copies else "none were asked for"
        """Why there are no pictures, or no more; empty where all is well."""
        self._copies = copies
        self._factory = factory
        self._seconds = 0.0
        self._waiting: dict[int, list[Array]] = {copy: [] for copy in range(copies)}

    def made(self, copy: int, plain: Factory, name: str) -> Any:
        """A prepared environment for a copy: one that draws, if it is to be watched and if that works."""
        if copy < self._copies and self._factory is not None and not self.missing:
            try:
                env = prepared(self._factory(), name)
                modes = (getattr(env, "metadata", None) or {}).get("render_modes", ())
                if RENDER_MODE in modes:
                    return env
                self.missing = f"{name} has no render mode {RENDER_MODE}"
                ending.close([env])
            except Exception as error:
                self.missing = str(error) if isinstance(error, UsageError) else last_line(error)
                if "unexpected keyword argument 'render_mode'" in self.missing:
                    self.missing = f"{name} takes no render_mode"
        return prepared(plain(), name)

    def begin(self, copy: int) -> None:
        """An episode begins by request: what was drawn before is of no use."""
        if copy in self._waiting:
            self._waiting[copy].clear()

    def take(self, copy: int, env: Any) -> None:
        """Have a copy's environment draw itself, if somebody watches it. Errors end the film, not the episode."""
        if self.missing or len(self._waiting.get(copy, [None] * WAITING)) >= WAITING:
            return
        began = time.perf_counter()
        try:
            with without_display():
                self._waiting[copy].append(as_picture(env.render()))
        except Exception as error:
            self.missing = f"it cannot be drawn: {last_line(error)}"
        self._seconds += time.perf_counter() - began

    def fetch(self, copy: int) -> Drawn:
        """What a copy has drawn since the last call."""
        found = self._waiting.get(copy, [])
        if found:
            self._waiting[copy] = []
        seconds, self._seconds = self._seconds, 0.0
        return Drawn(found, self.missing, seconds)


def as_picture(drawn: Any) -> Array:
    """What an environment drew as `[H, W, 3]` uint8, copied. ValueError where it is no picture."""
    pixels: Array = np.array(drawn)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"render() gave {type(drawn).__name__} {pixels.dtype}{pixels.shape}, no picture")
    return np.ascontiguousarray(pixels[:, :, :3])
