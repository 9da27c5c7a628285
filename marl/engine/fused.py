"""The engine as learners and policies see it: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from environments import workers
from marl.adam import BETA1, BETA2, NORM_FLOOR, Adam
from marl.engine import blas, descent, passes
from marl.engine.calls import address
from marl.engine.descent import Rule, Told
from marl.engine.heads import TOTALS
from marl.engine.layout import AgentOfFlatNetwork, FlatNetwork
from marl.engine.mlp import Network

PART = 64
"""Samples of a gradient block, and of a piece of a forward pass, where there are several threads to share them."""
BLOCKS = 32
"""Gradient blocks of a minibatch at most: their sums are kept apart until all are done."""
PIECE = 2048
"""Parameters that a thread steps in one go, at most."""


class Room:
    """Memory for the gradients of a minibatch's blocks."""

    def __init__(self) -> None:
        self._gradients = np.zeros((0, 0), np.float32)
        self._totals = np.zeros((0, TOTALS))

    def of(self, blocks: int, parameters: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """`[blocks or more, parameters]` and as many rows of totals, with anything in them."""
        if len(self._gradients) < blocks or self._gradients.shape[1] != parameters:
            self._gradients = np.zeros((blocks, parameters), np.float32)
            self._totals = np.zeros((blocks, TOTALS))
        return self._gradients, self._totals


class Passes:
    """Forward and backward passes of one network on some threads."""

    def __init__(
        self, network: FlatNetwork | AgentOfFlatNetwork, one_for_all: bool, threads: int, room: Room | None = None
    ) -> None:
        """`room` for gradients, shared with others that are never differentiated in the same call; by default its own.

        Of an agent's network it is as long as that of all agents.
        """
        blas.one_thread()
        self.network = network
        self.threads = threads
        self.shape = network.shape._replace(one_for_all=int(one_for_all and network.shape.agents > 1))
        self._work = network.work(threads)
        self._room = Room() if room is None else room
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

    def job(self, inputs: Tensor, critic: bool, blocks: int, moments: Moments) -> passes.Job:
        """This network as compiled loops take it, for minibatches of so many blocks at most; parameters and moments are
        those that torch and the optimiser have."""
        parameters = self.network.bind()
        if not self._parts:
            self._whole = torch.zeros(len(parameters))
            self._parts = self.network.split(self._whole)
        own = *self._room.of(blocks, len(parameters)), _array(inputs), self._work
        return passes.Job(self.shape, parameters, *own, int(critic), self._whole.numpy(), *moments.bind())

    def pieces(self, job: int) -> NDArray[np.int64]:
        """The parameters in pieces that a thread steps in one go, as `descent.descend` takes those of a job."""
        found = [
            (job, k, at, min(at + PIECE, last))
            for k, (first, last) in enumerate(self.network.spans())
            for at in range(first, last, PIECE)
        ]
        return np.array(found, np.int64)

    def give_gradients(self) -> None:
        """Let every parameter have its gradient of the last minibatch, until the next call of `descend`."""
        for parameter, gradient in zip(self.network.parameters, self._parts, strict=True):
            parameter.grad = gradient


class Moments:
    """What Adam remembers of the gradients of one network, in flat arrays that the optimiser's tensors are views of."""

    def __init__(self, network: FlatNetwork | AgentOfFlatNetwork, optimiser: Adam) -> None:
        self.network, self.optimiser = network, optimiser
        numbers = {id(x): i for i, x in enumerate(optimiser.parameters)}
        self._numbers = [numbers[id(x)] for x in network.parameters]
        first, second = (torch.zeros(network.bind().size) for _ in range(2))
        steps = torch.zeros(len(self._numbers))
        self._views = [
            {"step": t, "exp_avg": m, "exp_avg_sq": v}
            for t, m, v in zip(steps, network.split(first), network.split(second), strict=True)
        ]
        self._flat = first.numpy(), second.numpy(), steps.numpy()

    def bind(self) -> tuple[NDArray[np.float32], ...]:
        """Both moments and the numbers of steps, as they are now; the optimiser's are views of them from now on."""
        for i, views in zip(self._numbers, self._views, strict=True):
            state = self.optimiser.state_of(i)
            for name, view in views.items():
                if state[name] is not view:
                    view.copy_(state[name])
                    state[name] = view
        return self._flat


class Descent(NamedTuple):
    """A network that is stepped: what its gradient is of, and where its moments are."""

    passes: Passes
    task: Any
    inputs: Tensor
    critic: bool
    moments: Moments


def descend(work: Sequence[Descent], minibatches: Sequence[Tensor], optimiser: Adam, limit: float) -> Told:
    """Step the parameters of some networks on one minibatch of samples after the other; returns what is known of each.

    Gradients are shrunk to a norm of at most `limit`, the actors' and the critic's apart.
    """
    sizes = np.array([len(samples) for samples in minibatches])
    blocks = np.clip(sizes // PART, 1, BLOCKS)
    most = int(blocks.max())
    threads = min(work[0].passes.threads, most)
    jobs = tuple(each.passes.job(each.inputs, each.critic, most, each.moments) for each in work)
    tasks = tuple(each.task for each in work)
    pieces = np.concatenate([each.passes.pieces(number) for number, each in enumerate(work)])
    index, ends = torch.cat(list(minibatches)).numpy(), np.cumsum(sizes)
    stages = np.zeros((len(sizes), len(work) + 3, 1 + threads), np.int64)
    part = passes.Part(index, 0, 0, 0, stages[0], 0)
    places = np.array([address(passes.differentiate, (*own, 0, part)) for own in zip(tasks, jobs, strict=True)])
    told = Told(np.zeros((len(sizes), len(work), TOTALS)), np.zeros((len(sizes), 2)), np.zeros(len(sizes), np.bool_))
    rule = Rule(limit, NORM_FLOOR, optimiser.rate, optimiser.eps, BETA1, BETA2)
    memory = np.zeros(len(pieces)), np.zeros(2)
    arguments = (places, tasks, jobs, pieces, *memory, rule, index, ends, blocks, stages, told)
    workers.shared(threads).run(descent.descend, arguments, len(sizes))
    for each in work:
        each.passes.give_gradients()
    return told


@lru_cache(16)
def every(samples: int) -> NDArray[np.int64]:
    """Index of all samples of a batch."""
    return np.arange(samples)


def _array(x: Tensor) -> NDArray[np.float32]:
    """A tensor as a dense float32 array, without a copy where it is one."""
    array: NDArray[np.float32] = x.to(torch.float32).contiguous().numpy()
    return array
