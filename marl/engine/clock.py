"""The clock of `marl.returns` as compiled scans: every row by itself, from the rollout's end to its start."""

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


@kernel(entry=True)
def scan_ahead(reward, value, bootstrap, acts, ended, gamma, wait, edge, ahead, errors, discounts, advantage, closed):
    """`step_advantages` of rows `[T, rows]`; `errors` and `discounts` `[T]` are memory for a row's decisions."""
    steps, rows = reward.shape
    for row in range(U(rows)):
        flow = discount = F(0.0)
        known, stored = False, 0
        for back in range(steps):
            t = steps - 1 - back
            if ended[t, row]:
                flow = reward[t, row] + gamma * bootstrap[t, row]
                discount, known = F(0.0), True
            elif acts[t + 1, row]:
                flow = reward[t, row] + gamma * value[t + 1, row]
                discount, known = gamma, True
            else:
                flow = reward[t, row] + wait * flow
                discount = wait * discount
            counts = known and back >= edge
            closed[t, row] = counts
            if acts[t, row]:
                errors[stored] = flow - value[t, row] if counts else F(0.0)
                discounts[stored] = discount if counts else F(0.0)
                stored += 1
                total, weight = F(0.0), F(1.0)
                for k in range(min(ahead, stored)):
                    total += weight * errors[stored - 1 - k]
                    weight *= discounts[stored - 1 - k]
                advantage[t, row] = total


@kernel(entry=True)
def scan_corrected(reward, value, bootstrap, acts, ended, rho, trace, gamma, wait, edge, gain, correction, closed):
    """`vtrace` of rows `[T, rows]`; writes `gain`, `correction` and `closed`."""
    steps, rows = reward.shape
    for row in range(U(rows)):
        flow = discount = later = later_at = F(0.0)
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
            error = flow - value[t, row]
            later_at = rho[t, row] * error + trace[t, row] * discount * later if counts else F(0.0)
            gain[t, row] = error + discount * later if counts else F(0.0)
            correction[t, row] = later_at
            closed[t, row] = counts
