"""Stag hunt: together for much, or each for itself for something certain (`matrix/stag_hunt`).

Purpose        trust: both hunting the stag is best for everyone, but who doubts that the other comes takes the hare.
Agents         agent_0 (rows), agent_1 (columns), one group `agent`.
Teams          one, `team`: one learner for both, who by default is told each agent's own reward.
Actions        Discrete(2): 0 stag, 1 hare.
Rewards        of agent_0, of agent_1:

                              stag      hare
                     stag     4, 4      0, 3
                     hare     3, 0      3, 3

Ends           truncated at max_cycles; with max_cycles=1, the one-shot game, terminated.
Options        max_cycles, memory; see `MatrixOptions`.
Source         the story is Rousseau's (1755); the numbers make a hare safe: going for the stag pays only if the other
               does with a probability above 3/4.
Version        1

Observation    one zero; with memory four columns: who did what in the last step, agent_0 first, zeros before the first.

Metrics        `stag`: share of all actions; `both_stag`: share of the steps at which both hunt it.
"""

from __future__ import annotations

from environments.games.matrix import common
from environments.vector import Array

STAG = 0


def counts(payoff: Array) -> common.Counts:
    """How much they hunt the stag."""
    share = common.share_of(STAG, payoff)
    return {"stag": ("share of actions", share), "both_stag": ("share of steps", share == 1)}


GAME = common.game("matrix/stag_hunt", common.MatrixOptions, counts)
