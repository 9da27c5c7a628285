"""Penalty: two best joint actions that must not be mixed up, and a safe one (`matrix/penalty`).

Purpose        cooperation: the larger the penalty, the more a learner is drawn to the safe action.
Agents         agent_0 (rows), agent_1 (columns), one group `agent`.
Teams          one, `team`.
Actions        Discrete(3).
Rewards        both are paid the same:

                           0     1     2
                     0    -k     0    10
                     1     0     2     0
                     2    10     0    -k

Ends           truncated at max_cycles; with max_cycles=1, the one-shot game, terminated.
Options        k, and max_cycles, memory; see `Options`.
Source         "The dynamics of reinforcement learning in cooperative multiagent systems", AAAI 1998;
               published results are for k = 0, 25, 50, 75 and 100.
Version        1

Observation    one zero; with memory six columns: who did what in the last step, agent_0 first, zeros before the first.

Per agent and episode of 25 steps: 250 at the optima (0, 2) and (2, 0), 50 at the safe (1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from environments.games.matrix import common


@dataclass(frozen=True, kw_only=True)
class Options(common.MatrixOptions):
    """What may be set."""

    k: float = 100.0
    """What both lose where they mix the two best ways; 0 to 1,000,000."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_size("k", self.k)


GAME = common.game("matrix/penalty", Options, common.optimal)
