"""The one clock: a reverse scan equals a plain loop over lives, in every mode of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marl.returns import lambda_advantages

Row = dict[str, np.ndarray]


def loop_over_lives(row: Row, gamma: float, lambda_: float, wait: float, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition for one row, decision by decision: rewards until the next own decision or the end of the life."""
    steps = len(row["reward"])
    advantage, closed = np.zeros(steps), np.zeros(steps, bool)
    later = 0.0  # advantage of the next own decision
    for t in reversed(range(steps)):
        if not row["acts"][t]:
            continue
        paid, j = 0.0, t
        while True:
            paid += wait ** (j - t) * row["reward"][j]
            if row["ended"][j] or row["acts"][j + 1] or j + 1 == steps:
                break
            j += 1
        closed[t] = (row["ended"][j] or row["acts"][j + 1]) and t < steps - edge
        discount = gamma * wait ** (j - t)
        after = row["bootstrap"][j] if row["ended"][j] else row["value"][j + 1]
        advantage[t] = paid + discount * after - row["value"][t]
        if not row["ended"][j] and j + 1 < steps:
            advantage[t] += lambda_ * discount * later
        later = advantage[t] = advantage[t] if closed[t] else 0.0
    return advantage, closed


def random_row(rng: np.random.Generator, steps: int, acting: float, ending: float) -> Row:
    """Garbage stands wherever nobody may look: values off turn, bootstraps of lives that go on."""
    acts, ended = rng.random(steps + 1) < acting, rng.random(steps) < ending
    terminated = rng.random(steps) < 0.5
    return {
        "reward": rng.normal(size=steps),
        "value": np.where(acts, rng.normal(size=steps + 1), np.nan),
        "acts": acts,
        "ended": ended,
        "bootstrap": np.where(ended, np.where(terminated, 0.0, rng.normal(size=steps)), np.nan),
    }


def scan(rows: list[Row], gamma: float, lambda_: float, wait: float, edge: int = 0) -> tuple[np.ndarray, np.ndarray]:
    arrays = {name: torch.from_numpy(np.stack([row[name] for row in rows], 1)) for name in rows[0]}
    order = ("reward", "value", "bootstrap", "acts", "ended")
    advantage, closed = lambda_advantages(*(arrays[name] for name in order), gamma, lambda_, wait, edge)
    return advantage.numpy(), closed.numpy()


@pytest.mark.parametrize("acting", [1.0, 0.5, 0.15])
@pytest.mark.parametrize("ending", [0.0, 0.1, 0.4])
def test_the_scan_equals_a_loop_over_lives(acting: float, ending: float) -> None:
    rng = np.random.default_rng(int(100 * acting + 10 * ending))
    decisions = 0
    for steps in (1, 2, 7, 30):
        gamma, lambda_ = rng.uniform(0.5, 1), rng.uniform(0, 1)
        for wait in (1.0, gamma):
            edge = int(rng.integers(0, 4)) if acting < 1 else 0
            rows = [random_row(rng, steps, acting, ending) for _ in range(40)]
            advantage, closed = scan(rows, gamma, lambda_, wait, edge)
            for k, row in enumerate(rows):
                wanted, known = loop_over_lives(row, gamma, lambda_, wait, edge)
                use = row["acts"][:-1] & known
                np.testing.assert_array_equal(closed[:, k][row["acts"][:-1]], known[row["acts"][:-1]])
                np.testing.assert_allclose(advantage[use, k], wanted[use], rtol=1e-9, atol=1e-9)
                decisions += int(use.sum())
    assert decisions > 200


def test_garbage_in_the_next_life_does_not_reach_this_one() -> None:
    """Another policy may play the next episode, on values nobody knows: 0 times infinity is NaN."""
    for garbage in (np.nan, np.inf, -np.inf, 1e30):
        value = torch.tensor([1.0, 2.0, 3.0, garbage, garbage])
        acts = torch.tensor([True, False, False, True, True])  # waits when its life ends in step 2
        ended = torch.tensor([False, False, True, False])
        reward = torch.tensor([0.0, 0.0, -1.0, garbage])
        advantage, closed = lambda_advantages(reward, value, torch.zeros(4), acts, ended, 0.9, 0.95, 1.0)
        assert float(advantage[0]) == -2.0
        assert bool(closed[0])


def test_two_episodes_side_by_side_or_one_after_the_other_are_the_same() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        first, second = (random_row(rng, int(rng.integers(1, 9)), 0.6, 0.0) for _ in range(2))
        for row in (first, second):
            row["ended"][-1] = True
            row["bootstrap"][-1] = rng.normal()
        joined = {name: np.concatenate([first[name], second[name]]) for name in ("reward", "ended", "bootstrap")}
        joined |= {name: np.concatenate([first[name][:-1], second[name]]) for name in ("acts", "value")}
        whole, _ = scan([joined], 0.9, 0.8, 0.9)
        parts = [scan([row], 0.9, 0.8, 0.9)[0] for row in (first, second)]
        use = joined["acts"][:-1]
        np.testing.assert_array_equal(whole[use], np.concatenate(parts)[use])


def test_a_rollout_in_two_halves_agrees_where_lambda_is_0() -> None:
    """At a cut the later half only lends its value: with lambda 0 nothing else is needed."""
    row = random_row(np.random.default_rng(1), 6, 1.0, 0.0)
    whole, _ = scan([row], 0.9, 0.0, 0.9)
    for start in (0, 3):
        half = {name: x[start : start + 3 + (len(x) == 7)] for name, x in row.items()}
        np.testing.assert_array_equal(scan([half], 0.9, 0.0, 0.9)[0], whole[start : start + 3])


def one_step(terminated: bool, truncated: bool) -> float:
    """The target of one decision with r = 1, V(final view) = 7, V(next episode's start) = 100, gamma .9."""
    bootstrap = torch.tensor([7.0 if truncated and not terminated else 0.0])
    ended = torch.tensor([terminated or truncated])
    value, acts = torch.tensor([5.0, 100.0]), torch.tensor([True, True])
    advantage, _ = lambda_advantages(torch.tensor([1.0]), value, bootstrap, acts, ended, 0.9, 0.95, 0.9)
    return float(advantage[0]) + 5.0


def test_targets_at_ends() -> None:
    assert one_step(terminated=True, truncated=False) == pytest.approx(1.0)
    assert one_step(terminated=False, truncated=True) == pytest.approx(7.3)
    assert one_step(terminated=True, truncated=True) == pytest.approx(1.0)
    assert one_step(terminated=False, truncated=False) == pytest.approx(91.0)


def test_noughts_and_crosses_by_hand() -> None:
    """Two players take turns and the last mover wins: the loser's last decision is paid -1 on the winner's move."""
    acts = torch.tensor([[True, False], [False, True], [True, False], [False, True]])
    value = torch.where(acts, torch.tensor([[0.5, 0.25]]), torch.nan)
    reward = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]])
    ended = torch.tensor([[False, False], [False, False], [True, True]])
    advantage, closed = lambda_advantages(reward, value, torch.zeros(3, 2), acts, ended, 0.9, 0.5, 1.0)
    winner_last, loser_last = 1.0 - 0.5, -1.0 - 0.25
    assert float(advantage[2, 0]) == pytest.approx(winner_last)
    assert float(advantage[1, 1]) == pytest.approx(loser_last)
    assert float(advantage[0, 0]) == pytest.approx(0.9 * 0.5 - 0.5 + 0.5 * 0.9 * winner_last)
    assert bool(closed.all())


def test_an_open_decision_is_not_closed() -> None:
    acts = torch.tensor([True, False, False])
    arguments = torch.zeros(2), torch.zeros(3), torch.zeros(2), acts, torch.tensor([False, False])
    assert not bool(lambda_advantages(*arguments, 0.9, 0.9, 1.0)[1][0])


def random_turns(rows: int, steps: int, max_wait: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Who decides when, `[steps + 1, rows]`, with random waits; and pay: 1 where the wait is short, as wins are."""
    rng = np.random.default_rng(3)
    acts, paid = np.zeros((40 + steps, rows), bool), np.zeros((40 + steps, rows))
    at = np.zeros(rows, np.int64)
    every = np.arange(rows)
    while at.min() < 30 + steps:
        gap = rng.integers(1, max_wait + 2, rows)
        acts[np.minimum(at, 39 + steps), every] = True
        paid[np.minimum(at + gap - 1, 39 + steps), every] = gap == 1
        at += gap
    return torch.from_numpy(acts[20 : 21 + steps]), torch.from_numpy(paid[20 : 20 + steps])


@pytest.mark.parametrize("lambda_", [0.0, 0.95])
def test_the_edge_is_unbiased_only_if_the_last_waits_merely_lend_their_value(lambda_: float) -> None:
    """At the exact value every decision's advantage is 0 on average, wherever the rollout is cut."""
    max_wait, gamma = 3, 0.5
    acts, paid = random_turns(100_000, 8, max_wait)
    value = torch.full(acts.shape, 1 / (max_wait + 1) / (1 - gamma), dtype=torch.float64)  # V = p + gamma V
    ended = torch.zeros(paid.shape, dtype=torch.bool)
    means = {}
    for edge in (0, max_wait):
        advantage, closed = lambda_advantages(paid, value, paid, acts, ended, gamma, lambda_, 1.0, edge)
        assert edge == 0 or bool(closed[: 8 - edge][acts[: 8 - edge]].all())
        means[edge] = float(advantage[acts[:-1] & closed].mean())
    assert means[0] > 0.02, "the control"
    assert abs(means[max_wait]) < 0.004


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="one row more"):
        flags = torch.zeros(3, dtype=torch.bool)
        lambda_advantages(torch.zeros(3), torch.zeros(3), torch.zeros(3), flags, flags, 0.9, 0.9, 0.9)
