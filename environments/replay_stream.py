"""Things of one size in a replay file, one at most for each step, that are too large to be all in memory: pictures, and
large views of agents. Kept without loss, each found at once.

A thing is packed whole, or as what differs (exclusive or) from an earlier whole one: a background that stands still
costs next to nothing, and any thing is at most two blocks away.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from environments.replay_blocks import Damaged, Head, pack_block, read_head, read_raw

MAX_DISTANCE = 256
"""Steps from a thing to the whole one that it is made from."""
WORSE = 0.9
"""A difference that takes more than this share of the last whole thing's bytes is not worth it."""

Octets = NDArray[np.uint8]


class Packer:
    """Packs the things of one file, one after the other."""

    def __init__(self, tag: bytes, size: int) -> None:
        """`tag` of their blocks; `size` of each in bytes."""
        self._tag, self._size = tag, size
        self._whole: Octets | None = None
        self._frame = 0
        self._bytes = 0

    def block(self, frame: int, octets: Octets) -> bytes:
        """The block of what belongs to a frame, `[size]` uint8. ValueError on another size or type."""
        if octets.shape != (self._size,) or octets.dtype != np.uint8:
            raise ValueError(f"{octets.dtype}{octets.shape} in a stream of uint8({self._size},)")
        if self._whole is not None and frame - self._frame <= MAX_DISTANCE:
            data = pack_block(self._tag, frame, frame - self._frame, (octets ^ self._whole).tobytes())
            if len(data) <= WORSE * self._bytes:
                return data
        data = pack_block(self._tag, frame, 0, octets.tobytes())
        self._whole, self._frame, self._bytes = octets.copy(), frame, len(data)
        return data


class Index:
    """Where the things of a file are, noted while it is read through: 24 bytes for each."""

    def __init__(self, size: int) -> None:
        """`size` of each in bytes."""
        self.size = size
        self.frames, self.offsets, self.spans = array("Q"), array("Q"), array("Q")

    def place(self, frame: int) -> int | None:
        """The row of a frame; None where it has nothing."""
        row = bisect_left(self.frames, frame)
        return row if row < len(self.frames) and self.frames[row] == frame else None

    def note(self, head: Head, at: int) -> bool:
        """Note a block; False where it cannot be one of these."""
        late = not self.frames or head.first > self.frames[-1]
        if not late or head.span > MAX_DISTANCE or head.raw != self.size:
            return False
        whole = self.place(head.first - head.span) if head.first >= head.span > 0 else None
        if head.span and (whole is None or self.spans[whole]):
            return False
        for column, number in ((self.frames, head.first), (self.offsets, at), (self.spans, head.span)):
            column.append(number)
        return True

    def found(self, file: BinaryIO, steps: int) -> Stream | None:
        """What belongs to frames 0 to `steps`; None where there is nothing."""
        while self.frames and self.frames[-1] > steps:
            self.frames.pop()
        return Stream(file, self) if self.frames else None


class Stream:
    """The things of a file, read when they are asked for. Keeps the file open, and two of them in memory."""

    def __init__(self, file: BinaryIO, index: Index) -> None:
        self.file = file
        self.size = index.size
        """Bytes of each."""
        self._index = index
        self._whole: tuple[int, Octets] | None = None
        self._shown: tuple[int, Octets] | None = None

    def __len__(self) -> int:
        return len(self._index.frames)

    @property
    def last(self) -> int:
        """The last frame that has something."""
        return self._index.frames[-1]

    def at(self, frame: int) -> Octets | None:
        """What belongs to a frame, `[size]` uint8, not to be written to.

        None where there is nothing, or where it is damaged.
        """
        if self._shown is not None and self._shown[0] == frame:
            return self._shown[1]
        row = self._index.place(frame) if frame >= 0 else None
        if row is None:
            return None
        try:
            self._shown = frame, self._read(row)
        except (Damaged, OSError):
            return None
        return self._shown[1]

    def _read(self, row: int) -> Octets:
        at, span = self._index.offsets[row], self._index.spans[row]
        if span == 0 and self._whole is not None and self._whole[0] == row:
            return self._whole[1]
        head = read_head(self.file, at, self.file.seek(0, os.SEEK_END))
        octets: Octets = np.frombuffer(read_raw(self.file, at, head, self.size), np.uint8)
        if len(octets) != self.size or head.span != span:
            raise Damaged("the file has changed")
        if span == 0:
            self._whole = row, octets
            return octets
        key = self._index.place(self._index.frames[row] - span)
        assert key is not None
        made: Octets = octets ^ self._read(key)
        return made
