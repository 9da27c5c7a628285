"""The two loops of the engine: every chunk of a batch forward, and every chunk of a minibatch forward and backward.

Threads take work from common counters (`environments.workers`). Gradients are summed per block, and there are as many
blocks for one thread as for many, so the result does not depend on their number.
"""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.heads import errors, finish
from marl.engine.memory import array_at, fetch_ahead
from marl.engine.mlp import backward, cut, forward, turn, width
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


@kernel(entry=True)
def differentiate(task, net, parameters, gradients, totals, inputs, index, works, rows, size, progress, who):
    """Gradient `gradients[b]` and sums `totals[b]` of every block b of the samples `index`, cut in `rows` blocks."""
    work = works[who]
    count, samples_in_all = gradients.shape[1], index.shape[0]
    flat = gradients.reshape(gradients.size)
    turned = -1
    while True:
        first, stop = take(progress, rows, size, who)
        if first >= rows:
            return
        for block in range(first, stop):
            base = block * count
            for i in range(U(base), U(base + count)):
                flat[i] = F(0.0)
            sums = totals[block]
            for i in range(sums.shape[0]):
                sums[i] = 0.0
            begin, end = block * samples_in_all // rows, (block + 1) * samples_in_all // rows
            chunk = cut(net, begin, end)
            for stack in range(net.stacks):
                if turned != stack:
                    turn(net, parameters, stack, work)
                    turned = stack
                for start in range(begin, end, chunk):
                    samples = min(chunk, end - start)
                    gather(net, inputs, index, start, samples, stack, work)
                    forward(net, parameters, stack, samples, work)
                    errors(task, net, parameters, flat, base, sums, index, start, samples, stack, work)
                    backward(net, parameters, flat, base, stack, samples, work)
        report(progress, first, stop)
