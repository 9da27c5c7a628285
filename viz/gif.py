"""A GIF written picture by picture: only the last one is in memory, and only what changed is written of each."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

TICK = 10
"""Milliseconds: a GIF counts hundredths of a second."""
LONGEST = 65_535 * TICK
LEAVE = 1
"""Disposal: what a picture does not cover stays."""


class GifWriter:
    """Writes an endless GIF to an open file. All pictures have the size and the palette of the first."""

    def __init__(self, file: BinaryIO, palette: Image.Image) -> None:
        """`palette`: an image of at most 256 colours, which all pictures get, so that nothing flickers."""
        self._file = file
        self._palette = palette
        self._colors: NDArray[np.uint8] | None = None
        self._waiting: tuple[Image.Image, tuple[int, int]] | None = None
        """What is written once it is known how long it stays, and where it belongs."""
        self._milliseconds = 0

    def add(self, pixels: NDArray[np.uint8], milliseconds: int) -> None:
        """The next picture `[H, W, 3]`, shown for a multiple of 10 ms; nothing is written where it is the last one."""
        image = Image.fromarray(pixels).quantize(palette=self._palette, dither=Image.Dither.NONE)
        colors = np.asarray(image)
        if self._colors is None:
            self._file.write(b"".join(GifImagePlugin.getheader(image, info={"loop": 0})[0]))
            box: tuple[int, int, int, int] | None = (0, 0, *image.size)
        else:
            box = _changed(self._colors, colors)
        self._colors = colors
        if box is None:
            self._milliseconds = min(self._milliseconds + milliseconds, LONGEST)
            return
        self._write()
        self._waiting = image.crop(box), box[:2]
        self._milliseconds = milliseconds

    def close(self) -> None:
        """Write what waits, and the end."""
        self._write()
        self._file.write(b";")

    def _write(self) -> None:
        if self._waiting is None:
            return
        image, place = self._waiting
        params = {"duration": self._milliseconds, "disposal": LEAVE}
        self._file.write(b"".join(GifImagePlugin.getdata(image, place, **params)))


def _changed(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of what differs, None where nothing does."""
    different = before != now
    rows, columns = np.flatnonzero(different.any(1)), np.flatnonzero(different.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
