"""Population metrics: by hand, and against known truths of noisy matches."""

from __future__ import annotations

import numpy as np
import pytest

from league import population


def test_by_hand() -> None:
    returns = np.array([[10, 20, 10, 20], [-4, -6, -8, -2], [0, 1, 0, -1]])
    assert population.population_return(returns) == pytest.approx((15 - 5 + 0) / 3)
    assert population.largest_loss(returns) == 5.0
    # the second opponent is the worst on every half, and every match is read equally often
    assert population.exploitability(returns) == pytest.approx(5.0)
    score = population.score(returns)
    assert score.aggregate == pytest.approx(10 / 3 - 5) and score.matches == 4


def test_the_worst_of_one_half_is_read_on_the_other() -> None:
    """Two opponents that each won one match: the plain maximum sees 2, the halves nothing."""
    returns = np.array([[-4.0, 0.0], [0.0, -4.0]])
    assert population.largest_loss(returns) == 2.0
    assert population.exploitability(returns) == 0.0
    odd = np.array([[-4.0, -4.0, 2.0], [-3.0, 0.0, 0.0]])  # picked by one match each: the first, the first, the second
    assert population.exploitability(odd) == pytest.approx((1 + 1 + 1.5) / 3)


@pytest.mark.parametrize("matches", [2, 10, 50])
def test_noise_alone_is_not_taken_for_exploitability(matches: int) -> None:
    """43 opponents whom nobody exploits, 25.8 per match as random play has it."""
    rng = np.random.default_rng(0)
    tables = rng.normal(0.0, 25.8, (400, 43, matches))
    halves = np.array([population.exploitability(table) for table in tables])
    plain = np.array([population.largest_loss(table) for table in tables])
    assert abs(halves.mean()) < 4 * halves.std() / 20
    assert plain.mean() == pytest.approx(2.2 * 25.8 / np.sqrt(matches), rel=0.05)


def test_a_true_weakness_is_found() -> None:
    """Opponents 3.8 apart in truth: another than the worst may be picked, never a better estimate than the truth."""
    rng = np.random.default_rng(1)
    truth = np.linspace(-60, 100, 43)[:, None]
    found = [population.exploitability(truth + rng.normal(0, 25.8, (43, 200))) for _ in range(200)]
    assert 58.5 < np.mean(found) < 60


@pytest.mark.parametrize(
    "returns", [np.zeros((0, 4)), np.zeros((3, 1)), np.zeros(4), np.array([[0.0, np.nan], [1.0, 2.0]])]
)
def test_tables_that_say_nothing_are_refused(returns: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"wanted returns \[opponents, matches\]|NaN"):
        population.score(returns)


@pytest.mark.parametrize("matches", [2, 3, 8, 41])
def test_halves_are_taken_all_around_the_circle(matches: int) -> None:
    losses = np.random.default_rng(matches).normal(size=(6, matches))
    read = []
    for first in range(matches):
        turned = np.roll(losses, -first, axis=1)
        worst = turned[:, : matches // 2].sum(axis=1).argmax()
        read.append(turned[worst, matches // 2 :].mean())
    assert population.exploitability(-losses) == pytest.approx(np.mean(read))
