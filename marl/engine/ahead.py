"""What a replay buffer's samples lead to within some decisions, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.scalar import F

GOES_ON, TERMINATED, TRUNCATED = 0, 1, 2
"""What became of a row of the clock in a step."""


class Ring(NamedTuple):
    """What a ring of `L` steps of `S` seats holds of events; `K` rows of the clock, `R` agents."""

    reward: NDArray[np.float32]
    """`[L, S, K]`."""
    ended: NDArray[np.uint8]
    """`[L, S, K]`."""
    acting: NDArray[np.bool_]
    """`[L, S, R]`, of the view that each step began with."""
    final: NDArray[np.int64]
    """`[L, S]` number of the final view that the step led to."""
    finals: int
    """Rows of the ring of final views."""
    head: int
    """Row of the newest view."""
    per_agent: bool
    """Rows of the clock are agents; else there is one, the team, which acts when any agent does."""


@kernel(entry=True)
def look_ahead(ring, at, decisions, steps, gamma, wait, reward, discount, then):
    """Of samples at places `at [B]` in the flattened ring: the discounted `reward [B, K]` until `decisions` later, the
    `discount` of the value there, and the place `then` of the view there.

    It looks at most `steps` steps ahead. Places past the ring are those of final views.
    """
    length, seats = ring.reward.shape[:2]
    for b in range(at.shape[0]):
        for k in range(reward.shape[1]):
            row, seat = at[b] // seats, at[b] % seats
            left = (ring.head - row) % length  # steps until the newest view
            paid, factor, made = F(0.0), F(1.0), 0
            reward[b, k], discount[b, k], then[b, k] = F(0.0), F(0.0), at[b]
            for _ in range(min(steps, left)):
                paid += factor * ring.reward[row, seat, k]
                ended, final = ring.ended[row, seat, k], ring.final[row, seat] % ring.finals
                row = row + 1 if row + 1 < length else 0
                stops = ended != GOES_ON
                arrives = not stops and decides(ring, row, seat, k)
                if stops or arrives:
                    reward[b, k] = paid
                    if ended != TERMINATED:
                        discount[b, k] = gamma * factor
                        cut = ended == TRUNCATED
                        then[b, k] = length * seats + final if cut else row * seats + seat
                    else:
                        discount[b, k] = F(0.0)
                factor *= gamma if arrives else wait
                made += arrives
                if stops or made >= decisions:
                    break


@kernel
def decides(ring, row, seat, k):
    """Whether a row of the clock has a decision to make there."""
    if ring.per_agent:
        return ring.acting[row, seat, k]
    anybody = False
    for r in range(ring.acting.shape[2]):
        anybody |= ring.acting[row, seat, r]
    return anybody
