"""A line between two processes: letters, and behind some of them bytes. Nothing is pickled.

What is said at every step is a letter and nothing else: one system call to say it, and one to hear it.
"""

from __future__ import annotations

import select
import socket

INTO = (b"0", b"1")
"""Step, and write into this half of the shared block."""
DONE, QUIT = b"d", b"q"
ALONE = frozenset((*INTO, DONE, QUIT))
"""Letters behind which nothing follows; behind all others comes the number of bytes that do, in `LENGTH` bytes."""
LENGTH = 8
PIECE = 2**20
"""Bytes that are asked for at once."""


class Line:
    """One end of a line. Its errors are OSError, and EOFError where the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)  # whatever socket.setdefaulttimeout somebody's module has set
        self._end = end
        self._ear = select.poll()
        self._ear.register(end, select.POLLIN)

    def say(self, letter: bytes, more: bytes = b"") -> None:
        """Say a letter, and what follows it."""
        self._end.sendall(letter if letter in ALONE else letter + len(more).to_bytes(LENGTH, "little") + more)

    def speaks(self, seconds: float) -> bool:
        """Wait so long at most: True where something can be heard, or the other end is gone."""
        return bool(self._ear.poll(max(0.0, seconds) * 1000))

    def hear(self) -> tuple[bytes, bytes]:
        """The next letter and what follows it; waits for them."""
        letter = self._end.recv(1)
        if letter in ALONE:
            return letter, b""
        if not letter:
            raise EOFError
        return letter, self._exactly(int.from_bytes(self._exactly(LENGTH), "little"))

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._end.recv(min(size - len(data), PIECE))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)
