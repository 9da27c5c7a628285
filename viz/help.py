"""What lies over the viewer for a while: the list of keys, and the step that is typed."""

from __future__ import annotations

from collections.abc import Sequence

from viz.keys import HELP
from viz.page import Pane, pixels
from viz.scene import GOLD, INK, PANEL, SOFT_INK, Box, Shape, Text

ROW = 26
COLUMN = 400


def help_pane(width: int, height: int, extras: Sequence[tuple[str, str]] = ()) -> Pane:
    """All keys, in two columns where there is room for them."""
    lines = [*HELP, *extras]
    columns = 2 if width >= 2 * COLUMN else 1
    rows = -(-len(lines) // columns)
    step = min(ROW, (height - 70) / rows)
    w, h = min(COLUMN * columns, width), int(62 + step * rows)
    shapes: list[Shape] = [
        Box((1, 1), (w - 1, h - 1), PANEL, GOLD, 2, 0),
        Text((26, 30), "Keys", 17, INK, "left", True),
    ]
    for i, (key, meaning) in enumerate(lines):
        x, y = 26 + COLUMN * (i // rows), 62 + step * (i % rows)
        shapes.append(Text((x, y), key, 13, INK, "left", True, 104))
        shapes.append(Text((x + 110, y), meaning, 13, SOFT_INK, "left", False, COLUMN - 140))
    return Pane((width - w) // 2, max(0, (height - h) // 2), w, h, pixels(w, h, shapes))


def prompt_pane(typed: str, last: int, width: int, bottom: int) -> Pane:
    """The step to go to, as far as it is typed."""
    w, h = 300, 46
    shapes: list[Shape] = [
        Box((1, 1), (w - 1, h - 1), PANEL, GOLD, 2, 0),
        Text((18, h / 2), f"go to step {typed}▏", 15, INK, "left", True),
        Text((w - 16, h / 2), f"0 to {last} ⏎", 12, SOFT_INK, "right"),
    ]
    return Pane((width - w) // 2, bottom - h - 12, w, h, pixels(w, h, shapes))
