"""One picture of a running environment: what the PettingZoo faces' `render_mode` shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from environments.vector import VectorEnv
from viz.drawings import draw
from viz.moment import live_moment
from viz.page import FOOTER, HEADER, board_page

SIZE = 600
"""Pixels of the board's side."""


def render(vector: VectorEnv, copy: int = 0, mode: str = "rgb_array") -> NDArray[np.uint8] | None:
    """A copy's picture: `[H, W, 3]` uint8 for `rgb_array`; `human` shows it in a window and returns None.

    ValueError on another mode, UsageError where `human` finds no display.
    """
    if mode not in ("rgb_array", "human"):
        raise ValueError(f"mode must be 'rgb_array' or 'human', not {mode!r}")
    moment = live_moment(vector, copy)
    width, height = SIZE, SIZE + HEADER + FOOTER
    panes = board_page(moment, draw(moment), width, height)
    if mode == "human":
        from viz.screen.window import LiveWindow

        LiveWindow.of(vector, width, height).show(panes, moment.spec.step_seconds)
        return None
    from viz.screen.raster import picture

    return picture(panes, width, height)


def close() -> None:
    """Close the window that mode `human` opened, if one is open."""
    from viz.screen.window import LiveWindow

    LiveWindow.close()
