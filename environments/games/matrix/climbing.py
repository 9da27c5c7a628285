"""Climbing: the way to the best joint action leads past the worst (`matrix/climbing`).

Purpose        cooperation against one's own caution: 11 is best, but whoever tries for it alone costs both 30.
Agents         agent_0 (rows), agent_1 (columns), one group `agent`.
Teams          one, `team`.
Actions        Discrete(3).
Rewards        both are paid the same:

                           0     1     2
                     0    11   -30     0
                     1   -30     7     0
                     2     0     6     5

Ends           truncated at max_cycles; with max_cycles=1, the one-shot game, terminated.
Options        max_cycles, memory; see `MatrixOptions`.
Source         "The dynamics of reinforcement learning in cooperative multiagent systems", AAAI 1998.
Version        1

Observation    one zero; with memory six columns: who did what in the last step, agent_0 first, zeros before the first.

Per agent and episode of 25 steps: 275 at the optimum (0, 0), 175 in the equilibrium (1, 1), 125 at (2, 2). Against an
opponent at random action 2 is best (5/3 on average against -17/3 and -19/3): who learns alone ends there or at 7.
"""

from __future__ import annotations

from environments.games.matrix import common

GAME = common.game("matrix/climbing", common.MatrixOptions, common.optimal)
