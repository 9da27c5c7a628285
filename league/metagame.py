"""Meta-solvers: from a table of what strategies earn against one another to a mixture of them.

Two-player zero-sum games have one table `payoff [K1, K2]`, what the row's player earns; general ones a table per
player, `[K1, ..., Kn]` each. Mixtures are `[K]`, at least 0, sum 1. A symmetric game is the table of one population
against itself. PSRO (Lanctot et al. 2017, arXiv:1711.00832) names the roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

Floats = NDArray[np.float64]
LEAST = 1e-10
"""Mass below which a strategy is not part of a mixture."""


class Equilibrium(NamedTuple):
    """A saddle point of a zero-sum table."""

    row: Floats
    column: Floats
    value: float
    """What the row's player earns."""


def nash(payoff: ArrayLike) -> Equilibrium:
    """Nash equilibrium of a zero-sum table, by linear programming: max_x min_j (x' M)_j for both sides.

    Of several equilibria, one. ValueError where the table is empty or not finite.
    """
    table = _table(payoff)
    row, value = _maximin(table)
    column, _ = _maximin(-table.T)
    return Equilibrium(row, column, value)


def _maximin(table: Floats) -> tuple[Floats, float]:
    """The mixture of rows whose worst column is best, and that worst: max v subject to x' M >= v."""
    rows, columns = table.shape
    scale = max(1.0, float(np.abs(table).max()))
    cost = np.append(np.zeros(rows), -1.0)
    bound = np.hstack([-table.T / scale, np.ones((columns, 1))])
    simplex = np.append(np.ones(rows), 0.0)[None]
    limits = [(0.0, 1.0)] * rows + [(None, None)]
    found = linprog(cost, bound, np.zeros(columns), simplex, [1.0], limits, method="highs")
    if not found.success:
        raise ValueError(f"no equilibrium was found: {found.message}")
    return _mixture(found.x[:-1]), float(-found.fun * scale)


def uniform(payoffs: Sequence[ArrayLike]) -> list[Floats]:
    """Every strategy equally: the meta-solver of fictitious play."""
    return [np.full(count, 1.0 / count) for count in _tables(payoffs)[0].shape]


def projected_replicator_dynamics(
    payoffs: Sequence[ArrayLike], iterations: int = 50_000, step: float = 1e-3, least: float = 1e-6
) -> list[Floats]:
    """Time average of replicator dynamics that keep every strategy alive (Lanctot et al. 2017, section 3.2).

        x <- project(x + step * x * (u - x.u)),   u_k what strategy k earns against the others' mixtures,

    projected on mixtures with at least `least` everywhere. From uniform mixtures.
    """
    tables = _tables(payoffs)
    mixtures = uniform(tables)
    sums = [np.zeros_like(x) for x in mixtures]
    for _ in range(iterations):
        earned = [values(table, mixtures, player) for player, table in enumerate(tables)]
        mixtures = [project(x + step * x * (u - x @ u), least) for x, u in zip(mixtures, earned, strict=True)]
        for total, x in zip(sums, mixtures, strict=True):
            total += x
    return [total / iterations for total in sums]


def regret_matching(payoffs: Sequence[ArrayLike], iterations: int = 50_000, gamma: float = 1e-6) -> list[Floats]:
    """Time average of playing strategies in proportion to their positive regrets (Hart and Mas-Colell 2000).

    `gamma` is the least share of every strategy while learning. From uniform mixtures.
    """
    tables = _tables(payoffs)
    mixtures = uniform(tables)
    regrets = [np.zeros_like(x) for x in mixtures]
    sums = [np.zeros_like(x) for x in mixtures]
    for _ in range(iterations):
        earned = [values(table, mixtures, player) for player, table in enumerate(tables)]
        for player, (x, u) in enumerate(zip(mixtures, earned, strict=True)):
            regrets[player] += u - x @ u
            positive = np.maximum(regrets[player], 0.0)
            total = positive.sum()
            fresh = positive / total if total > 0 else np.full(len(x), 1.0 / len(x))
            mixtures[player] = gamma / len(x) + (1 - gamma) * fresh
            sums[player] += mixtures[player]
    return [total / iterations for total in sums]


def alpha_rank(payoff: ArrayLike, alpha: float = 100.0, population: int = 50) -> Floats:
    """Long-run share of each strategy in a finite population that mutates rarely (Omidshafiei et al. 2019,
    arXiv:1903.01373): the stationary distribution of the chain that goes from s to r with probability rho / (K - 1),

        rho = (1 - exp(-u)) / (1 - exp(-m u)),   u = alpha (M[r, s] - M[s, r]),   1/m where u = 0.

    `payoff [K, K]` of one symmetric population. Finite for any `alpha`: for u < 0 both terms are multiplied by
    exp(m u), so no exponential overflows.
    """
    table = _table(payoff)
    count = len(table)
    if table.shape != (count, count):
        raise ValueError(f"a population plays itself in a square table, not {table.shape}")
    if count == 1:
        return np.ones(1)
    u = alpha * (table.T - table)  # [s, r]
    chain = fixation(u, population) / (count - 1)
    np.fill_diagonal(chain, 0.0)
    np.fill_diagonal(chain, 1.0 - chain.sum(1))
    return stationary(chain)


def fixation(u: Floats, m: int) -> Floats:
    """Probability that one mutant with advantage `u` takes over a population of `m`."""
    size = np.abs(u)
    safe = np.where(size < 1e-14, 1.0, size)
    likely = np.expm1(-safe) / np.expm1(-m * safe)
    unlikely = np.exp(-(m - 1) * safe) * likely
    return np.where(size < 1e-14, 1.0 / m, np.where(u > 0, likely, unlikely))


def stationary(chain: Floats) -> Floats:
    """Stationary distribution of a Markov chain `[K, K]`, rows summing to 1.

    Grassmann, Taksar and Heyman's elimination: no subtraction, so that probabilities as small as exp(-1000) among
    ordinary ones cost no digits. Where several classes never leave themselves, the last eliminated keeps its mass and
    ties between equals are shared by a vanishing uniform mutation.
    """
    count = len(chain)
    work = chain + 1e-300
    for k in range(count - 1, 0, -1):
        work[:k, k] /= work[k, :k].sum()
        work[:k, :k] += np.outer(work[:k, k], work[k, :k])
    share = np.zeros(count)
    share[0] = 1.0
    for k in range(1, count):
        share[k] = share[:k] @ work[:k, k]
        share[: k + 1] /= share[: k + 1].sum()  # keeps the numbers within range
    return share


def rectified(payoff: ArrayLike, mixture: ArrayLike) -> list[Floats]:
    """Whom each strategy of a symmetric population trains against: those of the mixture that it beats or ties
    (Balduzzi et al. 2019, arXiv:1901.08106); the whole mixture where there is nobody left.
    """
    table, weights = _table(payoff), np.asarray(mixture, np.float64)
    found = []
    for row in table:
        beaten = np.where(row >= 0.0, weights, 0.0)
        found.append(_mixture(beaten if beaten.sum() > LEAST else weights))
    return found


def exploitability(payoffs: Sequence[ArrayLike], mixtures: Sequence[ArrayLike]) -> float:
    """What players gain by best responses within the table, averaged: 1/n sum_i (max_k u_i(k, x_-i) - u_i(x)).

    0 at an equilibrium. For two-player zero-sum tables it is half the NashConv.
    """
    tables, weights = _tables(payoffs), [np.asarray(x, np.float64) for x in mixtures]
    gains = []
    for player, table in enumerate(tables):
        earned = values(table, weights, player)
        gains.append(float(earned.max() - weights[player] @ earned))
    return sum(gains) / len(gains)


def values(table: Floats, mixtures: Sequence[Floats], player: int) -> Floats:
    """`[K_player]` what each strategy of `player` earns against the others' mixtures."""
    for other in range(table.ndim - 1, player, -1):
        table = table @ mixtures[other]
    for other in range(player - 1, -1, -1):  # a product from the left sums over the axis before the last
        table = mixtures[other] @ table
    return table


def project(point: Floats, least: float = 0.0) -> Floats:
    """The nearest mixture in which every entry is at least `least` (Duchi et al. 2008, "Efficient projections")."""
    count = len(point)
    room = 1.0 - count * least
    if room <= 0:
        raise ValueError(f"{count} strategies cannot all have a share of {least}")
    shifted: Floats = point - (point.sum() - 1.0) / count
    if shifted.min() >= least:  # nothing is cut off, as in nearly every step of replicator dynamics
        return shifted
    ordered = np.sort(point)[::-1]
    excess = (np.cumsum(ordered) - room) / np.arange(1, count + 1)
    level = excess[(ordered > excess).sum() - 1]  # holds for the largest entries and for no other
    nearest: Floats = np.maximum(point - level, 0.0) + least
    return nearest


def _mixture(weights: Floats) -> Floats:
    kept: Floats = np.where(weights > LEAST, weights, 0.0)
    kept /= kept.sum()
    return kept


def _table(payoff: ArrayLike) -> Floats:
    table = np.array(payoff, np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"a table of payoffs has rows and columns, not shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("a payoff is missing or not finite: play every pair first")
    return table


def _tables(payoffs: Sequence[ArrayLike]) -> list[Floats]:
    tables = [np.array(payoff, np.float64) for payoff in payoffs]
    shapes = {table.shape for table in tables}
    if len(shapes) != 1 or not tables[0].size or tables[0].ndim != len(tables):
        raise ValueError(f"{len(tables)} players need as many tables of one shape [K1, ..., Kn], not {sorted(shapes)}")
    if not all(np.isfinite(table).all() for table in tables):
        raise ValueError("a payoff is missing or not finite: play every combination first")
    return tables
