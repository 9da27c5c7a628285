"""Matching pennies: one wins if the sides are the same, the other if they differ (`matrix/matching_pennies`).

Purpose        competition without an equilibrium in fixed actions: the only one is to toss the coin.
Agents         even_0 (rows), odd_0 (columns), a group each, `even` and `odd`.
Teams          two kinds, `even` and `odd`: they want different things, so each has a learner of its own.
Actions        Discrete(2): 0 heads, 1 tails.
Rewards        of even_0, of odd_0:

                               heads     tails
                     heads     1, -1     -1, 1
                     tails     -1, 1     1, -1

Ends           truncated at max_cycles; with max_cycles=1, the one-shot game, terminated.
Options        max_cycles, memory; see `MatrixOptions`.
Source         folklore.
Version        1

Observation    one zero; with memory four columns: who did what in the last step, even_0 first, zeros before the first.

Metrics        `heads_even`, `heads_odd`: share of each one's actions, 1/2 in equilibrium; `matched`: share of the steps
               that even wins.
"""

from __future__ import annotations

import numpy as np

from environments.games.matrix import common
from environments.vector import Array

HEADS = 0


def counts(payoff: Array) -> common.Counts:
    """How each mixes, and who wins."""
    even, odd = np.indices(payoff.shape[1:])
    return {
        "heads_even": ("share of actions", even == HEADS),
        "heads_odd": ("share of actions", odd == HEADS),
        "matched": ("share of steps", even == odd),
    }


GAME = common.game("matrix/matching_pennies", common.MatrixOptions, counts, kinds=("even", "odd"))
