"""What learners from a replay buffer expect stands in replays: as they compute it themselves, also from a file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marl import policy as policies
from marl.acting import View
from marl.algorithms.off_policy import OffPolicy
from marl.algorithms.q_learning import QLearning
from marl.evaluate import evaluate
from marl.replay_buffer import Sample, Views
from tests.marl.replay import ready
from tests.marl.rollouts import make

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("hasac", "toy/siege", "team_mean", {"value_norm": True}),
    ("isac", "toy/dock", "agent", {"critic_network": "droq"}),
    ("masac", "toy/dock", "agent", {}),  # agents are told of the state each in its own way
    ("hasac", "toy/noughts", "agent", {"critic_network": "simba", "hidden": (8, 8)}),
    ("hatd3", "perilous", "agent", {"value_norm": True}),
    ("iql", "toy/siege", "agent", {}),
    ("qmix", "toy/meet", "team_sum", {"value_norm": True}),
]


def learnt(case: tuple[str, str, str, dict[str, Any]]) -> OffPolicy:
    name, game, reward, changed = case
    made: OffPolicy = ready(name, game, reward, **changed)
    for _ in range(2):
        made._learn()
    return made


def seen(made: OffPolicy) -> tuple[dict[str, View], Tensor, Views]:
    """Views of all seats at once."""
    rows = made.buffer._views(torch.arange(2 * made.buffer.seats)[: made.buffer.seats])
    first, shown = 0, {}
    for group in made.spec.groups:
        last = first + made.spec.members(group)
        shown[group.name] = View(rows.obs[group.name], rows.action_mask[group.name], rows.acting[:, first:last])
        first = last
    return shown, rows.state, rows


@torch.no_grad()
def expected(made: OffPolicy, views: Views) -> Tensor:
    """What the learner's own functions say of the likeliest actions."""
    if isinstance(made, QLearning):
        best = {group.name: made._best(made.policy, group, views) for group in made.spec.groups}
        return made._raw(made._mixed(made.mixer, made._values(made.policy, views, best), views))
    actions = {}
    for group in made.spec.groups:
        actions[group.name] = made.policy.distribution(
            group, views.obs[group.name], views.action_mask[group.name]
        ).mode()
    made.critic.draw_from(None)
    sample = Sample(views.seat > -1, views, actions, *[views.state] * 2, views, views.seat)
    told: Tensor = made._raw(made.critic(made.critic.see(views), made._remembered(sample)).amin(0))
    made.critic.draw_from(made.generators["dropout"])
    return told


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{case[2]}")
def test_a_policy_tells_what_its_learner_expects(case: tuple, tmp_path: Path) -> None:
    made = learnt(case)
    shown, state, views = seen(made)
    wanted = expected(made, views)
    assert float(wanted.std()) > 0
    made.policy.save(tmp_path / "p.safetensors")
    loaded = policies.load(tmp_path / "p.safetensors")
    before = {name: generator.get_state() for name, generator in made.generators.items()}
    for policy in (made.policy, copy.deepcopy(made.policy), loaded):
        told = torch.cat([value for _, value in policy.explain(shown, state).values()], 1)
        torch.testing.assert_close(told, wanted.expand_as(told), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[name], each.get_state()) for name, each in made.generators.items())
    state_names = made.policy.state_dict().keys()
    assert not any(name.startswith("judge") for name in state_names)  # it is saved and stepped once, with its learner
    assert len(list(made.policy.parameters())) == len(list(loaded.parameters()))


@pytest.mark.parametrize("case", [CASES[2], CASES[6]], ids=lambda case: f"{case[1]}-{case[2]}")
def test_replays_hold_it(case: tuple) -> None:
    made = learnt(case)
    env = make(case[1], 2)
    (replay,) = evaluate(env, {"team": made.policy}, 2, 5, greedy=True, record=1).replays
    for track in replay.groups.values():
        assert np.isfinite(track.value[track.acting]).all()
