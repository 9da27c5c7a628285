"""Statistics against slow, literal references."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from marl import statistics


def slow_iqm(values: list[float]) -> float:
    """Every value repeated four times; the middle half of that list is a whole number of entries."""
    repeated = sorted(v for v in values for _ in range(4))
    n = len(values)
    return sum(repeated[n : 3 * n]) / (2 * n)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 13])
def test_interquartile_mean_is_the_middle_half(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    assert statistics.interquartile_mean(values) == pytest.approx(slow_iqm(values.tolist()), abs=1e-12)
    table = np.stack([values, values[::-1] * 2])
    along = statistics.interquartile_mean(table, 1)
    assert along == pytest.approx([slow_iqm(row.tolist()) for row in table])


def test_interquartile_mean_ignores_one_wild_run_of_five() -> None:
    assert statistics.interquartile_mean([1.0, 2.0, 3.0, 4.0, 1e9]) == pytest.approx((0.75 * 2 + 3 + 0.75 * 4) / 2.5)


def test_interquartile_mean_keeps_infinities_out_of_the_tails() -> None:
    assert statistics.interquartile_mean([-np.inf, 1.0, 2.0, np.inf]) == 1.5


def test_bootstrap_matches_the_enumeration_of_all_resamples() -> None:
    scores = [1.0, 4.0, 9.0, 2.0, 7.0]
    means = [np.mean(drawn) for drawn in itertools.product(scores, repeat=5)]
    low, high = np.quantile(means, [0.025, 0.975])
    found = statistics.stratified_bootstrap(lambda t: float(t.mean()), scores, resamples=20000)
    assert found.mean == pytest.approx(4.6)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15)


def test_bootstrap_resamples_within_each_task() -> None:
    scores = np.array([[0.0, 100.0]] * 4)  # no spread within a task: the interval has no width
    assert statistics.iqm(scores) == (50.0, 50.0, 50.0)
    mixed = statistics.iqm(scores.reshape(-1))
    assert mixed.high - mixed.low > 50


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        found = statistics.iqm(rng.normal(3.0, 2.0, (10, 4)), seed=trial, resamples=200)
        inside += found.low <= 3.0 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_seed_repeats_and_another_differs() -> None:
    scores = np.random.default_rng(1).normal(size=(5, 3))
    assert statistics.iqm(scores, seed=1) == statistics.iqm(scores, seed=1)
    assert statistics.iqm(scores, seed=1) != statistics.iqm(scores, seed=2)


def test_one_run_says_nothing_of_the_spread() -> None:
    assert statistics.iqm([5.0]) == (5.0, -math.inf, math.inf)
    assert statistics.mean_interval([5.0]) == (5.0, -math.inf, math.inf)
    middle, low, high = statistics.iqm_curve([[1.0, 2.0]])
    assert middle.tolist() == [1.0, 2.0] and np.isneginf(low).all() and np.isposinf(high).all()


def test_curve_resamples_whole_runs() -> None:
    rng = np.random.default_rng(2)
    runs = rng.normal(size=(6, 1)) + np.zeros((6, 40))  # six flat curves
    middle, low, high = statistics.iqm_curve(runs, seed=3)
    assert middle == pytest.approx(np.full(40, slow_iqm(runs[:, 0].tolist())))
    assert np.ptp(low) < 1e-12 and np.ptp(high) < 1e-12  # resampled point by point they would differ
    assert low[0] < middle[0] < high[0]


def test_probability_of_improvement_counts_pairs() -> None:
    ours, theirs = [1.0, 2.0, 3.0], [2.0, 0.0]
    pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x in ours for y in theirs]
    found = statistics.probability_of_improvement(ours, theirs)
    assert found.mean == pytest.approx(np.mean(pairs))
    assert found.low <= found.mean <= found.high
    back = statistics.probability_of_improvement(theirs, ours)
    assert found.mean + back.mean == pytest.approx(1.0)
    assert statistics.probability_of_improvement([3.0, 4.0], [1.0, 2.0]) == (1.0, 1.0, 1.0)
    two_tasks = statistics.probability_of_improvement([[3.0, 0.0]] * 2, [[1.0, 1.0]] * 2)
    assert two_tasks == (0.5, 0.5, 0.5)


def test_mean_interval_is_students() -> None:
    values = np.random.default_rng(4).normal(size=12)
    reference = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert statistics.mean_interval(values) == pytest.approx((values.mean(), *reference))


def test_nonsense_is_refused() -> None:
    for bad in ([], [[[1.0]]], [float("nan")]):
        with pytest.raises(ValueError, match=r"scores|finite"):
            statistics.iqm(bad)
    with pytest.raises(ValueError, match="tasks against"):
        statistics.probability_of_improvement([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="no values"):
        statistics.mean_interval([])
