"""Runs of soft actor-critics: exploring, counting, refusing, kinds of agents together, going on after a stop."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from environments.errors import UsageError
from environments.spec import TeamKind
from environments.vector import StepBuffers, allocate
from marl import policy
from marl.algorithms.sac import SAC
from marl.collector import Collector
from marl.distributions import Categorical
from marl.seats import Seats
from tests.marl.rollouts import GAMES, make, shaken
from tests.marl.soft import SMALL, collect, config_of, learner, ready
from tests.probes.environment import FunctionEnv, Rules

# --- exploring, counting, refusing ----------------------------------------------------------------------------------


def test_it_first_plays_at_random_and_then_by_itself() -> None:
    env = make("toy/meet")
    made = learner(env, "hasac", warmup_steps=96)
    uniform, chosen = [], []
    for number in range(4):
        rollout = collect(env, made, 1)[0]
        group = rollout.groups[made.spec.groups[0].name]
        legal = torch.ones(1) if group.action_mask is None else group.action_mask[:-1].sum(-1)
        acts = group.acting[:-1]
        same = torch.allclose(group.log_prob[acts], -legal.float().log()[acts], atol=1e-5)
        (uniform if made.actor.exploring else chosen).append(same)
        metrics = made.update(rollout, 0.0)
        assert metrics["updates"] == (0 if number == 0 else 4)
        shaken(made.policy, number)
    assert uniform == [True, True] and not any(chosen)


def test_updates_are_as_many_as_steps_make_due() -> None:
    """48 steps a rollout and one update in 20: 2, 2, 3, 2, 3 ... the remainder is not lost."""
    env = make("particle/spread")
    made = learner(env, "hasac", updates_per_step=0.05, warmup_steps=0)
    counts = [int(made.update(rollout, 0.0)["updates"]) for rollout in collect(env, made, 10)]
    assert counts == [2, 2, 3, 2, 3, 2, 2, 3, 2, 3]
    two = make("toy/noughts")  # two teams a copy: a step of the environment is two of seats
    twins = SAC(two.spec, "player", config_of("hasac", updates_per_step=0.05, warmup_steps=0), "agent", 5)
    assert [int(twins.update(rollout, 0.0)["updates"]) for rollout in collect(two, twins, 3)] == [2, 2, 3]


class Endless(Rules):
    """Actions without bounds."""

    actions = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def test_what_it_cannot_do_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match="group 'team': its actions"):
        SAC(FunctionEnv(Endless(), 2).spec, "team", SMALL, "agent", 0)
    with pytest.raises(UsageError, match="agent by agent needs --parameters per_agent"):
        replace(SMALL, parameters="shared")
    with pytest.raises(UsageError, match="group 'cart' has continuous actions"):
        ready("toy/dock", "hasac", expectation="joint")
    with pytest.raises(UsageError, match="buffer_size 20 is less than a rollout"):
        ready("particle/spread", "hasac", buffer_size=20)


# --- kinds of agents together ---------------------------------------------------------------------------------------


class Hint(Rules):
    """The speaker sees a bit and says one; the listener hears it and is paid for a number near 2.5 or -.5."""

    teams = {"speaker": 1, "listener": 1}  # noqa: RUF012
    memory = 2

    def start(self, u: np.ndarray) -> np.ndarray:
        return np.stack([(u[:, 0] < 0.5) * 1.0, np.full(len(u), -1.0)], 1)

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return hidden[:, :, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        second = step[:, None] == 1
        wanted = np.where(hidden[:, :1] > 0, 2.5, -0.5)
        paid = np.where(second, -np.abs(actions[:, 1:] - wanted), 0.0)
        hidden[:, 1] = actions[:, 0]
        return paid, second


class MixedEnv(FunctionEnv):
    """A discrete speaker and a continuous listener, in one team."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(Hint(), num_envs)
        speaker, listener = self.spec.groups
        box = spaces.Box(np.array([-1], np.float32), np.array([3], np.float32))
        groups = replace(speaker, kind="team"), replace(listener, kind="team", action_space=box)
        self.spec = replace(self.spec, groups=groups, kinds=(TeamKind("team", ("speaker", "listener")),))
        self.clock["score"], self._teams = np.zeros((num_envs, 1)), np.zeros(2, np.int64)
        self.buffers = allocate(self.spec, num_envs)
        self._show(self.buffers)

    def step(self, actions: Any, out: StepBuffers | None = None) -> StepBuffers:
        return super().step({"speaker": actions["speaker"], "listener": actions["listener"][..., 0]}, out)


@pytest.mark.parametrize("name", ["masac", "hasac"])
def test_a_discrete_speaker_and_a_continuous_listener_learn_to_talk(name: str, tmp_path: Path) -> None:
    """-1.5 a game is the best without a word; a speaker whose critic does not see the listener often says none."""
    env = MixedEnv(64)
    settings = {
        "hidden": (32,),
        "warmup_steps": 1000,
        "updates_per_step": 0.05,
        "batch_size": 256,
        "buffer_size": 50_000,
        "actor_learning_rate": 3e-3,
        "critic_learning_rate": 1e-2,
        "temperature": 0.1,
        "temperature_learning_rate": 0.0,
        "rollout_length": 8,
    }
    made = SAC(env.spec, "team", config_of(name, **settings), "team_sum", seed=1)
    collector = Collector(env, {"team": Seats.all(made.actor, 64)}, 8, 3)
    while made.updates < 600:
        made.update(collector.collect()["team"], 0.0)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec.box == "squashed"
    listened = Collector(env, {"team": Seats.all(loaded, 64)}, 8, 4).collect()["team"].groups["listener"]
    per_game = float(listened.reward.sum() / (64 * 4))
    assert per_game > -0.75, per_game
    assert set(loaded.act({"speaker_0": np.array([1.0], np.float32)}, greedy=True)) == {"speaker_0"}


@pytest.mark.parametrize("game", list(GAMES))
@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
def test_every_kind_of_agent_can_be_trained(name: str, game: str) -> None:
    env = make(game)
    made = learner(env, name, game, "team_mean" if game != "toy/noughts" else "agent")
    before = [x.clone() for x in made.policy.parameters()]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert all(not torch.equal(x, y) for x, y in zip(before, made.policy.parameters(), strict=True))
    for group in made.spec.groups:
        chosen = made.policy.distribution(
            group, torch.zeros(1, made.spec.members(group), *group.observation_space.shape), None
        )
        if isinstance(chosen, Categorical):
            assert not bool(chosen.probs.isnan().any())
    assert isinstance(made.critic, nn.Module)
