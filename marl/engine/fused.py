"""The engine as learners and policies see it: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from environments import workers
from marl.engine import blas, passes
from marl.engine.layout import AgentOfFlatNetwork, FlatNetwork

PART = 128
"""Samples of a gradient block, and of a piece of a forward pass, where there are several threads to share them."""
BLOCKS = 32
"""Gradient blocks of a minibatch at most: their sums are kept apart until all are done."""
TOTALS = 4
"""Sums that a loss reports."""


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

    def differentiate(self, task: Any, inputs: Tensor, index: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.float64]]:
        """Give every parameter its gradient over samples `index`; returns all of them in one flat tensor, of which
        they are views until the next call, and the sums that `task` reports."""
        parameters = self.network.bind()
        blocks = max(1, min(BLOCKS, len(index) // PART))
        if self._gradients.shape != (blocks, len(parameters)):
            self._gradients = np.zeros((blocks, len(parameters)), np.float32)
            self._whole = torch.zeros(len(parameters))
            self._parts = self.network.split(self._whole)
        totals = np.zeros((blocks, TOTALS))
        arguments = (task, self.shape, parameters, self._gradients, totals, _array(inputs), index, self._work)
        self._run(passes.differentiate, arguments, blocks, 1)
        self._gradients.sum(0, out=self._whole.numpy())
        for parameter, gradient in zip(self.network.parameters, self._parts, strict=True):
            parameter.grad = gradient
        return self._whole, totals.sum(0)

    def _run(self, block: Callable[..., None], arguments: tuple[Any, ...], rows: int, smallest: int) -> None:
        count = min(self.threads, max(1, rows // smallest))
        workers.shared(count).run(block, arguments, rows)


@lru_cache(16)
def every(samples: int) -> NDArray[np.int64]:
    """Index of all samples of a batch."""
    return np.arange(samples)


def _array(x: Tensor) -> NDArray[np.float32]:
    """A tensor as a dense float32 array, without a copy where it is one."""
    array: NDArray[np.float32] = x.to(torch.float32).contiguous().numpy()
    return array
