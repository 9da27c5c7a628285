"""Who plays whom: pure functions from what is known of opponents to probabilities `[K]` of choosing them.

Whatever comes in (nobody played yet, all won, all lost, a single opponent), a distribution comes out: finite, at
least 0, sum 1. An empty list of opponents is the caller's error and a ValueError. Win rates carry a Beta prior, so an
opponent that was never met counts as even and few games count as few.

Sources: Vinyals et al. 2019 (AlphaStar; prioritised fictitious self-play, roles, thresholds), Heinrich et al. 2015
(fictitious self-play), OpenAI et al. 2019 (arXiv:1912.06680; mostly the latest).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PRIOR_GAMES = 2.0
"""Games, half of them won, that every pair is taken to have played before: Beta(1, 1)."""
Weighting = Literal["hard", "variance", "linear", "capped"]

WEIGHTINGS: dict[str, Callable[[Floats], Floats]] = {
    "hard": lambda x: (1.0 - x) ** 2,
    "variance": lambda x: x * (1.0 - x),
    "linear": lambda x: 1.0 - x,
    "capped": lambda x: np.minimum(0.5, 1.0 - x),
}
"""What an opponent counts, by the probability `x` of beating it: hardest ones, equals, or neither too easy."""
assert tuple(WEIGHTINGS) == get_args(Weighting)


def win_rate(score: ArrayLike, games: ArrayLike, prior_games: float = PRIOR_GAMES) -> Floats:
    """Posterior mean of the chance to win, from `score` (wins, draws counting half) in `games`: 1/2 without any."""
    won, played = np.asarray(score, np.float64), np.asarray(games, np.float64)
    if (won < 0).any() or (won > played).any():
        raise ValueError("a score lies between 0 and the number of games")
    rate: Floats = (won + prior_games / 2) / (played + prior_games)
    return rate


def latest(opponents: int) -> Floats:
    """The newest one, opponents being listed from old to new."""
    _some(opponents)
    chosen = np.zeros(opponents)
    chosen[-1] = 1.0
    return chosen


def uniform(opponents: int) -> Floats:
    """All alike: fictitious self-play over snapshots."""
    _some(opponents)
    return np.full(opponents, 1.0 / opponents)


def recent(opponents: int, window: int) -> Floats:
    """The newest `window` alike."""
    _some(opponents)
    if window < 1:
        raise ValueError(f"a window holds at least one opponent, not {window}")
    kept = min(window, opponents)
    return np.append(np.zeros(opponents - kept), uniform(kept))


def mostly_latest(opponents: int, share: float = 0.8) -> Floats:
    """The newest with probability `share`, else one of the older alike."""
    _some(opponents)
    _in_unit(share, "share")
    if opponents == 1:
        return np.ones(1)
    return np.append(np.full(opponents - 1, (1.0 - share) / (opponents - 1)), share)


def pfsp(win_rates: ArrayLike, weighting: Weighting = "hard", floor: float = 0.0) -> Floats:
    """Prioritised fictitious self-play: in proportion to f(probability of beating the opponent).

    `floor` in [0, 1] is the part of the choice that is uniform. Where all weights vanish (all are beaten always), all
    count alike.
    """
    rates = np.asarray(win_rates, np.float64)
    _some(len(rates))
    _in_unit(floor, "floor")
    if not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError("win rates lie in [0, 1]")
    weights = WEIGHTINGS[weighting](rates)
    total = weights.sum()
    even = uniform(len(rates))
    return even if total < 1e-10 else (1 - floor) * weights / total + floor * even


def forgotten(win_rates: ArrayLike, threshold: float = 0.5) -> Floats:
    """Past opponents that are beaten less often than `threshold`, by `pfsp` "hard"; zeros where there is none.

    The caller plays itself when nobody is forgotten.
    """
    rates = np.asarray(win_rates, np.float64)
    lost = rates < threshold
    if not lost.any():
        return np.zeros(len(rates))
    chosen = np.zeros(len(rates))
    chosen[lost] = pfsp(rates[lost], "hard")
    return chosen


def forgettable(win_rates: ArrayLike) -> int:
    """How many of the oldest opponents may have been forgotten: all but the newest ones down a monotone slope.

    A learner beats its older selves more surely than its newer ones; where its rates against past players, from old to
    new, only fall from some place on, nothing is wrong from there on (Vinyals et al. 2019, pseudocode).
    """
    rates = np.asarray(win_rates, np.float64)
    rises = np.flatnonzero(rates[1:] > rates[:-1])
    return int(rises[-1]) + 2 if rises.size else 0


def mix(parts: ArrayLike, distributions: ArrayLike) -> Floats:
    """`sum_b parts[b] * distributions[b]`; a branch of zeros gives its part to the others in proportion.

    ValueError where every branch with a part is empty.
    """
    shares, rows = np.array(parts, np.float64), np.asarray(distributions, np.float64)
    shares = np.where(rows.sum(1) > 0, shares, 0.0)
    if shares.sum() <= 0:
        raise ValueError("no branch has an opponent")
    blend: Floats = (shares / shares.sum()) @ rows
    return blend


def choose(probabilities: ArrayLike, uniform_number: float) -> int:
    """Index drawn by one number in [0, 1): the first whose cumulative probability exceeds it. Never one of chance 0."""
    return int(choose_many(probabilities, [uniform_number])[0])


def choose_many(probabilities: ArrayLike, uniform_numbers: ArrayLike) -> NDArray[np.int64]:
    """`choose` for each of many numbers. ValueError where the probabilities are none."""
    chances = np.asarray(probabilities, np.float64)
    _some(len(chances))
    if not np.isfinite(chances).all() or (chances < 0).any() or abs(chances.sum() - 1.0) > 1e-6:
        raise ValueError("not a distribution")
    possible = np.nonzero(chances)[0]
    edges = np.cumsum(chances[possible])
    place = np.searchsorted(edges, np.asarray(uniform_numbers) * edges[-1], "right")
    chosen: NDArray[np.int64] = possible[np.minimum(place, len(possible) - 1)]
    return chosen


def _some(opponents: int) -> None:
    if opponents < 1:
        raise ValueError("there is no opponent to choose from")


def _in_unit(value: float, name: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} lies in [0, 1], not {value}")
