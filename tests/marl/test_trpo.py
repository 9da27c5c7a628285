"""HATRPO, exactly: Fisher's products, the conjugate gradient, the radius held, and one step worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marl.algorithms import on_policy
from marl.algorithms.trpo import TRPO, conjugate_gradient
from marl.buffers import Batch
from marl.config_rollout import TRPOConfig
from tests.marl.rollouts import GAMES, collect, copied, kind_of, make, shaken
from tests.probes.environment import FunctionEnv
from tests.probes.games import Bandit

SMALL = TRPOConfig(hidden=(16,), rollout_length=12, epochs=2, minibatches=3, anneal=False)


def learner(game: str, reward: str = "agent", **more: object) -> TRPO:
    made = TRPO(make(game).spec, kind_of(game), replace(SMALL, **more), reward, 5)
    shaken(made.policy)
    return made


def test_the_conjugate_gradient_solves_as_many_equations_as_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    a, b = root @ root.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(conjugate_gradient(lambda v: a @ v, b, 12), torch.linalg.solve(a, b))
    halfway = conjugate_gradient(lambda v: a @ v, b, 3)
    assert float((a @ halfway - b).norm()) > 1e-3
    assert conjugate_gradient(lambda v: a @ v, torch.zeros(6, dtype=torch.float64), 12).tolist() == [0.0] * 6


@pytest.mark.parametrize("game", GAMES)
def test_the_radius_is_held_on_every_update(game: str) -> None:
    """Of the mean divergence of every agent, measured afterwards and apart; and the surrogate has risen."""
    env, radius = make(game), 0.03
    made = learner(game, "agent" if game == "toy/noughts" else "team_sum", kl_radius=radius, damping=0.0)
    accepted = 0.0
    for _ in range(3):
        rollout = collect(env, {kind_of(game): [made.policy]}, warm=0)[kind_of(game)]
        batch = made.prepare(rollout)
        told = made.update(rollout, 0.0)
        assert 0.0 <= told["divergence_largest"] <= radius
        with torch.no_grad():
            for turn in made.turns:
                moved = torch.where(batch.use[:, turn.columns], divergences(made, batch, turn), 0.0)
                assert float(moved.sum() / batch.use[:, turn.columns].sum().clamp(min=1)) <= radius * 1.001
        accepted += told["accepted"]
        assert told["gain"] >= 0.0
    assert accepted > 0.3  # of three rounds: that steep, some agents find nothing better


def divergences(made: TRPO, batch: Batch, turn: on_policy.Turn) -> Tensor:
    ((group, own, chosen),) = made.chosen(batch, turn)
    return on_policy_divergence(made.earlier(batch, group, own), chosen)


def on_policy_divergence(old, new) -> Tensor:  # type: ignore[no-untyped-def]
    """E_old[log old - log new] by its definition."""
    if hasattr(old, "mean"):
        pair = [torch.distributions.Normal(x.mean, x.log_std.exp()) for x in (old, new)]
        return torch.distributions.kl_divergence(*pair).sum(-1)
    total = torch.zeros(())
    for a, b in zip(getattr(old, "parts", [old]), getattr(new, "parts", [new]), strict=True):
        logs = (a.probs.clamp(min=1e-30).log() - b.probs.clamp(min=1e-30).log()) * a.probs
        total = total + logs.sum(-1)
    return total


def test_one_step_by_hand() -> None:
    """A bandit of two actions and a policy of one difference x of logits: Fisher's matrix is p (1 - p), so the natural
    step is sqrt(2 radius / (p (1 - p))) whatever the size of the gradient, and .8 of it as often as it is too long."""
    env = FunctionEnv(Bandit(), 64)
    config = replace(SMALL, kl_radius=0.001, damping=0.0, hidden=(1,), rollout_length=4, critic="local")
    made = TRPO(env.spec, "team", config, "agent", 0, engine="torch")
    actor = made.policy.actors["team"]
    for weight in actor.weights:
        weight.data.zero_()  # hidden layer says 0: only the last bias decides
    actor.biases[-1].data[0] = torch.tensor([0.7, -0.7])
    rollout = collect(env, {"team": [made.policy]}, 4, warm=0)["team"]
    told = made.update(rollout, 0.0)
    p = 1 / (1 + math.exp(1.4))
    after = float((actor.biases[-1][0, 1] - actor.biases[-1][0, 0]).detach())
    whole = math.sqrt(2 * 0.001 / (p * (1 - p)))
    assert told["backtracks"] <= 1.0
    assert after + 1.4 == pytest.approx(whole * 0.8 ** told["backtracks"], rel=0.01)
    q = 1 / (1 + math.exp(-after))
    assert told["divergence"] == pytest.approx(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)), rel=0.01)


SEEN: list[tuple[Tensor, float]] = []
"""Vectors v and their products v'Fv."""


def looked(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """Look at what the conjugate gradient is handed, and say that nothing is to be done."""
    v = torch.randn(len(b), generator=torch.Generator().manual_seed(1), dtype=b.dtype)
    SEEN.append((v, float(v @ product(v))))
    return torch.zeros_like(b)


def test_fishers_products_are_the_curvature_of_the_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL(old || old + e v) is e^2 v'Fv / 2: what the conjugate gradient is handed, against differences in float64."""
    for game in ("toy/dock", "toy/siege", "particle/spread"):
        made = learner(game, damping=0.0)
        made.policy.double()
        rollout = collect(make(game), {kind_of(game): [made.policy]}, warm=0)[kind_of(game)]
        rollout = copied(rollout, lambda x: x.double() if x.dtype == torch.float32 else x.clone())
        monkeypatch.setattr("marl.algorithms.trpo.conjugate_gradient", looked)
        monkeypatch.setattr("marl.algorithms.trpo.SPARSE", 1)
        batch = made.prepare(rollout)
        for turn in made.turns:
            turn.bind()
            use = batch.use[:, turn.columns]
            made._move(batch, turn, torch.ones(len(batch.seat)))
            start, e = [p.detach().clone() for p in turn.parameters], 1e-3
            first, (v, product) = 0, SEEN[-1]
            for parameter, old in zip(turn.parameters, start, strict=True):
                parameter.data.copy_(old + e * v[first : first + old.numel()].view_as(old))
                first += old.numel()
            with torch.no_grad():
                moved = torch.where(use, divergences(made, batch, turn), 0.0).sum() / use.sum()
            assert float(moved) * 2 / e**2 == pytest.approx(product, rel=0.02), game
            for parameter, old in zip(turn.parameters, start, strict=True):
                parameter.data.copy_(old)


def test_each_turn_begins_at_a_ratio_of_one_and_moves_one_agent() -> None:
    for game in ("toy/siege", "particle/speaker_listener"):
        made = learner(game, "team_sum")
        batch = made.prepare(collect(make(game), {kind_of(game): [made.policy]}, warm=0)[kind_of(game)])
        for turn in made.turns:
            turn.bind()
            with torch.no_grad():
                ratio = (made.evaluate(batch, turn)[0] - batch.log_prob[:, turn.columns])[batch.use[:, turn.columns]]
                assert float(ratio.abs().max()) < 1e-5
                others = [x.clone() for t in made.turns if t is not turn for x in t.parameters]
            assert made._move(batch, turn, torch.ones(len(batch.seat)))["accepted"] == 1.0
            now = [x for t in made.turns if t is not turn for x in t.parameters]
            assert all(torch.equal(a, b) for a, b in zip(others, now, strict=True))


def test_nothing_to_gain_is_nothing_done() -> None:
    """Without any advantage no step is taken, and no bit moves."""
    made = learner("particle/spread", advantage_norm="none")
    batch = made.prepare(collect(make("particle/spread"), {"team": [made.policy]}, warm=0)["team"])
    before = [x.detach().clone() for x in made.policy.acting_parameters()]
    told = made._move(replace(batch, advantage=torch.zeros_like(batch.advantage)), made.turns[0], torch.ones(96))
    assert told["accepted"] == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, made.policy.acting_parameters(), strict=True))
