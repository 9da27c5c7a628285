"""How strong players are, from the whole table of their games: Bradley-Terry, fitted at once.

    P(i beats j) = 1 / (1 + exp(s_j - s_i)),   a draw being half a win for both.

Refitting the table makes the order of games irrelevant and gives intervals, which Elo's running updates do not
(Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs"). Players who are connected by no chain of games
cannot be compared: they form islands, and each island's ratings sum to zero. Strengths are printed as Elo points,
`ELO` to one unit of s.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit, ndtr

Floats = NDArray[np.float64]
ELO = 400.0 / np.log(10.0)
"""Elo points of one unit of strength."""
PRIOR = 0.1
"""Precision of the normal prior on every strength: an unbeaten player's rating stays finite, others hardly move."""
TOLERANCE = 1e-10
MOST_STEPS = 100
WIDTH = 1.959963984540054
"""Standard errors to either side of a 95 % interval."""


class Ratings(NamedTuple):
    """Strengths of `P` players."""

    strength: Floats
    """`[P]`, zero on average over an island."""
    covariance: Floats
    """`[P, P]`; between islands it says nothing."""
    island: NDArray[np.int64]
    """`[P]` number of the player's island; ratings of different islands are not comparable."""

    @property
    def elo(self) -> Floats:
        """`[P]` ratings in Elo points."""
        points: Floats = ELO * self.strength
        return points

    @property
    def interval(self) -> Floats:
        """`[P, 2]` 95 % interval of each rating, in Elo points."""
        half = ELO * self.half_widths()
        return np.stack([self.elo - half, self.elo + half], 1)

    def half_widths(self) -> Floats:
        """`[P]` half the 95 % interval of each strength."""
        halves: Floats = WIDTH * np.sqrt(np.diag(self.covariance))
        return halves

    def superiority(self) -> Floats:
        """`[P, P]` probability that the row's player is the stronger one; NaN between islands."""
        variance = np.diag(self.covariance)
        spread = variance[:, None] + variance - 2 * self.covariance
        gap = self.strength[:, None] - self.strength
        certain = ndtr(gap / np.sqrt(np.maximum(spread, 1e-300)))
        np.fill_diagonal(certain, 0.5)
        return np.where(self.island[:, None] == self.island, certain, np.nan)


def bradley_terry(score: ArrayLike, prior: float = PRIOR) -> Ratings:
    """Strengths that make the table most likely, under a normal prior of precision `prior`.

    `score [P, P]`: wins of the row's player over the column's, draws counting half; the diagonal (a player against
    itself) is ignored. Maximises sum_ij score_ij log P(i beats j) - prior/2 sum_i s_i^2 by Newton's method, which the
    prior makes strictly concave; the covariance is the inverse of the Hessian, projected on the sum rule.
    ValueError on a table that is not square, finite and non-negative.
    """
    wins = np.array(score, np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1]:
        raise ValueError(f"a table of scores is square, not {wins.shape}")
    if not np.isfinite(wins).all() or (wins < 0).any():
        raise ValueError("scores are finite and at least 0")
    np.fill_diagonal(wins, 0.0)
    games = wins + wins.T
    players = len(wins)
    island = _islands(games)
    strength = np.zeros(players)
    for _ in range(MOST_STEPS):
        slope, curvature = _derivatives(strength, wins, games, prior)
        step = cho_solve(cho_factor(curvature), slope)
        strength = _climb(strength, step, slope, wins, prior)
        if np.abs(step).max(initial=0.0) < TOLERANCE:
            break
    _, curvature = _derivatives(strength, wins, games, prior)
    covariance = cho_solve(cho_factor(curvature), np.eye(players)) if players else np.zeros((0, 0))
    centre = _centring(island)
    return Ratings(centre @ strength, centre @ covariance @ centre.T, island)


def _derivatives(strength: Floats, wins: Floats, games: Floats, prior: float) -> tuple[Floats, Floats]:
    expected = expit(strength[:, None] - strength)
    slope = (wins - games * expected).sum(1) - prior * strength
    weight = games * expected * (1 - expected)
    return slope, np.diag(weight.sum(1) + prior) - weight


def _climb(strength: Floats, step: Floats, slope: Floats, wins: Floats, prior: float) -> Floats:
    """A Newton step, halved until it climbs."""
    before, gain, size = _objective(strength, wins, prior), float(slope @ step), 1.0
    while size > 1e-6 and _objective(strength + size * step, wins, prior) < before + 1e-4 * size * gain - 1e-9:
        size /= 2
    return strength + size * step


def _objective(strength: Floats, wins: Floats, prior: float) -> float:
    return float((wins * log_expit(strength[:, None] - strength)).sum() - prior / 2 * strength @ strength)


def _islands(games: Floats) -> NDArray[np.int64]:
    rows, columns = np.nonzero(games)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=games.shape)
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _centring(island: NDArray[np.int64]) -> Floats:
    """Matrix that takes each island's mean away."""
    same = (island[:, None] == island).astype(np.float64)
    matrix: Floats = np.eye(len(island)) - same / np.maximum(same.sum(1, keepdims=True), 1)
    return matrix


def non_transitivity(payoff: ArrayLike) -> float:
    """Share in [0, 1] of an antisymmetric table that no ranking explains: 0 for strengths that add up, 1 for
    rock-paper-scissors.

    Hodge decomposition (Jiang et al. 2011, "Statistical ranking and combinatorial Hodge theory"; Balduzzi et al. 2018,
    arXiv:1806.02643): with every pair played, M = grad f + C with f_i the mean of row i, and the share is
    ||C||^2 / ||M||^2. A table of zeros is transitive.
    """
    table = np.asarray(payoff, np.float64)
    table = (table - table.T) / 2
    total = float((table**2).sum())
    if total == 0.0:
        return 0.0
    rank = table.mean(1)
    return float(((table - (rank[:, None] - rank)) ** 2).sum()) / total
