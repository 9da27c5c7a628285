"""Matchmaking: always a distribution, and the intended one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from league import matchmaking
from league.matchmaking import WEIGHTINGS, Weighting

rates = st.lists(st.floats(0, 1), min_size=1, max_size=8)
edges = [[0.0], [1.0], [0.5], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0] * 5]


def is_distribution(found: np.ndarray) -> bool:
    return bool(np.isfinite(found).all() and (found >= 0).all() and abs(found.sum() - 1) < 1e-9)


@given(rates, st.sampled_from(list(WEIGHTINGS)), st.floats(0, 1))
def test_pfsp_is_a_distribution(row: list[float], weighting: Weighting, floor: float) -> None:
    found = matchmaking.pfsp(row, weighting, floor)
    assert is_distribution(found)
    assert (found >= floor / len(row) - 1e-12).all()


@pytest.mark.parametrize("row", edges)
@pytest.mark.parametrize("weighting", list(WEIGHTINGS))
def test_edges_do_not_break_it(row: list[float], weighting: Weighting) -> None:
    assert is_distribution(matchmaking.pfsp(row, weighting))


def test_the_published_weights() -> None:
    row = [0.1, 0.5, 0.9]
    for weighting, wanted in {
        "hard": [0.81, 0.25, 0.01],
        "variance": [0.09, 0.25, 0.09],
        "linear": [0.9, 0.5, 0.1],
        "capped": [0.5, 0.5, 0.1],
    }.items():
        np.testing.assert_allclose(matchmaking.pfsp(row, weighting), np.array(wanted) / sum(wanted))  # type: ignore[arg-type]


@pytest.mark.parametrize("opponents", [1, 2, 5])
def test_simple_rules(opponents: int) -> None:
    for found in (
        matchmaking.latest(opponents),
        matchmaking.uniform(opponents),
        matchmaking.recent(opponents, 2),
        matchmaking.mostly_latest(opponents, 0.8),
    ):
        assert len(found) == opponents and is_distribution(found)
    assert matchmaking.latest(opponents)[-1] == 1.0
    np.testing.assert_allclose(matchmaking.recent(5, 2), [0, 0, 0, 0.5, 0.5])
    np.testing.assert_allclose(matchmaking.mostly_latest(5, 0.8), [0.05] * 4 + [0.8])


def test_nobody_to_choose_from_is_said() -> None:
    for rule in (matchmaking.latest, matchmaking.uniform, matchmaking.mostly_latest):
        with pytest.raises(ValueError, match="no opponent"):
            rule(0)
    with pytest.raises(ValueError, match="no opponent"):
        matchmaking.pfsp([])
    with pytest.raises(ValueError, match="no branch"):
        matchmaking.mix([0.5, 0.5], [[0.0, 0.0], [0.0, 0.0]])


def test_forgotten_are_those_that_win_again() -> None:
    np.testing.assert_allclose(matchmaking.forgotten([0.9, 0.2, 0.8, 0.4]), [0, 0.64, 0, 0.36])
    np.testing.assert_array_equal(matchmaking.forgotten([0.9, 0.8]), [0, 0])


def test_an_empty_branch_gives_its_part_away() -> None:
    itself, past, nobody = [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]
    np.testing.assert_allclose(matchmaking.mix([0.35, 0.5, 0.15], [itself, past, itself]), [0.5, 0.25, 0.25])
    found = matchmaking.mix([0.35, 0.5, 0.15], [itself, past, nobody])
    np.testing.assert_allclose(found, np.array([0.35, 0.25, 0.25]) / 0.85)


def test_few_games_say_little() -> None:
    np.testing.assert_allclose(matchmaking.win_rate([0, 1, 10, 0], [0, 1, 10, 10]), [0.5, 2 / 3, 11 / 12, 1 / 12])
    with pytest.raises(ValueError):
        matchmaking.win_rate([2.0], [1.0])


def test_what_is_chosen_follows_the_distribution() -> None:
    wanted = matchmaking.pfsp([0.1, 0.5, 1.0, 0.7])
    draws = np.random.default_rng(0).random(20_000)
    seen = np.bincount([matchmaking.choose(wanted, draw) for draw in draws], minlength=4)
    assert seen[2] == 0
    kept = wanted > 0
    assert chisquare(seen[kept], wanted[kept] * len(draws)).pvalue > 1e-3


def test_the_last_draw_still_chooses_somebody() -> None:
    for chances in ([1.0, 0.0], [0.0, 1.0], [0.1] * 10):
        for draw in (0.0, 0.5, np.nextafter(1.0, 0.0)):
            assert chances[matchmaking.choose(chances, float(draw))] > 0
    with pytest.raises(ValueError, match="distribution"):
        matchmaking.choose([np.nan, 1.0], 0.5)


@pytest.mark.parametrize("call", [
    lambda: matchmaking.recent(3, 0),
    lambda: matchmaking.mostly_latest(3, 1.5),
    lambda: matchmaking.pfsp([1.5]),
    lambda: matchmaking.pfsp([np.nan]),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]
