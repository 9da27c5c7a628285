"""Prisoner's dilemma: betraying pays whatever the other does, and both lose by it (`matrix/prisoners_dilemma`).

Purpose        one's own good against the common one. Trained on their own rewards agents defect; on the team's they
               cooperate (`--reward team_mean`); with memory cooperation can also be a bargain.
Agents         agent_0 (rows), agent_1 (columns), one group `agent`.
Teams          one, `team`: one learner for both, who by default is told each agent's own reward.
Actions        Discrete(2): 0 cooperate, 1 defect.
Rewards        of agent_0, of agent_1:

                                 cooperate    defect
                     cooperate        2, 2      0, 3
                     defect           3, 0      1, 1

Ends           truncated at max_cycles; with max_cycles=1, the one-shot game, terminated.
Options        max_cycles, memory; see `MatrixOptions`.
Source         folklore (Flood and Dresher 1950; the story is Tucker's); the numbers are the smallest whole ones.
Version        1

Observation    one zero; with memory four columns: who did what in the last step, agent_0 first, zeros before the first.

Metrics        `cooperation`: share of all actions; `mutual_cooperation`: share of the steps at which both cooperate.
"""

from __future__ import annotations

from environments.games.matrix import common
from environments.vector import Array

COOPERATE = 0


def counts(payoff: Array) -> common.Counts:
    """How much they cooperate."""
    share = common.share_of(COOPERATE, payoff)
    return {"cooperation": ("share of actions", share), "mutual_cooperation": ("share of steps", share == 1)}


GAME = common.game("matrix/prisoners_dilemma", common.MatrixOptions, counts)
