"""Meta-solvers against known equilibria, a slow reference of their own definition, and open_spiel's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from open_spiel.python.algorithms import projected_replicator_dynamics, regret_matching
from open_spiel.python.egt import alpharank

from league import metagame

ROCK_PAPER_SCISSORS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
CHICKEN = [np.array([[0.0, 7.0], [2.0, 6.0]]), np.array([[0.0, 2.0], [7.0, 6.0]])]

tables = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-100, 100).map(lambda x: round(x, 3)))
)


@given(tables)
@settings(max_examples=150, deadline=None)
def test_nobody_gains_by_leaving_a_nash_equilibrium(payoff: np.ndarray) -> None:
    found = metagame.nash(payoff)
    for mixture in (found.row, found.column):
        assert mixture.sum() == pytest.approx(1.0) and (mixture >= 0).all()
    assert found.row @ payoff @ found.column == pytest.approx(found.value, abs=1e-6)
    assert (payoff @ found.column).max() <= found.value + 1e-6
    assert (found.row @ payoff).min() >= found.value - 1e-6


def test_nash_of_rock_paper_scissors_is_uniform() -> None:
    found = metagame.nash(ROCK_PAPER_SCISSORS)
    np.testing.assert_allclose(found.row, 1 / 3, atol=1e-9)
    np.testing.assert_allclose(found.column, 1 / 3, atol=1e-9)
    assert found.value == pytest.approx(0.0)


@given(arrays(np.float64, st.integers(1, 7), elements=st.floats(-3, 3)), st.sampled_from([0.0, 1e-6, 0.05]))
@settings(max_examples=100, deadline=None)
def test_the_projection_is_the_nearest_mixture(point: np.ndarray, least: float) -> None:
    found = metagame.project(point, least)
    assert found.sum() == pytest.approx(1.0) and (found >= least - 1e-12).all()
    rng = np.random.default_rng(0)
    others = rng.dirichlet(np.ones(len(point)), 200) * (1 - len(point) * least) + least
    assert (np.linalg.norm(found - point) <= np.linalg.norm(others - point, axis=1) + 1e-9).all()


def test_replicator_dynamics_are_open_spiels() -> None:
    found = metagame.projected_replicator_dynamics(CHICKEN, iterations=2000)
    wanted = projected_replicator_dynamics.projected_replicator_dynamics(CHICKEN, prd_iterations=2000)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_regret_matching_is_open_spiels() -> None:
    table = np.array([[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-2.0, 1.0, 0.0]])
    payoffs = [table, -table]
    found = metagame.regret_matching(payoffs, iterations=5000)
    wanted = regret_matching.regret_matching(payoffs, iterations=5000)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert metagame.exploitability(payoffs, found) < 0.02


@pytest.mark.parametrize("solve", [metagame.projected_replicator_dynamics, metagame.regret_matching])
def test_learning_solvers_reach_an_equilibrium(solve: object) -> None:
    payoffs = [ROCK_PAPER_SCISSORS, -ROCK_PAPER_SCISSORS]
    biased = [np.diag([1.0, 2.0, 3.0]), -np.diag([1.0, 2.0, 3.0])]
    for game in (payoffs, biased):
        mixtures = solve(game, iterations=20_000)  # type: ignore[operator]
        assert metagame.exploitability(game, mixtures) < 0.05


@pytest.mark.parametrize("alpha", [0.01, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_rank_is_open_spiels(alpha: float, seed: int) -> None:
    payoff = np.random.default_rng(seed).normal(size=(5, 5))
    _, _, wanted, _, _ = alpharank.compute([payoff], m=50, alpha=alpha)
    np.testing.assert_allclose(metagame.alpha_rank(payoff, alpha), wanted, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e2, 1e3, 1e6])
def test_alpha_rank_is_finite_at_any_alpha(alpha: float) -> None:
    np.testing.assert_allclose(metagame.alpha_rank(ROCK_PAPER_SCISSORS, alpha), 1 / 3, atol=1e-9)
    ranked = np.sign(np.arange(6)[:, None] - np.arange(6.0))  # a higher number beats a lower one
    found = metagame.alpha_rank(ranked, alpha)
    assert np.isfinite(found).all() and found[-1] == pytest.approx(1.0)
    np.testing.assert_allclose(metagame.alpha_rank(np.zeros((4, 4)), alpha), 0.25, atol=1e-9)


def test_the_fixation_of_a_mutant() -> None:
    u, m = np.array([-2.0, -0.1, 0.0, 1e-16, 0.3, 2.0]), 20
    found = metagame.fixation(u, m)
    for value, rho in zip(u, found, strict=True):
        wanted = 1 / m if abs(value) < 1e-14 else (1 - np.exp(-value)) / (1 - np.exp(-m * value))
        assert rho == pytest.approx(wanted, rel=1e-9)


def test_rectified_opponents_are_those_that_are_not_lost_to() -> None:
    mixture = np.full(3, 1 / 3)
    rock, paper, scissors = metagame.rectified(ROCK_PAPER_SCISSORS, mixture)
    np.testing.assert_allclose(rock, [0.5, 0.0, 0.5])
    np.testing.assert_allclose(paper, [0.5, 0.5, 0.0])
    np.testing.assert_allclose(scissors, [0.0, 0.5, 0.5])
    np.testing.assert_allclose(metagame.rectified([[-1.0, -1.0], [1.0, 0.0]], [0.5, 0.5])[0], [0.5, 0.5])


def test_exploitability_is_what_best_responses_gain() -> None:
    payoffs = [ROCK_PAPER_SCISSORS, -ROCK_PAPER_SCISSORS]
    rock = np.array([1.0, 0.0, 0.0])
    assert metagame.exploitability(payoffs, [rock, rock]) == pytest.approx(1.0)
    assert metagame.exploitability(payoffs, [np.full(3, 1 / 3)] * 2) == pytest.approx(0.0)
    three = [np.random.default_rng(player).normal(size=(2, 3, 2)) for player in range(3)]
    mixtures = [np.array([0.3, 0.7]), np.array([0.2, 0.5, 0.3]), np.array([0.9, 0.1])]
    gains = []
    for player, table in enumerate(three):
        earned = np.zeros(table.shape[player])
        for where in np.ndindex(table.shape):
            chance = np.prod([mixtures[other][where[other]] for other in range(3) if other != player])
            earned[where[player]] += chance * table[where]
        gains.append(earned.max() - mixtures[player] @ earned)
    assert metagame.exploitability(three, mixtures) == pytest.approx(np.mean(gains))


@pytest.mark.parametrize("payoff", [np.zeros((0, 3)), [[np.nan]], [1.0, 2.0], [[np.inf, 0.0]]])
def test_tables_that_cannot_be_solved_are_refused(payoff: object) -> None:
    with pytest.raises(ValueError, match="payoff"):
        metagame.nash(payoff)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        metagame.alpha_rank(np.zeros((2, 3)))
