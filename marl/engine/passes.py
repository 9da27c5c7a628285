"""The two loops of the engine: every chunk of a batch forward, and every chunk of a minibatch forward and backward.

Threads take work from common counters (`environments.workers`). Gradients are summed per block, and there are as many
blocks for one thread as for many, so the result does not depend on their number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.heads import errors, finish
from marl.engine.memory import array_at, fetch_ahead
from marl.engine.mlp import Network, backward, cut, forward, turn, width
from marl.engine.scalar import F

U = np.uint64


@kernel
def gather(net, inputs, index, start, samples, stack, work):
    """Copy the inputs `[B, n or 1, D]` of a chunk's samples to where the forward pass expects them."""
    each = U(net.size[0] * (1 if net.one_for_all else width(net)))
    flat = inputs.reshape(inputs.size)
    stride, offset = inputs.shape[1] * inputs.shape[2], stack * net.size[0]
    for i in range(samples):
        ahead = start + samples + i
        if ahead < index.shape[0]:
            for c in range(0, each, 16):
                fetch_ahead(flat, index[ahead] * stride + offset + c)
        target, source = net.at[0] + i * each, index[start + i] * stride + offset
        rows, seen = work[target : target + each], flat[source : source + each]
        for c in range(each):
            rows[c] = seen[c]


@kernel(entry=True)
def evaluate(task, net, networks, count, ends, inputs, index, works, rows, size, progress, who):
    """Forward passes of the samples `index [rows]`, what becomes of the outputs being `task`'s affair.

    There are P networks of one shape, `count` parameters of each at the addresses `networks [P]`; those of number p
    get the samples up to place `ends[p]` that no earlier one got, in the same chunks as if it were alone.
    """
    work = works[who]
    while True:
        first, stop = take(progress, rows, size, who)
        if first >= rows:
            return
        begin = first
        for p in range(ends.shape[0]):
            end = min(stop, ends[p])
            if begin >= end:
                continue
            parameters = array_at(networks[p], count)
            for stack in range(net.stacks):
                chunk = cut(net, begin, end)
                for start in range(begin, end, chunk):
                    samples = min(chunk, end - start)
                    gather(net, inputs, index, start, samples, stack, work)
                    forward(net, parameters, stack, samples, work)
                    finish(task, net, parameters, index, start, samples, stack, work)
            begin = end
        report(progress, first, stop)


class Job(NamedTuple):
    """A network whose gradient is taken, of `N` parameters."""

    net: Network
    parameters: NDArray[np.float32]  # [N]
    gradients: NDArray[np.float32]  # [blocks, N] of each block of a minibatch
    totals: NDArray[np.float64]  # [blocks, TOTALS]
    inputs: NDArray[np.float32]  # [B, n or 1, D]
    works: NDArray[np.float32]  # [threads, numbers]
    critic: int  # 1: of the critic's loss; 0: of the actors'
    whole: NDArray[np.float32]  # [N] the minibatch's gradient
    first: NDArray[np.float32]  # [N] moments of past gradients
    second: NDArray[np.float32]  # [N]
    steps: NDArray[np.float32]  # [P] made with each of P tensors of parameters


class Part(NamedTuple):
    """A minibatch whose blocks a thread takes."""

    order: NDArray[np.int64]  # samples of all minibatches
    begin: int  # its own
    end: int
    blocks: int
    progress: NDArray[np.int64]  # [jobs or more, 1 + threads] as `environments.workers` counts
    who: int


@kernel(entry=True)
def differentiate(task, job, number, part):
    """Gradients `[b]` and totals `[b]` of every block b of a minibatch that this thread takes for job `number`."""
    net, parameters, index, work = job.net, job.parameters, part.order, job.works[part.who]
    count, all_samples = job.gradients.shape[1], part.end - part.begin
    flat = job.gradients.reshape(job.gradients.size)
    turned = -1
    while True:
        first, stop = take(part.progress[number], part.blocks, 1, part.who)
        if first >= part.blocks:
            return
        for block in range(first, stop):
            base = block * count
            for i in range(U(base), U(base + count)):
                flat[i] = F(0.0)
            sums = job.totals[block]
            for i in range(sums.shape[0]):
                sums[i] = 0.0
            begin = part.begin + block * all_samples // part.blocks
            end = part.begin + (block + 1) * all_samples // part.blocks
            chunk = cut(net, begin, end)
            for stack in range(net.stacks):
                if turned != stack:
                    turn(net, parameters, stack, work)
                    turned = stack
                for start in range(begin, end, chunk):
                    samples = min(chunk, end - start)
                    gather(net, job.inputs, index, start, samples, stack, work)
                    forward(net, parameters, stack, samples, work)
                    errors(task, net, parameters, flat, base, sums, index, start, samples, stack, work)
                    backward(net, parameters, flat, base, stack, samples, work)
        report(part.progress[number], first, stop)
