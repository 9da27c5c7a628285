"""Threads for torch work in large blocks.

Torch's own threads meet at a barrier after every operation, which costs more than it gives for small networks, and a
hundredfold when another process has the second core. So torch runs on one thread and whole blocks (a forward and a
backward pass over some rows) run side by side; torch releases the interpreter lock inside its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Block = TypeVar("Block")
Result = TypeVar("Result")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "learner", initializer=lambda: torch.set_num_threads(1))


def map(threads: int, work: Callable[[Block], Result], blocks: Sequence[Block]) -> Iterable[Result]:
    """Results of `work` on each block, in order, on up to `threads` threads."""
    if threads == 1 or len(blocks) == 1:
        return [work(block) for block in blocks]
    return _pool(threads).map(work, blocks)
