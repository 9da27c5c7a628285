"""Any matrix game: the table of payoffs is an option (`matrix/game`).

Purpose        a game of one's own in one line: `--env.payoff '[[2, 0], [0, 1]]'`.
Agents         agent_0 ... agent_{N-1}, 1 to 10 of them: as many as the table has axes (one agent: a bandit). With
               equally many actions they are one group `agent`, else each is a group of its own name.
Teams          one, `team`: one learner for all, who by default is told each agent's own reward.
Actions        Discrete(K_i): the length of axis i.
Rewards        payoff[a_0][a_1]...[a_{N-1}] for everyone; with per_agent payoff[i][a_0][a_1]...[a_{N-1}] for agent_i.
Ends           truncated at max_cycles; with max_cycles=1, the one-shot game, terminated.
Options        payoff, per_agent, and max_cycles, memory; see `Options`.
Source         this project.
Version        1

Observation    one zero; with memory everybody's action of the last step, K_i columns for agent_i, agent_0 first, the
               taken one 1 and the others 0; zeros before the first step.

Metrics        `optimal`: share of the steps at which the agents' payoffs sum to the greatest sum there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from environments.games.matrix import common, payoffs


@dataclass(frozen=True, kw_only=True)
class Options(common.MatrixOptions):
    """What may be set."""

    payoff: Sequence[object] = ((2, 0), (0, 1))
    """Numbers in lists, nested once per agent; at most 2048 numbers (joint actions x agents) within 1,000,000."""
    per_agent: bool = False
    """Whether payoff is a list of tables, one for each agent; otherwise all are paid by the same table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "payoff", payoffs.read(self.payoff, self.per_agent))


GAME = common.game("matrix/game", Options, common.optimal)
