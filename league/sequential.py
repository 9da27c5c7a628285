"""When to stop playing: Wald's sequential probability ratio test on pairs of games.

Two games are played on one key with seats swapped and scored as one pair: 0, 1/4, 1/2, 3/4 or 1, so that the first
move's advantage and the key's luck cancel. With `n` pairs of mean score s and variance v, the generalised ratio of
"elo_1 stronger" to "elo_0 stronger" is approximately

    llr = n (s_1 - s_0) (2 s - s_0 - s_1) / (2 v),      s_k = 1 / (1 + 10^(-elo_k / 400)),

and the test ends where it leaves [log(beta / (1 - alpha)), log((1 - beta) / alpha)] (Wald 1945, "Sequential Tests of
Statistical Hypotheses"; Van den Bergh 2019, "The Generalized Maximum Likelihood Ratio for the Expectation Value").
The variance is estimated, which after few games means nothing: there is a least number of them, and every outcome of a
pair counts `PSEUDO` times more than seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

PAIR_SCORES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
"""Score of a pair of games: what `counts` count."""
PSEUDO = 0.2
"""Pseudo-count of each of the five outcomes: one pair in all."""
MOST_ELO = 4000
"""Points by which a test may suppose that players differ: beyond, the weaker one never scores."""
Verdict = Literal["stronger", "not stronger", "open"]


@dataclass(frozen=True)
class SPRT:
    """A test of "at least `elo_1` stronger" against "at most `elo_0` stronger"."""

    elo_0: float = 0.0
    """Elo points; a player no stronger than this is called stronger with probability at most `alpha`."""
    elo_1: float = 35.0
    """Elo points; a player as strong as this is missed with probability at most `beta`. Above elo_0."""
    alpha: float = 0.05
    """Chance of a wrong "stronger"; in (0, 0.5)."""
    beta: float = 0.05
    """Chance of a wrong "not stronger"; in (0, 0.5)."""
    least_pairs: int = 16
    """Pairs of games before any verdict; at least 1."""

    def __post_init__(self) -> None:
        if not -MOST_ELO <= self.elo_0 < self.elo_1 <= MOST_ELO:
            raise ValueError(
                f"elo_1 must be above elo_0, both from -{MOST_ELO} to {MOST_ELO}; not {self.elo_1} with {self.elo_0}"
            )
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError("alpha and beta lie between 0 and 0.5")
        if self.least_pairs < 1:
            raise ValueError(f"least_pairs must be at least 1, not {self.least_pairs}")

    @property
    def bounds(self) -> tuple[float, float]:
        """The ratio's logarithm at or below which, and at or above which, the test ends."""
        return float(np.log(self.beta / (1 - self.alpha))), float(np.log((1 - self.beta) / self.alpha))

    def verdict(self, counts: ArrayLike) -> Verdict:
        """What the pairs so far say, `counts [5]` of them by `PAIR_SCORES`."""
        seen = np.asarray(counts)
        if seen.sum() < self.least_pairs:
            return "open"
        low, high = self.bounds
        ratio = log_likelihood_ratio(seen, expected_score(self.elo_0), expected_score(self.elo_1))
        return "stronger" if ratio >= high else "not stronger" if ratio <= low else "open"


def expected_score(elo: float) -> float:
    """Score of a player who is `elo` points stronger: 1 / (1 + 10^(-elo / 400))."""
    return float(1.0 / (1.0 + 10.0 ** (-elo / 400.0)))


def log_likelihood_ratio(counts: ArrayLike, score_0: float, score_1: float) -> float:
    """The formula above, of pairs `counts [5]`."""
    weights: NDArray[np.float64] = np.asarray(counts, np.float64) + PSEUDO
    pairs = weights.sum()
    mean = float(weights @ PAIR_SCORES / pairs)
    variance = float(weights @ (PAIR_SCORES - mean) ** 2 / pairs)
    return float(pairs * (score_1 - score_0) * (2 * mean - score_0 - score_1) / (2 * variance))
