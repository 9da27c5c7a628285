"""Pictures in a replay file: what an environment drew, kept without loss, each found at once.

A picture is packed whole, or as what differs (exclusive or) from an earlier whole one: a background that stands still
costs next to nothing, and any picture is at most two blocks away.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from environments.replay_blocks import Damaged, Head, pack_block, read_raw

MAX_SIDE = 4096
MAX_PIXELS = 2**22
"""Of one picture that is read."""
KEPT_PIXELS = 1280 * 960
"""Of one picture that is recorded."""
MAX_DISTANCE = 256
"""Steps from a picture to the whole one that it is made from."""
WORSE = 0.9
"""A difference that takes more than this share of the last whole picture's bytes is not worth it."""

Pixels = NDArray[np.uint8]


def check_size(size: object) -> tuple[int, int]:
    """Height and width of pictures. ValueError where they are impossible."""
    if not isinstance(size, tuple) or len(size) != 2 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in size):
        raise ValueError(f"pictures of size {str(size)[:80]}")
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f"pictures of {height * width} pixels, at most {MAX_PIXELS} are allowed")
    return height, width


class PicturePacker:
    """Packs the pictures of one file, one after the other."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._shape = (*check_size(size), 3)
        self._whole: Pixels | None = None
        self._frame = 0
        self._bytes = 0

    def block(self, frame: int, pixels: Pixels) -> bytes:
        """The block of the picture after `frame` steps. ValueError on another size or type."""
        if pixels.shape != self._shape or pixels.dtype != np.uint8:
            raise ValueError(f"a picture is {pixels.dtype}{pixels.shape}, wanted uint8{self._shape}")
        if self._whole is not None and frame - self._frame <= MAX_DISTANCE:
            data = pack_block(b"PICT", frame, frame - self._frame, (pixels ^ self._whole).tobytes())
            if len(data) <= WORSE * self._bytes:
                return data
        data = pack_block(b"PICT", frame, 0, pixels.tobytes())
        self._whole, self._frame, self._bytes = pixels.copy(), frame, len(data)
        return data


class PictureIndex:
    """Where the pictures of a file are, noted while it is read through."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._places: dict[int, tuple[int, Head]] = {}
        self._last = -1

    def note(self, head: Head, at: int) -> bool:
        """Note a picture's block; False where it cannot be one."""
        key = head.first - head.span
        if head.first <= self._last or head.span > MAX_DISTANCE or head.raw != self._size[0] * self._size[1] * 3:
            return False
        if head.span and (key not in self._places or self._places[key][1].span):
            return False
        self._places[head.first] = at, head
        self._last = head.first
        return True

    def found(self, file: BinaryIO, steps: int) -> Pictures | None:
        """The pictures of the first `steps` steps; None where there is none."""
        places = {frame: place for frame, place in self._places.items() if frame <= steps}
        return Pictures(file, self._size, places) if places else None


class Pictures:
    """The pictures of a file, read when they are asked for. Keeps the file open, and one whole picture in memory."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], places: dict[int, tuple[int, Head]]) -> None:
        self.size = size
        """Height and width."""
        self._file = file
        self._places = places
        self._whole: tuple[int, Pixels] | None = None
        self._shown: tuple[int, Pixels] | None = None

    def __len__(self) -> int:
        return len(self._places)

    @property
    def last(self) -> int:
        """The last frame that has a picture."""
        return max(self._places)

    def at(self, frame: int) -> Pixels | None:
        """What was to be seen after `frame` steps, `[H, W, 3]` uint8, not to be written to.

        None where there is no picture, or where it is damaged.
        """
        if self._shown is not None and self._shown[0] == frame:
            return self._shown[1]
        if frame not in self._places:
            return None
        try:
            self._shown = frame, self._read(frame)
        except (Damaged, OSError):
            return None
        return self._shown[1]

    def _read(self, frame: int) -> Pixels:
        at, head = self._places[frame]
        if head.span == 0 and self._whole is not None and self._whole[0] == frame:
            return self._whole[1]
        raw = read_raw(self._file, at, head, head.raw)
        pixels: Pixels = np.frombuffer(raw, np.uint8).reshape(*self.size, 3)
        if head.span == 0:
            self._whole = frame, pixels
            return pixels
        made: Pixels = pixels ^ self._read(frame - head.span)
        return made


def fitted(picture: Pixels) -> Pixels:
    """A picture of at most `KEPT_PIXELS`: a larger one is made smaller by a whole number, squares becoming points."""
    height, width = picture.shape[:2]
    times = 1
    while (height // times) * (width // times) > KEPT_PIXELS:
        times += 1
    if times == 1:
        return picture
    height, width = height // times, width // times
    squares = picture[: height * times, : width * times].reshape(height, times, width, times, 3)
    smaller: Pixels = squares.mean((1, 3)).round().astype(np.uint8)
    return smaller
