"""The engine as learners and policies see it: tensors in, tensors out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from environments import workers
from marl.engine import blas, passes
from marl.engine.layout import AgentOfFlatNetwork, FlatNetwork
from marl.engine.mlp import Network

PART = 128
"""Samples of a gradient block, and of a piece of a forward pass, where there are several threads to share them."""
BLOCKS = 32
"""Gradient blocks of a minibatch at most: their sums are kept apart until all are done."""
TOTALS = 4
"""Sums that a loss reports."""
NAP = 2e-5
"""Seconds between looks at whether another thread is done with its last block."""


class Passes:
    """Forward and backward passes of one network on some threads."""

    def __init__(self, network: FlatNetwork | AgentOfFlatNetwork, one_for_all: bool, threads: int) -> None:
        blas.one_thread()
        self.network = network
        self.threads = threads
        self.shape = network.shape._replace(one_for_all=int(one_for_all and network.shape.agents > 1))
        self._work = network.work(threads)
        self._gradients = np.zeros((0, 0), np.float32)
        self._whole = torch.zeros(0)
        self._parts: list[Tensor] = []

    def evaluate(self, task: Any, inputs: Tensor, index: NDArray[np.int64]) -> None:
        """Let `task` have the outputs for samples `index` of `inputs [B, n or 1, D]`."""
        self.evaluate_each([self], np.array([len(index)]), task, inputs, index)

    def evaluate_each(
        self, members: Sequence[Passes], ends: NDArray[np.int64], task: Any, inputs: Tensor, index: NDArray[np.int64]
    ) -> None:
        """The same by networks of this one's shape: samples `index[ends[p - 1] : ends[p]]` by that of `members[p]`."""
        held = [member.network.bind() for member in members]  # alive until the kernel returns
        networks = np.array([member.network.address for member in members], np.int64)
        arguments = (task, self.shape, networks, held[0].size, ends, _array(inputs), index, self._work)
        self._run(passes.evaluate, arguments, len(index), PART)

    def place(self) -> tuple[Network, NDArray[np.int64], int, NDArray[np.float32]]:
        """Shape, address and number of the parameters, and the threads' memory: for compiled code that calls
        `passes.evaluate` itself, while the network lives and its parameters stay where they are."""
        count = self.network.bind().size
        return self.shape, np.array([self.network.address], np.int64), count, self._work

    def _run(self, block: Callable[..., None], arguments: tuple[Any, ...], rows: int, smallest: int) -> None:
        count = min(self.threads, max(1, rows // smallest))
        workers.shared(count).run(block, arguments, rows)

    def arguments(self, job: Job, index: NDArray[np.int64], totals: NDArray[np.float64]) -> tuple[Any, ...]:
        """What `passes.differentiate` is given for a job, `totals [blocks, TOTALS]` being of its sums."""
        parameters = self.network.bind()
        if self._gradients.shape != (len(totals), len(parameters)):
            self._gradients = np.zeros((len(totals), len(parameters)), np.float32)
            self._whole = torch.zeros(len(parameters))
            self._parts = self.network.split(self._whole)
        return job.task, self.shape, parameters, self._gradients, totals, _array(job.inputs), index, self._work

    def add_up(self) -> Tensor:
        """Give every parameter its gradient; all of them are views of the flat tensor returned, until the next call."""
        self._gradients.sum(0, out=self._whole.numpy())
        for parameter, gradient in zip(self.network.parameters, self._parts, strict=True):
            parameter.grad = gradient
        return self._whole


class Job(NamedTuple):
    """What a network's gradient is to be of."""

    passes: Passes
    task: Any
    inputs: Tensor


def differentiate(jobs: Sequence[Job], index: NDArray[np.int64]) -> list[tuple[Tensor, NDArray[np.float64]]]:
    """Give the parameters of some networks their gradients over samples `index`; returns, for each network, all of them
    in one flat tensor, of which they are views until the next call, and the sums that its task reports.

    Threads go from one network to the next without waiting for each other.
    """
    blocks = max(1, min(BLOCKS, len(index) // PART))
    count = min(jobs[0].passes.threads, blocks)
    totals = np.zeros((len(jobs), blocks, TOTALS))
    work = [job.passes.arguments(job, index, sums) for job, sums in zip(jobs, totals, strict=True)]
    shares = [workers.share(blocks, 1, count)[:3] for _ in jobs[:-1]]
    early = [(*arguments, *share) for arguments, share in zip(work, shares, strict=False)]
    workers.shared(count).run(_one_by_one, (early, work[-1]), blocks)
    for _, _, progress in shares:
        while progress[0] < blocks:  # a thread was put to sleep in its block
            time.sleep(NAP)
    return [(job.passes.add_up(), sums.sum(0)) for job, sums in zip(jobs, totals, strict=True)]


def _one_by_one(early: Sequence[tuple[Any, ...]], last: tuple[Any, ...], *share: Any) -> None:
    for arguments in early:
        passes.differentiate(*arguments, share[-1])
    passes.differentiate(*last, *share)


@lru_cache(16)
def every(samples: int) -> NDArray[np.int64]:
    """Index of all samples of a batch."""
    return np.arange(samples)


def _array(x: Tensor) -> NDArray[np.float32]:
    """A tensor as a dense float32 array, without a copy where it is one."""
    array: NDArray[np.float32] = x.to(torch.float32).contiguous().numpy()
    return array
