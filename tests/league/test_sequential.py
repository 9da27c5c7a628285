"""The sequential test keeps its promises in simulation, and does not stop after one game."""

from __future__ import annotations

import numpy as np
import pytest

from league.sequential import SPRT, expected_score, log_likelihood_ratio

MOST_PAIRS = 5000


def play(test: SPRT, elo: float, seed: int, draws: float = 0.2) -> tuple[str, int]:
    """Pairs of games of a player `elo` points stronger, until the verdict: (verdict, pairs)."""
    rng = np.random.default_rng(seed)
    score = expected_score(elo)
    chances = [1 - score - draws / 2, draws, score - draws / 2]
    counts = np.zeros(5, np.int64)
    for pair in range(1, MOST_PAIRS + 1):
        counts[rng.choice(3, 2, p=chances).sum()] += 1
        verdict = test.verdict(counts)
        if verdict != "open":
            return verdict, pair
    return "open", MOST_PAIRS


@pytest.mark.parametrize(("elo", "right"), [(0.0, "not stronger"), (70.0, "stronger")])
def test_errors_are_as_rare_as_promised(elo: float, right: str) -> None:
    test = SPRT(0.0, 70.0)
    results = [play(test, elo, seed) for seed in range(300)]
    wrong = np.mean([verdict != right for verdict, _ in results])
    assert wrong < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 300)
    assert 20 < np.median([pairs for _, pairs in results]) < 400


def test_a_lucky_start_is_no_verdict() -> None:
    test = SPRT()
    assert test.verdict([0, 0, 0, 0, 15]) == "open"
    assert test.verdict([0, 0, 0, 0, 60]) == "stronger"
    assert test.verdict([60, 0, 0, 0, 0]) == "not stronger"
    assert test.verdict([0, 0, 0, 0, 0]) == "open"


def test_the_ratio_is_the_formula() -> None:
    counts = np.array([3.0, 10.0, 30.0, 25.0, 12.0]) + 0.2
    scores = np.repeat([0.0, 0.25, 0.5, 0.75, 1.0], 1)
    mean = (counts * scores).sum() / counts.sum()
    variance = (counts * (scores - mean) ** 2).sum() / counts.sum()
    wanted = counts.sum() * 0.1 * (2 * mean - 1.1) / (2 * variance)
    assert log_likelihood_ratio(counts - 0.2, 0.5, 0.6) == pytest.approx(wanted)
    assert expected_score(0) == 0.5 and expected_score(400) == pytest.approx(10 / 11)


@pytest.mark.parametrize("numbers", [
    {"elo_0": 35, "elo_1": 35}, {"alpha": 0.0}, {"beta": 0.5}, {"least_pairs": 0},
    {"elo_1": 1e6}, {"elo_0": float("-inf")}, {"elo_1": float("nan")},
])  # fmt: skip
def test_tests_that_test_nothing_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SPRT(**numbers)  # type: ignore[arg-type]
