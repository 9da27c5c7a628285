"""Ratings against open_spiel's solver, and against the laws that running Elo breaks."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from open_spiel.python.algorithms import elo

from league.ratings import ELO, bradley_terry, non_transitivity

scores = st.integers(2, 6).flatmap(lambda n: arrays(np.int64, (n, n), elements=st.integers(0, 30)))


def games(strength: np.ndarray, number: int, seed: int) -> np.ndarray:
    """A table of games between random pairs, decided by the model itself."""
    rng = np.random.default_rng(seed)
    players = len(strength)
    score = np.zeros((players, players))
    for _ in range(number):
        i, j = rng.choice(players, 2, replace=False)
        won = rng.random() < 1 / (1 + np.exp(strength[j] - strength[i]))
        score[(i, j) if won else (j, i)] += 1
    return score


def test_without_a_prior_ratings_are_open_spiels() -> None:
    table = games(np.array([0.0, 0.5, 1.0, -0.7]), 600, seed=1).astype(int)
    wanted = np.asarray(elo.compute_ratings_from_matrices(table, smoothing_factor=0.0))
    found = bradley_terry(table, prior=1e-9).elo
    np.testing.assert_allclose(found, wanted - wanted.mean(), atol=0.01)


@given(scores, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_renaming_players_renames_ratings(table: np.ndarray, random: object) -> None:
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    whole, renamed = bradley_terry(table), bradley_terry(table[np.ix_(order, order)])
    np.testing.assert_allclose(whole.strength[order], renamed.strength, atol=1e-7)
    np.testing.assert_allclose(whole.covariance[np.ix_(order, order)], renamed.covariance, atol=1e-7)


@given(scores)
@settings(max_examples=60, deadline=None)
def test_islands_sum_to_zero_and_everything_is_finite(table: np.ndarray) -> None:
    found = bradley_terry(table)
    assert np.isfinite(found.strength).all() and np.isfinite(found.interval).all()
    for island in np.unique(found.island):
        assert found.strength[found.island == island].sum() == pytest.approx(0.0, abs=1e-9)


def test_three_equals_in_a_circle_are_equal() -> None:
    """20 wins each: running Elo says 1346, 1564 and 1590, or the reverse."""
    circle = 20 * np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(bradley_terry(circle).elo, 0.0, atol=1e-9)


def test_a_player_who_won_everything_has_a_finite_rating_above_all() -> None:
    found = bradley_terry([[0, 50, 50], [0, 0, 25], [0, 25, 0]])
    assert found.elo[0] > 300 and found.elo[1] == pytest.approx(found.elo[2])
    assert found.superiority()[0, 1] > 0.99


def test_players_who_never_met_through_anybody_are_not_comparable() -> None:
    table = np.zeros((5, 5))
    table[0, 1], table[1, 0], table[2, 3] = 3, 1, 2
    found = bradley_terry(table)
    assert found.island[0] == found.island[1] != found.island[2] == found.island[3]
    assert len(set(found.island)) == 3
    superiority = found.superiority()
    assert np.isnan(superiority[0, 2]) and superiority[0, 1] > 0.5 and superiority[4, 4] == 0.5


def test_games_against_oneself_count_for_nothing() -> None:
    table = np.array([[0.0, 6.0], [4.0, 0.0]])
    mirror = table + np.diag([100.0, 3.0])
    np.testing.assert_array_equal(bradley_terry(table).strength, bradley_terry(mirror).strength)


def test_the_first_move_cancels_in_pairs() -> None:
    """Whoever moves first wins always: two equals stay equal."""
    np.testing.assert_allclose(bradley_terry([[0, 50], [50, 0]]).elo, 0.0, atol=1e-9)


def test_intervals_hold_what_they_promise() -> None:
    """Of 95 % intervals on the gaps of strength between 8 players, about 95 % contain the gap."""
    inside, pairs = 0, 0
    for repeat in range(40):
        truth = np.random.default_rng(repeat).normal(size=8)
        found = bradley_terry(games(truth, 1000, repeat + 1000))
        gap = found.strength[:, None] - found.strength - (truth[:, None] - truth)
        variance = np.diag(found.covariance)
        spread = np.sqrt(variance[:, None] + variance - 2 * found.covariance + 1e-12)
        upper = np.triu_indices(8, 1)
        inside += int((np.abs(gap) < 1.96 * spread)[upper].sum())
        pairs += len(upper[0])
    assert 0.93 < inside / pairs < 0.975


def test_two_hundred_players_are_rated_quickly() -> None:
    truth = np.random.default_rng(0).normal(size=200)
    table = games(truth, 20_000, 0)
    started = time.process_time()
    found = bradley_terry(table)
    assert time.process_time() - started < 5.0
    assert np.corrcoef(found.strength, truth)[0, 1] > 0.95
    assert abs(np.log(10) * ELO - 400) < 1e-9


def test_what_no_ranking_explains() -> None:
    rock_paper_scissors = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    strength = np.array([3.0, 1.0, -4.0])
    assert non_transitivity(rock_paper_scissors) == pytest.approx(1.0)
    assert non_transitivity(strength[:, None] - strength) == pytest.approx(0.0, abs=1e-12)
    assert 0.1 < non_transitivity(rock_paper_scissors + (strength[:, None] - strength) / 4) < 0.9
    assert non_transitivity(np.zeros((3, 3))) == 0.0


@pytest.mark.parametrize("table", [[[0, 1]], [[0, -1], [1, 0]], [[0, np.nan], [1, 0]]])
def test_tables_that_are_none_are_refused(table: object) -> None:
    with pytest.raises(ValueError):
        bradley_terry(table)  # type: ignore[arg-type]
