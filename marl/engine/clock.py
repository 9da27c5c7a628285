"""The clock of `marl.returns` as one compiled scan: every row by itself, from the rollout's end to its start."""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch

F = np.float32
U = np.uint64


@kernel(entry=True)
def scan(reward, value, bootstrap, acts, ended, gamma, lambda_, wait, edge, advantage, closed):
    """`lambda_advantages` of rows `[T, rows]`; writes `advantage` and `closed`."""
    steps, rows = reward.shape
    for row in range(U(rows)):
        flow = discount = later = later_at = F(0.0)  # R + gamma V as seen from the step after, its discount; advantages
        known = False
        for back in range(steps):
            t = steps - 1 - back
            if ended[t, row]:
                flow = reward[t, row] + gamma * bootstrap[t, row]
                discount, later, known = F(0.0), F(0.0), True
            elif acts[t + 1, row]:
                flow = reward[t, row] + gamma * value[t + 1, row]
                discount, later, known = gamma, later_at, True
            else:
                flow = reward[t, row] + wait * flow
                discount = wait * discount
            counts = known and back >= edge
            later_at = flow - value[t, row] + lambda_ * discount * later if counts else F(0.0)
            advantage[t, row] = later_at
            closed[t, row] = counts
