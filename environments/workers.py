"""Threads for compiled blocks of work: kernels release the GIL, so plain threads share a batch without OpenMP.

OpenMP's barriers spin, and a parallel region slows down a hundredfold when the second core is busy; a thread that
waits on a lock does not. Threads take blocks of copies from a common counter, so one that wakes late, or whose core
has other work, takes fewer of them and nobody waits for more than its last block.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

PARALLEL_COPIES = 1024
"""Batches below this size stay on the calling thread: waking another costs more than it gives."""
BLOCKS = 16
"""Blocks of work per thread: small enough to share evenly, large enough to be worth taking."""
PATIENCE = 200
"""Looks at the counter, of 0.1 microseconds each, before the caller goes to sleep until a worker is done."""

Block = Callable[..., None]
Results = SimpleQueue[BaseException | None]
Task = tuple[Block, tuple[Any, ...], Results]


class Workers:
    """`count` threads, the calling one included. Several callers may share them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._tasks: list[SimpleQueue[Task]] = [SimpleQueue() for _ in range(count - 1)]
        for tasks in self._tasks:
            Thread(target=_serve, args=(tasks,), name="environment", daemon=True).start()

    def run(self, block: Block, arguments: tuple[Any, ...], rows: int) -> None:
        """Call `block(*arguments, rows, size, progress)` on every thread; returns when all rows are done.

        `progress` is int64 `[2]`, zero at first: rows taken, which `block` raises by `size` at a time until they
        reach `rows`, and rows done. A worker that comes too late finds nothing to take and does nothing.
        """
        progress = np.zeros(2, np.int64)
        size = max(1, rows // (self.count * BLOCKS)) if self._tasks else rows
        work = (*arguments, rows, size, progress)
        if not self._tasks:
            block(*work)
            return
        results: Results = SimpleQueue()
        for tasks in self._tasks:
            tasks.put((block, work, results))
        block(*work)
        for _ in range(PATIENCE):
            if progress[1] >= rows:
                return
        while progress[1] < rows:
            error = results.get()
            if error is not None:
                raise error


def _serve(tasks: SimpleQueue[Task]) -> None:
    while True:
        block, work, results = tasks.get()
        try:
            block(*work)
            results.put(None)
        except BaseException as error:  # handed to the caller, who raises it
            results.put(error)
        del block, work, results  # while waiting, hold on to nobody's arrays


@cache
def shared(count: int) -> Workers:
    """The process's workers of that number."""
    return Workers(count)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get(num_threads: int | None, rows: int) -> Workers:
    """Workers for batches of `rows` copies: `num_threads` at most (default: all cores), one for a small batch."""
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return shared(min(num_threads or available_cores(), available_cores()) if rows >= PARALLEL_COPIES else 1)
