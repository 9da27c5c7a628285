"""n-step returns and V-trace: their definitions, decision by decision, and GAE where that is what they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marl.algorithms.ppo import PPO
from marl.returns import lambda_advantages, step_advantages, vtrace
from tests.marl.rollouts import SMALL, collect, copied, kind_of, make, shaken
from tests.marl.test_returns import random_row

GAMMA, LAMBDA, WAIT = 0.9, 0.7, 0.8


def rows_of(rng: np.random.Generator, steps: int, rows: int, edge: int) -> dict[str, np.ndarray]:
    """Rows that wait no longer than `edge` steps, or all act."""
    drawn = [random_row(rng, steps, 0.6 if edge else 1.0, 0.2) for _ in range(rows)]
    return {name: np.stack([row[name] for row in drawn], 1) for name in drawn[0]}


def tensors(rows: dict[str, np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(np.asarray(rows[name])) for name in ("reward", "value", "bootstrap", "acts", "ended")]


def decisions(row: dict[str, np.ndarray], edge: int) -> list[dict[str, Any]]:
    """A row's own decisions in order: when, what each was wrong by and its discount, and whether a life ended there."""
    steps, found = len(row["reward"]), []
    for t in range(steps):
        if not row["acts"][t]:
            continue
        paid, j = 0.0, t
        while True:
            paid += WAIT ** (j - t) * row["reward"][j]
            if row["ended"][j] or row["acts"][j + 1] or j + 1 == steps:
                break
            j += 1
        known = bool(row["ended"][j] or row["acts"][j + 1]) and t < steps - edge
        discount = GAMMA * WAIT ** (j - t)
        then = row["bootstrap"][j] if row["ended"][j] else row["value"][j + 1]
        error = paid + discount * then - row["value"][t]
        found.append({"t": t, "error": error, "discount": discount, "end": bool(row["ended"][j]), "closed": known})
    return found


@pytest.mark.parametrize("edge", [0, 3])
@pytest.mark.parametrize("ahead", [1, 2, 5, 100])
def test_steps_ahead_are_counted_one_by_one(ahead: int, edge: int) -> None:
    rng = np.random.default_rng(ahead + edge)
    checked = 0
    for _ in range(20):
        rows = rows_of(rng, 14, 3, edge)
        advantage, closed = step_advantages(*tensors(rows), GAMMA, ahead, WAIT, edge)
        for k in range(3):
            own = decisions({name: array[:, k] for name, array in rows.items()}, edge)
            for i, first in enumerate(own):
                assert bool(closed[first["t"], k]) == first["closed"]
                total, weight = 0.0, 1.0
                for later in own[i : i + ahead]:
                    if not later["closed"]:
                        break  # beyond the edge a decision lends its value alone
                    total += weight * later["error"]
                    weight *= later["discount"]
                    if later["end"]:
                        break
                assert float(advantage[first["t"], k]) == pytest.approx(total, rel=1e-5, abs=1e-5)
                checked += 1
    assert checked > 300


@pytest.mark.parametrize("clips", [(1.0, 1.0), (2.0, 0.5), (0.3, 100.0)])
@pytest.mark.parametrize("edge", [0, 3])
def test_vtrace_is_its_published_recursion(edge: int, clips: tuple[float, float]) -> None:
    """v_t = V_t + rho_t delta_t + d_t c_t (v' - V'), from the last decision to the first."""
    rng = np.random.default_rng(edge)
    checked = 0
    for _ in range(20):
        rows = rows_of(rng, 14, 3, edge)
        log_rho = rng.normal(size=(14, 3))
        gain, short, closed = vtrace(
            *tensors(rows), torch.from_numpy(log_rho), GAMMA, LAMBDA, WAIT, clips[0], clips[1], edge
        )
        for k in range(3):
            row = {name: array[:, k] for name, array in rows.items()}
            later = 0.0  # v - V of the next own decision
            for one in reversed(decisions(row, edge)):
                t, ratio = one["t"], np.exp(log_rho[one["t"], k])
                assert bool(closed[t, k]) == one["closed"]
                if not one["closed"]:
                    later = 0.0
                    continue
                then = 0.0 if one["end"] else later
                wanted = min(clips[0], ratio) * one["error"]
                wanted += one["discount"] * LAMBDA * min(clips[1], ratio) * then
                assert float(gain[t, k]) == pytest.approx(one["error"] + one["discount"] * then, rel=1e-5, abs=1e-5)
                assert float(short[t, k]) == pytest.approx(wanted, rel=1e-5, abs=1e-5)
                later = wanted
                checked += 1
    assert checked > 200


@pytest.mark.parametrize("edge", [0, 3])
def test_where_policies_agree_vtrace_is_gae(edge: int) -> None:
    rng = np.random.default_rng(7)
    rows = tensors(rows_of(rng, 30, 20, edge))
    wanted, closed = lambda_advantages(*rows, GAMMA, LAMBDA, WAIT, edge)
    gain, short, also = vtrace(*rows, torch.zeros(30, 20), GAMMA, LAMBDA, WAIT, 1.0, 1.0, edge)
    use = rows[3][:-1] & closed
    assert torch.equal(closed, also)
    torch.testing.assert_close(short[use], wanted[use])
    after, _, _ = vtrace(*rows, torch.zeros(30, 20), GAMMA, 1.0, WAIT, 1.0, 1.0, edge)
    far, _ = step_advantages(*rows, GAMMA, 30, WAIT, edge)  # as many as there are: lambda 1
    torch.testing.assert_close(after[use], far[use], rtol=1e-4, atol=1e-5)
    assert float((gain - short)[use].abs().max()) > 0.01  # with lambda below 1 the two are not the same


@pytest.mark.parametrize("reward", ["agent", "team_sum"])
@pytest.mark.parametrize("game", ["toy/siege", "toy/noughts", "particle/speaker_listener", "particle/spread"])
def test_a_learner_corrects_for_who_acted(game: str, reward: str) -> None:
    """Of its own rollout it learns what GAE says, of another policy's something else."""
    env = make(game)
    reward = "agent" if game == "toy/noughts" else reward
    made = {}
    for returns in ("gae", "vtrace"):
        config = replace(SMALL, returns=returns, gae_lambda=1.0, value_norm=False, advantage_norm="none")
        made[returns] = PPO(env.spec, kind_of(game), config, reward, 5)
        shaken(made[returns].policy)
    rollout = collect(env, {kind_of(game): [made["gae"].policy]})[kind_of(game)]
    gae, own = (made[name].prepare(copied(rollout)) for name in ("gae", "vtrace"))
    torch.testing.assert_close(own.advantage[own.use], gae.advantage[gae.use], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(own.target[own.use_value], gae.target[gae.use_value], rtol=1e-3, atol=1e-4)
    made["vtrace"].policy.load_state_dict(shaken(made["gae"].policy, 4).state_dict())
    other = made["vtrace"].prepare(copied(rollout))
    assert float((other.target - own.target)[own.use_value].abs().max()) > 0.01
    assert bool(torch.isfinite(other.target[other.use_value]).all())


def test_returns_of_an_older_policy_are_valued_as_the_present_one_would_earn() -> None:
    """One step, two actions that pay 0 and 1, played evenly: who now plays the second 9 times in 10 is worth .9.

    With weights 1.8 and .2, unclipped, the mean target of values that are right (V = .9) is .9; uncorrected it is .5.
    """
    plays = 4000
    action = torch.arange(plays) % 2
    value = torch.full((2, plays), 0.9)
    ends = torch.ones(1, plays, dtype=torch.bool)
    log_rho = torch.tensor([0.1 / 0.5, 0.9 / 0.5]).log()[action].unsqueeze(0)
    rows = (action.float().unsqueeze(0), value, torch.zeros(1, plays), torch.ones(2, plays, dtype=torch.bool), ends)
    _, short, _ = vtrace(*rows, log_rho, 1.0, 1.0, 1.0, 10.0, 10.0)
    assert float((short + 0.9).mean()) == pytest.approx(0.9, abs=1e-4)
    plain, _ = lambda_advantages(*rows, 1.0, 1.0, 1.0)
    assert float((plain + 0.9).mean()) == pytest.approx(0.5, abs=1e-4)
