"""How good and how safe a player is against a population of fixed opponents.

A player meets each of N opponents in M matches of a zero-sum game; `returns [N, M]` is what it got. With
r_b the mean of row b (Lanctot et al. 2023, arXiv:2303.03196):

    population return               mean over b of r_b           how much it wins
    within-population exploitability  max over b of -r_b         how much the worst opponent wins from it
    aggregate score                 the first minus the second

The maximum of noisy means is too large: a player that nobody exploits shows an exploitability of several standard
errors. `exploitability` therefore picks the worst opponent on one half of the matches and reads its mean on the other;
`largest_loss` is the plain maximum. On average such an estimate never exceeds the true value, but with few matches the
wrong opponent is picked and it is too small: say how many were played.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Returns = NDArray[np.floating[Any] | np.integer[Any]]
"""`[N, M]`: N opponents, M matches against each."""


class Score(NamedTuple):
    """A player against a population."""

    population_return: float
    exploitability: float
    """Within the population, by halves; see the module."""
    aggregate: float
    """`population_return - exploitability`."""
    largest_loss: float
    """Within-population exploitability as the plain maximum, biased upwards."""
    matches: int
    """Against each opponent."""


def score(returns: Returns) -> Score:
    """All of it at once. ValueError unless there is an opponent, at least two matches, and all is finite."""
    gained, lost = population_return(returns), exploitability(returns)
    return Score(gained, lost, gained - lost, largest_loss(returns), returns.shape[1])


def population_return(returns: Returns) -> float:
    """Mean return of a match against an opponent drawn at random, each as likely."""
    return float(_checked(returns, 1).mean(axis=1).mean())


def largest_loss(returns: Returns) -> float:
    """max_b -r_b."""
    return float((-_checked(returns, 1).mean(axis=1)).max())


def exploitability(returns: Returns) -> float:
    """Mean over halves H of mean over m not in H of L[w(H), m]; w(H) = argmax over b of the sum over m in H of L[b, m].

    L are the losses, and the halves are all M runs of M // 2 matches that follow one another in a circle. Matches of
    one opponent are taken to be independent, so what picks and what is read are.
    """
    losses = -_checked(returns, 2)
    matches, half = losses.shape[1], losses.shape[1] // 2
    around = np.concatenate([np.zeros((len(losses), 1)), np.cumsum(np.hstack([losses, losses[:, :half]]), axis=1)], 1)
    picks = around[:, half : half + matches] - around[:, :matches]  # [N, M] sums of the runs that begin at each match
    worst = picks.argmax(axis=0)
    rest = losses.sum(axis=1)[worst] - picks[worst, np.arange(matches)]
    return float(rest.mean() / (matches - half))


def _checked(returns: Returns, matches: int) -> NDArray[np.float64]:
    table = np.asarray(returns, np.float64)
    if table.ndim != 2 or table.shape[0] < 1 or table.shape[1] < matches:
        raise ValueError(f"wanted returns [opponents, matches] with at least {matches} matches, not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("returns hold NaN or infinity")
    return table
