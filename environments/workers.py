"""Threads for compiled blocks of work: kernels release the GIL, so plain threads share a batch without OpenMP.

OpenMP's barriers spin, and a parallel region slows down a hundredfold when the second core is busy; a thread that
waits on a lock does not. Every thread has its share of the rows, the same one each time, so that they stay in its
core's cache; it takes them block by block, and then those that are left of the others' shares. A thread that wakes
late, or whose core has other work, does less, and nobody waits for more than its last block.

A block of work is `block(*arguments, rows, size, progress, who)`, a kernel that calls `take` until nothing is left and
`report`s what it did. `progress` is int64 `[1 + threads]`: rows done, then rows taken of each share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from environments.intrinsics import fetch_add

PARALLEL_COPIES = 1024
"""Batches below this size stay on the calling thread: waking another costs more than it gives."""
BLOCKS = 16
"""Blocks of work per thread: small enough to share evenly, large enough to be worth taking."""
PATIENCE = 200
"""Looks at the counter, of 0.1 microseconds each, before the caller goes to sleep until a worker is done."""

Block = Callable[..., None]
Results = SimpleQueue[BaseException | None]
Task = tuple[Block, tuple[Any, ...], Results]


@kernel
def take(progress: NDArray[np.int64], rows: int, size: int, who: int) -> tuple[int, int]:
    """The next rows for thread `who`, at most `size`: (first, stop); first is `rows` where none are left."""
    shares = progress.shape[0] - 1
    for k in range(shares):
        share = (who + k) % shares
        first = rows * share // shares + fetch_add(progress, 1 + share, size)
        stop = rows * (share + 1) // shares
        if first < stop:
            return first, min(first + size, stop)
    return rows, rows


@kernel
def report(progress: NDArray[np.int64], first: int, stop: int) -> None:
    """These rows are done."""
    fetch_add(progress, 0, stop - first)


class Workers:
    """`count` threads, the calling one included. Several callers may share them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._tasks: list[SimpleQueue[Task]] = [SimpleQueue() for _ in range(count - 1)]
        for tasks in self._tasks:
            Thread(target=_serve, args=(tasks,), name="environment", daemon=True).start()

    def run(self, block: Block, arguments: tuple[Any, ...], rows: int) -> None:
        """Let every thread carry out the block; returns when all rows are done.

        A worker that comes too late finds nothing to take and does nothing.
        """
        if not self._tasks:
            alone(block, arguments, rows)
            return
        rows, size, progress, who = share(rows, max(1, rows // (self.count * BLOCKS)), self.count)
        work = (*arguments, rows, size, progress)
        results: Results = SimpleQueue()
        for other, tasks in enumerate(self._tasks):
            tasks.put((block, (*work, other + 1), results))
        block(*work, who)
        for _ in range(PATIENCE):
            if progress[0] >= rows:
                return
        while progress[0] < rows:
            error = results.get()
            if error is not None:
                raise error


def share(rows: int, size: int, count: int) -> tuple[int, int, NDArray[np.int64], int]:
    """What the calling thread gives a block of work besides its arguments: (rows, size, progress, who)."""
    return rows, size, np.zeros(1 + count, np.int64), 0


def alone(block: Block, arguments: tuple[Any, ...], rows: int) -> None:
    """Carry out all rows of the block in one go on the calling thread."""
    block(*arguments, *share(rows, rows, 1))


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
