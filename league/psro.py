"""Policy-space response oracles: a population grows by best responses to a mixture of itself (Lanctot et al. 2017,
arXiv:1711.00832).

In generation k an oracle for each kind of team is trained against the mixture of the first k snapshots of those whom it
meets; then the missing cells of the table of payoffs are played. The oracles, being approximate best responses to the
mixture, tell how exploitable it was.

Payoffs are mean outcomes. Where both sides are of one kind, the table is of a symmetric zero-sum game: half the
difference of what the two earned, 0 against itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from environments.errors import UsageError
from environments.spec import EnvSpec
from league import metagame
from league.store import Store

Floats = NDArray[np.float64]

GENERAL: dict[str, Callable[[Sequence[ArrayLike]], list[Floats]]] = {
    "prd": metagame.projected_replicator_dynamics,
    "regret-matching": metagame.regret_matching,
    "uniform": metagame.uniform,
}
"""Meta-solvers that take a table for each player."""


class Game(NamedTuple):
    """What the snapshots of both sides earn against one another."""

    kinds: tuple[str, str]
    """Kind of team of rows and columns; the same twice where one population plays itself."""
    players: tuple[tuple[int, ...], tuple[int, ...]]
    """Numbers of rows and columns, from old to new."""
    payoffs: tuple[Floats, Floats]
    """`[rows, columns]` what the row's player earns, and the column's; NaN where nobody has played."""

    @property
    def symmetric(self) -> bool:
        """Whether one population plays itself."""
        return self.kinds[0] == self.kinds[1]

    @property
    def generations(self) -> int:
        """So many of the oldest of both sides have met one another: what a mixture can be made of."""
        count = min(len(numbers) for numbers in self.players)
        whole = (k for k in range(count, 0, -1) if np.isfinite(self.payoffs[0][:k, :k]).all())
        return next(whole, 0)

    def first(self, rows: int, columns: int) -> Game:
        """The game of the oldest so many."""
        numbers = self.players[0][:rows], self.players[1][:columns]
        return Game(self.kinds, numbers, (self.payoffs[0][:rows, :columns], self.payoffs[1][:rows, :columns]))


def sides(spec: EnvSpec) -> tuple[str, str]:
    """The kinds of team that meet. UsageError unless two teams do."""
    kinds = [kind.name for kind in spec.kinds for _ in range(kind.teams)]
    if len(kinds) != 2:
        raise UsageError(f"psro is for two teams that meet; {spec.name} has {len(kinds)}")
    return kinds[0], kinds[1]


def game(store: Store, kinds: tuple[str, str], snapshots: Mapping[str, Sequence[int]]) -> Game:
    """The table of payoffs between snapshots, by kind of team, as far as it has been played."""
    rows, columns = (tuple(snapshots[kind]) for kind in kinds)
    first, second = np.full((2, len(rows), len(columns)), np.nan)
    place = [{number: k for k, number in enumerate(numbers)} for numbers in (rows, columns)]
    for (a, b), (earned, other, games) in store.earned(kinds).items():
        if a in place[0] and b in place[1]:
            at = place[0][a], place[1][b]
            first[at], second[at] = earned / games, other / games
    if kinds[0] == kinds[1]:
        first = (first - first.T) / 2
        np.fill_diagonal(first, 0.0)
        second = -first
    return Game(kinds, (rows, columns), (first, second))


def mixtures(found: Game, meta: str) -> tuple[Floats, Floats]:
    """The mixture of each side by a meta-solver. UsageError where it cannot solve such a game; ValueError where a cell
    is missing.
    """
    if meta == "alpha-rank" and not found.symmetric:
        raise UsageError("alpha-rank is for one population that plays itself: set --meta nash, prd or uniform")
    row, column = _solved(meta, found.symmetric, found.payoffs[0].shape, *(x.tobytes() for x in found.payoffs))
    return row.copy(), column.copy()


@lru_cache(64)
def _solved(meta: str, symmetric: bool, shape: tuple[int, int], ours: bytes, theirs: bytes) -> tuple[Floats, Floats]:
    """Mixtures from tables as bytes: a table changes once in a generation and is asked for in every turn."""
    first, second = (np.frombuffer(table).reshape(shape) for table in (ours, theirs))
    if meta == "alpha-rank":
        share = metagame.alpha_rank(first)
        return share, share
    if meta == "nash":
        solved = metagame.nash((first - second) / 2)
        return (solved.row, solved.row) if symmetric else (solved.row, solved.column)
    row, column = GENERAL[meta]((first, second))
    return row, column


def exploitability(found: Game, meta: str, generation: int) -> float:
    """By how much the oracles of that generation (1, 2, ..) beat the mixture that they were trained against, on average
    of both sides, at least 0: a lower bound of what best responses gain.
    """
    row, column = mixtures(found.first(generation, generation), meta)
    ours, theirs = (table[: generation + 1, : generation + 1] for table in found.payoffs)
    row, column = np.append(row, 0.0), np.append(column, 0.0)
    return metagame.exploitability([ours, theirs], [row, column])


def history(found: Game, meta: str) -> list[dict[str, Any]]:
    """Generation after generation that is played to its end: its mixtures and their exploitability."""
    told = []
    for generation in range(1, found.generations):
        mixed = mixtures(found.first(generation, generation), meta)
        told.append(
            {
                "generation": generation,
                "mixtures": [mixture.tolist() for mixture in mixed],
                "exploitability": exploitability(found, meta, generation),
            }
        )
    return told
