"""Memory that torch's arrays have left is kept for the next ones.

The C library gives a large array's memory back to the system when it is freed, and gets it page by page again for the
next: a thousand times in an update of small networks, which takes a tenth of its time and more.
"""

from __future__ import annotations

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of settings, by mallopt(3)."""
KEPT = 2**29
"""Bytes that are kept, at most."""
LARGE = 2**25
"""Bytes of an array that is given back all the same; the largest number that the C library takes."""


def keep_freed() -> None:
    """Keep what is freed from now on, in this process; nothing where the C library knows of no such thing."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGE)
        library.mallopt(TRIM_THRESHOLD, KEPT)
