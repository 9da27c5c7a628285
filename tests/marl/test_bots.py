"""Bots in seats: they see the rows that act, and nothing else; their play does not depend on the batch."""

from __future__ import annotations

import numpy as np
import torch

import environments
from marl.acting import View
from marl.bots import BotPolicy
from marl.evaluate import evaluate
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy


def test_only_those_who_act_are_asked() -> None:
    asked = []

    def bot(obs: np.ndarray, mask: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        assert mask is not None
        asked.append((obs.copy(), mask.copy(), noise.copy()))
        return np.arange(1, len(obs) + 1, dtype=np.int32)

    spec = PolicySpec.of(environments.make("board/tictactoe").spec, "player")
    view = View(torch.rand(4, 1, 18), torch.rand(4, 1, 9) > 0.5, torch.tensor([[True], [False], [True], [False]]))
    noise = {"player": torch.rand(4, 1, 1)}
    step = BotPolicy(spec, bot).step({"player": view}, noise)["player"]
    assert step.action.tolist() == [[1], [0], [2], [0]] and step.action.dtype == torch.int32
    assert not step.log_prob.any() and step.log_prob.shape == (4, 1)
    ((obs, mask, drawn),) = asked
    np.testing.assert_array_equal(obs, view.obs[[0, 2], 0])
    np.testing.assert_array_equal(mask, view.action_mask[[0, 2], 0])
    np.testing.assert_array_equal(drawn, noise["player"][[0, 2], 0, 0])
    nobody = View(view.obs, view.action_mask, torch.zeros(4, 1, dtype=torch.bool))
    assert not BotPolicy(spec, bot).step({"player": nobody}, noise)["player"].action.any() and len(asked) == 1


def test_a_bot_is_measured_like_a_policy() -> None:
    name = "board/tictactoe"
    env = environments.make(name, 50, seed=3)
    spec = PolicySpec.of(env.spec, "player")
    perfect = BotPolicy(spec, environments.bot(f"{name}/perfect"))
    assert not evaluate(env, {"player": perfect}, 50, noise_key=1, record=2).returns.any()  # all drawn
    again = evaluate(environments.make(name, 50, seed=3), {"player": perfect}, 50, noise_key=1)
    twice = evaluate(environments.make(name, 25, seed=3), {"player": perfect}, 50, noise_key=1)
    assert again.lengths[:25].tolist() == twice.lengths[:25].tolist()
    by_chance = evaluate(environments.make(name, 50, seed=3), {"player": RandomPolicy(spec)}, 50, noise_key=1)
    assert by_chance.returns.any()
