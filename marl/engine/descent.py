"""Gradient steps on one minibatch after the other without the interpreter: gradients, norms, Adam.

A minibatch has stages: blocks of every network's gradient, then, in pieces of the parameters, their sums and the step
that Adam (Kingma and Ba 2015, arXiv:1412.6980) makes of them. Threads take work from each stage's own counter and go on
to the next when all is done, so a thread that wakes late, or whose core has other work, is waited for in what it has
begun and nowhere else. What is summed in which order does not depend on their number.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.calls import call_each
from marl.engine.heads import COUNT
from marl.engine.passes import Part
from marl.engine.scalar import F
from marl.engine.waiting import meet

U = np.uint64


class Rule(NamedTuple):
    """How far a step goes: the largest norm of the actors' gradient, and of the critic's, and Adam's numbers."""

    limit: float
    floor: float  # added to a norm that the limit is divided by
    rate: float
    eps: float
    beta1: float
    beta2: float


class Told(NamedTuple):
    """What is known of each of `M` minibatches afterwards; rows from the first that is not finite on are not."""

    totals: NDArray[np.float64]  # [M, jobs, TOTALS]
    norms: NDArray[np.float64]  # [M, 2] of the actors' gradient and the critic's, before they were cut
    finite: NDArray[np.bool_]  # [M]


@kernel(entry=True)
def descend(
    places, tasks, jobs, pieces, squares, scales, rule, index, ends, blocks, stages, told, rows, size, progress, who
):
    """Step the parameters of all jobs on `rows` minibatches `index[ends[m - 1] : ends[m]]`, each cut in `blocks[m]`.

    `places` are addresses of `passes.differentiate` for each task and job; `pieces [Q, 4]` say which part of which
    job's parameters, and of which of its tensors, are one thread's work: (job, tensor, first, last). `squares [Q]` and
    `scales [2]` are memory. `stages [M, jobs + 3, 1 + threads]` count: the jobs' blocks, sums, what comes of them, and
    steps.
    """
    count = len(jobs)
    for m in range(rows):
        done = stages[m]
        begin = ends[m - 1] if m > 0 else 0
        call_each(places, tasks, jobs, Part(index, begin, ends[m], blocks[m], done, who))
        for j in range(count):
            meet(done[j], blocks[m])
        add_up(jobs, pieces, squares, blocks[m], done[count], who)
        meet(done[count], pieces.shape[0])
        first, _ = take(done[count + 1], 1, 1, who)
        if first == 0:
            settle(jobs, pieces, squares, scales, rule, blocks[m], m, told)
            report(progress, m, m + 1 if told.finite[m] else rows)
            report(done[count + 1], 0, 1)
        meet(done[count + 1], 1)
        if not told.finite[m]:
            return
        step(jobs, pieces, scales, rule, done[count + 2], who)
        meet(done[count + 2], pieces.shape[0])


@kernel
def add_up(jobs, pieces, squares, blocks, progress, who):
    """Gradients of all blocks, in their order, and of each piece the sum of squares."""
    while True:
        piece, stop = take(progress, pieces.shape[0], 1, who)
        if piece >= stop:
            return
        job = jobs[pieces[piece, 0]]
        first, last = pieces[piece, 2], pieces[piece, 3]
        flat, count = job.gradients.reshape(job.gradients.size), job.gradients.shape[1]
        whole = job.whole[first:last]
        for block in range(blocks):
            own = flat[block * count + first : block * count + last]
            for i in range(U(last - first)):
                whole[i] = own[i] if block == 0 else whole[i] + own[i]
        total = 0.0
        for i in range(U(last - first)):
            total += whole[i] * whole[i]
        squares[piece] = total
        report(progress, piece, stop)


@kernel
def settle(jobs, pieces, squares, scales, rule, blocks, m, told):
    """Means, norms and whether they are finite; `scales` become what sums are multiplied by for a step."""
    told.finite[m] = True
    for critic in range(2):
        count, square = 0.0, 0.0
        for j in range(len(jobs)):
            job, sums = jobs[j], told.totals[m, j]
            if job.critic != critic:
                continue
            for block in range(blocks):
                for k in range(sums.shape[0]):
                    sums[k] += job.totals[block, k]
            count += sums[COUNT]
            if not math.isfinite(sums[0] + sums[1]):
                told.finite[m] = False
        for piece in range(pieces.shape[0]):
            if jobs[pieces[piece, 0]].critic == critic:
                square += squares[piece]
        share = 1.0 / max(1.0, count)
        norm = share * math.sqrt(square)
        if not math.isfinite(norm):
            told.finite[m] = False
        told.norms[m, critic] = norm
        scales[critic] = share * min(1.0, rule.limit / (norm + rule.floor))
    if told.finite[m]:
        for j in range(len(jobs)):
            steps = jobs[j].steps
            for k in range(steps.shape[0]):
                steps[k] += F(1.0)


@kernel
def step(jobs, pieces, scales, rule, progress, who):
    """As `marl.adam.Adam` steps, down the gradients that `scales` makes of sums."""
    while True:
        piece, stop = take(progress, pieces.shape[0], 1, who)
        if piece >= stop:
            return
        job = jobs[pieces[piece, 0]]
        first, last, steps = pieces[piece, 2], pieces[piece, 3], float(job.steps[pieces[piece, 1]])
        scale, eps, kept, new = F(scales[job.critic]), F(rule.eps), F(rule.beta2), F(1.0 - rule.beta2)
        length = F(rule.rate / (1.0 - rule.beta1**steps))
        root, pull = F(math.sqrt(1.0 - rule.beta2**steps)), F(1.0 - rule.beta1)
        g, m, v, x = job.whole[first:last], job.first[first:last], job.second[first:last], job.parameters[first:last]
        for i in range(U(last - first)):
            g[i] *= scale
            m[i] += pull * (g[i] - m[i])
            v[i] = kept * v[i] + new * g[i] * g[i]
            x[i] -= length * m[i] / (F(math.sqrt(v[i])) / root + eps)
        report(progress, piece, stop)
