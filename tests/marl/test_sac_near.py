"""Actors' steps that stay near an earlier policy, and agents that count on the answers of those after them."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.errors import UsageError
from environments.vector import Array
from marl.algorithms import sac
from marl.algorithms.sac import SAC, Hopes
from marl.distributions import divergence
from marl.replay_buffer import Views
from tests.marl.remembering import sample_of
from tests.marl.replay import config_of, ready
from tests.probes.environment import Rules
from tests.probes.games import Played, end
from tests.probes.train import Soft


def means(made: SAC, views: Views, acting: Tensor) -> Tensor:
    """Mean divergence `[R]` of each agent's policy from the earlier one."""
    assert made.earlier is not None
    found = []
    for group in made.spec.groups:
        obs, mask = views.obs[group.name], views.action_mask[group.name]
        chosen, before = (each.distribution(group, obs, mask) for each in (made.policy, made.earlier))
        found.append(divergence(chosen, before))
    return torch.where(acting, torch.cat(found, 1).detach(), 0.0).sum(0) / acting.sum(0).clamp(min=1)


@pytest.mark.parametrize(("game", "name"), [("toy/dock", "hasac"), ("toy/siege", "hasac"), ("toy/meet", "masac")])
def test_no_step_leads_further_than_the_radius(game: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    radius, free = 1e-3, []
    for limit in (radius, 1e9):
        made = ready(name, game, "team_mean", kl_radius=limit, actor_learning_rate=0.05, drift_updates=1)
        before = [x.clone() for x in made.policy.acting_parameters()]
        sample = sample_of(made)
        monkeypatch.setattr(made, "_draw", lambda sample=sample: sample)
        made._learn()
        moved = means(made, sample.now, sample.now.acting & sample.use.unsqueeze(1))
        if limit == radius:
            assert float(moved.max()) <= radius and float(moved.min()) > 0
            assert all(not torch.equal(x, y) for x, y in zip(before, made.policy.acting_parameters(), strict=True))
        free.append(float(moved.max()))
    assert free[1] > 2 * radius


def test_a_wide_neighbourhood_changes_no_bit_and_none_at_all_lets_nobody_move(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for changed in ({}, {"kl_radius": 1e9}, {"drift": "none", "drift_weight": 5.0}):
        made = ready("hasac", "toy/dock", "team_mean", **changed)
        for _ in range(3):
            made._learn()
        found.append([*made.policy.acting_parameters(), *made.critic.parameters()])
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))
    still = ready("hasac", "toy/dock", "team_mean", kl_radius=1e-12)
    monkeypatch.setattr(sac, "HALVINGS", 2)
    before = [x.clone() for x in still.policy.acting_parameters()]
    still._learn()
    assert all(torch.equal(x, y) for x, y in zip(before, still.policy.acting_parameters(), strict=True))


@pytest.mark.parametrize("game", ["toy/meet", "toy/siege"])
@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_answers_by_hand(game: str, reward: str) -> None:
    """Joint action by joint action: agents before as they are, those after by the soft maximum over what is legal."""
    made = ready("hasac", game, reward, expectation="joint")
    sample, rows = sample_of(made, 5), 5
    now, critic = sample.now, made.critic
    seen = critic.see(now)
    hopes = Hopes(made, now, seen, critic.tables(seen, now.acting))
    probs = [x.detach() for x in made._values([made._acts(g, now) for g in made.spec.groups], now.acting)]
    owns = [critic.get_buffer(f"joint_{group.name}") for group in critic.members]
    count, temperature = len(owns), torch.tensor([0.7, 0.4, 1.3, 0.9])[: len(owns)]
    table = made._raw(hopes.tables["central"]).detach()
    places = list(itertools.product(*(range(len(own)) for own in owns)))

    def legal(agent: int, k: int, row: int) -> bool:
        group, i = made.agents[agent]
        mask = now.action_mask[group.name]
        return mask is None or bool(mask[row, i][owns[agent][k].bool()].all())

    def weight(agent: int, k: int, row: int) -> float:
        sizes = [len(p) for p in torch.split(probs[agent][row], _sizes(critic.members[agent].action_space))]
        parts = zip(torch.split(probs[agent][row], sizes), torch.split(owns[agent][k], sizes), strict=True)
        return math.prod(float((p * hot).sum()) for p, hot in parts)

    for agent, later in ((0, list(range(1, count))), (count - 1, [0]), (1, [])):
        column = agent if critic.rows > 1 else 0

        def value(row: int, fixed: dict[int, int], agents: list[int], column: int = column) -> float:
            if not agents:
                place = places.index(tuple(fixed[i] for i in range(count)))
                return float(table[row, place, column])
            first, *rest = agents
            each = {k: value(row, {**fixed, first: k}, rest) for k in range(len(owns[first]))}
            if first not in later:  # noqa: B023
                return sum(weight(first, k, row) * x for k, x in each.items())
            alpha = float(temperature[first])
            return alpha * math.log(sum(math.exp(x / alpha) for k, x in each.items() if legal(first, k, row)))

        before = [i for i in range(count) if i not in later]
        found = hopes.answered(agent, probs, later, temperature)
        wanted = [value(row, {}, [*before, *later]) for row in range(rows)]
        torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(hopes.answered(1, probs, [], temperature), hopes.of_one(1, probs, None))


def _sizes(space: spaces.Space) -> list[int]:
    return np.atleast_1d(space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n).tolist()  # type: ignore[attr-defined]


class Climbing(Rules):
    """One step of climbing: 11 is best, and who tries for it alone costs both 30."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = spaces.Discrete(3)
    table: ClassVar = np.array([[11.0, -30.0, 0.0], [-30.0, 7.0, 0.0], [0.0, 6.0, 5.0]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return self.table[actions[:, :1], actions[:, 1:]].repeat(2, 1), end(step)


@pytest.mark.parametrize(("later", "best"), [("answering", True), ("present", False)])
def test_who_counts_on_answers_climbs(later: str, best: bool) -> None:
    settings = {"temperature": 2.0, "batch_size": 64, "actor_learning_rate": 5e-3, "critic_learning_rate": 2e-2}
    probe = Soft(Climbing(), "hasac", "team_mean", later_agents=later, fixed_order=True, **settings)
    probe.train(300)
    assert (probe.probabilities()[0].argmax(-1).tolist() == [0, 0]) is best


def test_the_order_is_fixed_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready("hasac", "particle/spread", "team_mean", fixed_order=True)
    stepped: list[str] = []
    step = made._step
    monkeypatch.setattr(made, "_step", lambda name, *rest, **more: (stepped.append(name), step(name, *rest, **more))[1])
    for _ in range(4):
        made._learn()
    assert [name for name in stepped if name.startswith("actor")] == ["actor_0", "actor_1", "actor_2"] * 4


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="--expectation joint"):
        ready("hasac", "toy/dock", later_agents="answering")
    with pytest.raises(UsageError, match="nobody is later"):
        config_of("masac", later_agents="answering")
    with pytest.raises(UsageError, match="kl_radius must be above 0"):
        config_of("hasac", kl_radius=0.0)
