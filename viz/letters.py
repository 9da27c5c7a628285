"""How wide a text is, for whoever lays out a page: measured in the font that paints it, without a screen."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

MEASURED = 100
"""Height of the letters that are measured; others are as wide in proportion, to a pixel or two."""
USUAL = 0.62
"""Width of a letter by its height, where the font is not there to be measured."""


@cache
def font_path(bold: bool) -> str | None:
    """DejaVu Sans, which matplotlib brings along (found, not imported); None where it is not there."""
    found = find_spec("matplotlib")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return str(path)
    return None


@lru_cache(maxsize=1024)
def width_of(text: str, height: float, bold: bool = False) -> float:
    """Width of a line of letters of that height, in its unit."""
    font = _font(bold)
    return height * (USUAL * len(text) if font is None else font.getlength(text) / MEASURED)


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont | None:
    path = font_path(bold)
    return None if path is None else ImageFont.truetype(path, MEASURED, layout_engine=ImageFont.Layout.BASIC)
