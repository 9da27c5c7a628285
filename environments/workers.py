"""Threads for compiled blocks of work: kernels release the GIL, so plain threads share a batch without OpenMP.

OpenMP's barriers spin, and a parallel region slows down a hundredfold when the second core is busy; a thread that
waits on a lock does not. The caller works on the first block itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Any

PARALLEL_COPIES = 1024
"""Batches below this size stay on the calling thread: waking another costs more than it gives."""


Task = tuple[Callable[..., None], tuple[Any, ...]]


class Workers:
    """`count` threads, the calling one included. One caller at a time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._tasks: list[SimpleQueue[Task]] = [SimpleQueue() for _ in range(count - 1)]
        self._results: SimpleQueue[BaseException | None] = SimpleQueue()
        for tasks in self._tasks:
            Thread(target=_serve, args=(tasks, self._results), name="environment", daemon=True).start()

    def run(self, block: Callable[..., None], arguments: tuple[Any, ...], rows: int) -> None:
        """Call `block(*arguments, first, stop)` over equal shares of `rows`; returns when all are done."""
        edges = [rows * i // self.count for i in range(self.count + 1)]
        for i, tasks in enumerate(self._tasks, start=1):
            tasks.put((block, (*arguments, edges[i], edges[i + 1])))
        block(*arguments, 0, edges[1])
        for error in [self._results.get() for _ in self._tasks]:
            if error is not None:
                raise error


def _serve(tasks: SimpleQueue[Task], results: SimpleQueue[BaseException | None]) -> None:
    while True:
        block, arguments = tasks.get()
        try:
            block(*arguments)
            results.put(None)
        except BaseException as error:  # handed to the caller, who raises it
            results.put(error)


@cache
def _shared(count: int) -> Workers:
    return Workers(count)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get(num_threads: int | None, rows: int) -> Workers:
    """Workers for batches of `rows` copies: `num_threads` at most (default: all cores), one for a small batch."""
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return _shared(min(num_threads or available_cores(), available_cores()) if rows >= PARALLEL_COPIES else 1)
