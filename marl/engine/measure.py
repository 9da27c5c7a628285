"""How fast the processor makes matrix products, and how many a network's gradient takes: what the engine is held to."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np

from environments import workers
from environments.compile import kernel
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine import blas
from marl.engine.blas import NEW, product
from marl.engine.mlp import ROWS, Network

REPEAT = 2000
"""Products per thread and measurement, of some microseconds each."""
TRIALS = 5


@kernel(entry=True)
def multiply(works, times, width, rows, size, progress, who):
    """Every thread multiplies its own `[ROWS, width]` by `[width, width]` matrices."""
    work = works[who]
    second, result = ROWS * width, ROWS * width + width * width
    while True:
        first, stop = take(progress, rows, size, who)
        if first >= rows:
            return
        for _ in range((stop - first) * times):
            product(work, 0, work, second, work, result, ROWS, width, width, NEW)
        report(progress, first, stop)


def product_rate(threads: int, width: int) -> float:
    """Floating-point operations per second of chunk-sized products, the best of some trials."""
    blas.one_thread()
    works = np.random.default_rng(0).random((threads, 2 * ROWS * width + width * width), np.float32)
    best = 0.0
    for _ in range(TRIALS):
        started = time.perf_counter()
        workers.shared(threads).run(multiply, (works, REPEAT // 10, width), 10 * threads)
        seconds = time.perf_counter() - started
        best = max(best, threads * REPEAT * 2.0 * ROWS * width * width / seconds)
    return best


def gradient_flops(net: Network) -> float:
    """Operations of the products of one joint sample forward and backward: twice the weights, three times over, but
    for the first layer's inputs, which need no gradient."""
    sizes = net.size.tolist()
    weights = [2.0 * net.agents * a * b for a, b in pairwise(sizes)]
    if net.one_for_all:
        weights[0] /= net.agents
    return 3.0 * sum(weights) - weights[0]
