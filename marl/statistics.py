"""What several seeds and many episodes say: interquartile mean, bootstrap intervals, probability of improvement.

Agarwal et al. 2021 (arXiv:2108.13264) say why: with a handful of seeds a mean hides one lucky run and a median throws
most of the data away; the interquartile mean is the mean of the middle half of all runs, and an interval from
resampling runs (stratified: within each task) says how far to trust it.

Everything random takes a seed; scores are `[runs, tasks]` or `[runs]` (one task).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
RESAMPLES = 2000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A number and where it may lie."""

    mean: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> NDArray[np.float64]:
    """Mean of the middle half: the sorted values between the quarter and three quarters of their *number*.

    Values at the two cuts count by the part of them that lies inside, so no value is dropped or kept by rounding:
    of 5 values the second and fourth count three quarters each. Over all values, or along one axis.
    """
    values = np.asarray(scores, np.float64)
    if axis is None:
        values, axis = values.reshape(-1), 0
    ordered = np.moveaxis(np.sort(values, axis), axis, -1)
    n = ordered.shape[-1]
    if n == 0:
        raise ValueError("no values")
    edges = np.arange(n + 1)
    inside = np.clip(np.minimum(edges[1:], 0.75 * n) - np.maximum(edges[:-1], 0.25 * n), 0.0, None)
    used = inside > 0
    middle: Scores = (ordered[..., used] * inside[used]).sum(-1) / inside.sum()
    return middle


def stratified_bootstrap(
    statistic: Callable[[Scores], float], scores: ArrayLike, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """`statistic` of the scores `[runs, tasks]`, with the percentile interval over runs resampled within each task.

    Of a single run nothing can be said: the interval is then (-inf, inf).
    """
    table = as_table(scores)
    value = float(statistic(table))
    runs, tasks = table.shape
    if runs < 2:
        return Interval(value, -np.inf, np.inf)
    rng = np.random.default_rng(seed)
    columns = np.arange(tasks)
    drawn = [float(statistic(table[rng.integers(0, runs, (runs, tasks)), columns])) for _ in range(resamples)]
    return _around(value, np.array(drawn))


def iqm(scores: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Interquartile mean over all runs and tasks, with its 95 % stratified bootstrap interval."""
    return stratified_bootstrap(lambda table: float(interquartile_mean(table)), scores, seed, resamples)


def iqm_curve(values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> tuple[Scores, Scores, Scores]:
    """Interquartile mean, low and high at every point of curves `[runs, points]`.

    Whole runs are resampled, the same ones at every point: a run is one draw, not one per point.
    """
    table = np.asarray(values, np.float64)
    runs, points = table.shape
    middle = interquartile_mean(table, 0)
    if runs < 2:
        return middle, np.full(points, -np.inf), np.full(points, np.inf)
    rng = np.random.default_rng(seed)
    drawn = np.stack([interquartile_mean(table[rng.integers(0, runs, runs)], 0) for _ in range(resamples)])
    low, high = percentiles(drawn)
    return middle, low, high


def probability_of_improvement(
    ours: ArrayLike, theirs: ArrayLike, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Chance that a run of ours beats a run of theirs (ties count half), mean over tasks, with its bootstrap interval.

    P(X > Y) = 1 / (n m) sum_ij [x_i > y_j] + [x_i = y_j] / 2; `ours [n, tasks]`, `theirs [m, tasks]`, higher is better.
    """
    x, y = as_table(ours), as_table(theirs)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} tasks against {y.shape[1]}")
    wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])  # [n, m, tasks]
    value = float(wins.mean())
    (n, m, tasks), columns = wins.shape, np.arange(x.shape[1])
    if n < 2 or m < 2:
        return Interval(value, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for k in range(resamples):
        i, j = rng.integers(0, n, (n, 1, tasks)), rng.integers(0, m, (1, m, tasks))
        drawn[k] = wins[i, j, columns].mean()
    return _around(value, drawn)


def mean_interval(values: ArrayLike) -> Interval:
    """Mean of independent values (episodes) with its 95 % interval by Student's t; of one value it is infinite."""
    x = np.asarray(values, np.float64).reshape(-1)
    if x.size == 0:
        raise ValueError("no values")
    mean = float(x.mean())
    if x.size < 2:
        return Interval(mean, -np.inf, np.inf)
    from scipy.special import stdtrit  # a quarter of a second that curves and tables need not wait for

    reach = float(stdtrit(x.size - 1, 0.5 + CONFIDENCE / 2)) * float(x.std(ddof=1)) / np.sqrt(x.size)
    return Interval(mean, mean - float(reach), mean + float(reach))


def percentiles(drawn: Scores) -> tuple[Scores, Scores]:
    """The 2.5 % and 97.5 % points along the first axis."""
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def _around(value: float, drawn: Scores) -> Interval:
    low, high = percentiles(drawn)
    return Interval(value, float(low), float(high))


def as_table(scores: ArrayLike | Sequence[float]) -> Scores:
    """Scores as `[runs, tasks]`, finite. ValueError on anything else."""
    table = np.asarray(scores, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"scores are [runs, tasks], not of shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("a score is not finite")
    return table
