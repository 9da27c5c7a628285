"""Pictures in a replay file: what an environment drew. See `environments.replay_stream`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from environments.replay_stream import Stream

TAG = b"PICT"
MAX_SIDE = 4096
MAX_PIXELS = 2**22
"""Of one picture that is read."""
KEPT_PIXELS = 1280 * 960
"""Of one picture that is recorded."""

Pixels = NDArray[np.uint8]


def check_size(size: object) -> tuple[int, int]:
    """Height and width of pictures. ValueError where they are impossible."""
    if not isinstance(size, tuple) or len(size) != 2 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in size):
        raise ValueError(f"pictures of size {str(size)[:80]}")
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f"pictures of {height * width} pixels, at most {MAX_PIXELS} are allowed")
    return height, width


def picture_bytes(size: object) -> int:
    """Bytes of a picture of that height and width. ValueError where they are impossible."""
    height, width = check_size(size)
    return height * width * 3


def octets_of(size: tuple[int, int], pixels: Pixels) -> Pixels:
    """A picture as one row. ValueError on another size or type."""
    if pixels.shape != (*size, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"a picture is {pixels.dtype}{pixels.shape}, wanted uint8{(*size, 3)}")
    return pixels.reshape(-1)


class Pictures:
    """The pictures of a file, read when they are asked for."""

    def __init__(self, stream: Stream, size: tuple[int, int]) -> None:
        self.stream = stream
        self.size = size
        """Height and width."""

    def __len__(self) -> int:
        return len(self.stream)

    @property
    def last(self) -> int:
        """The last frame that has a picture."""
        return self.stream.last

    def at(self, frame: int) -> Pixels | None:
        """What was to be seen after `frame` steps, `[H, W, 3]` uint8, not to be written to.

        None where there is no picture, or where it is damaged.
        """
        found = self.stream.at(frame)
        return None if found is None else found.reshape(*self.size, 3)


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
