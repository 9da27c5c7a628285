"""Probes written once for every core of learners: the same game, the same number, whoever learns.

One learner of each core; all of them with `PROBES=all` in the environment.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.vector import Array
from marl.algorithms.off_policy import OffPolicy
from marl.buffers import Rollout
from marl.config import ALGORITHMS
from marl.evaluate import evaluate
from tests.probes import games, table, test_ddpg, test_q_learning, test_sac, train
from tests.probes.environment import FunctionEnv, Rules
from tests.probes.games import Played, end
from tests.probes.test_on_policy import OTHERS
from tests.probes.test_ppo import Exploiter, near

CORES: dict[str, list[str]] = {
    "ppo": ["mappo", "ippo", *OTHERS],
    "sac": ["hasac", "masac", "isac"],
    "ddpg": ["hatd3", "matd3", "haddpg", "maddpg"],
    "q": ["qmix", "vdn", "iql"],
}
"""Core -> its learners, the one that stands for it first."""
SHARED = [name for name in OTHERS if name not in ("happo", "hatrpo")]
"""Learners from rollouts that share parameters, besides those of `test_ppo`."""
BESIDES = ["masac", "matd3", "haddpg", "maddpg", "happo", "hatrpo", "maa2c", "vtrace", "nstep"]
"""More learners with a central critic."""
WHOLE = os.environ.get("PROBES") == "all"


def of(*cores: str) -> Any:
    """Learners of those cores: one of each, or all."""
    names = [name for core in cores for name in (CORES[core] if WHOLE else CORES[core][:1])]
    return pytest.mark.parametrize("name", names)


def core_of(name: str) -> str:
    return next(core for core, names in CORES.items() if name in names)


def trained(name: str, game: Rules, reward: str, effort: float = 1.0, **changed: Any) -> Any:
    """A learner that has learnt enough of a tiny game."""
    core = core_of(name)
    if core == "ppo":
        learner, settings = OTHERS.get(name, (name, {}))
        with mock.patch.multiple(train, LEARNER=learner, CHANGES=settings):
            probe: Any = train.Probe(game, ALGORITHMS[learner].critic, reward, **changed)
        probe.train(round(30 * effort))
        return probe
    if core == "ddpg":
        game = test_ddpg.boxed(game)
    made = {"sac": test_sac.Probe, "ddpg": test_ddpg.Probe, "q": test_q_learning.Probe}[core]
    probe = made(game, name, reward, **changed)
    probe.train(round(300 * effort))
    return probe


def values(name: str, probe: Any, kind: str = "team") -> np.ndarray:
    """What is expected, `[T*S, K]`, of the last look's views."""
    if core_of(name) == "ppo":
        found = probe.values(kind)[:-1]
        return found.reshape(-1, found.shape[-1])
    return probe.soft_values(kind) if core_of(name) == "sac" else probe.values(kind)


def acting(name: str, probe: Any, kind: str = "team") -> np.ndarray:
    """Who acted there, `[T*S, n]`."""
    found = probe.acting(kind)
    return found[:-1].reshape(-1, found.shape[-1]) if core_of(name) == "ppo" else found


# --- P12: a common payoff --------------------------------------------------------------------------------------------


@of("ppo", "q")
def test_a_common_payoff(name: str) -> None:
    """[[2, 0], [0, 1]]: without weight on entropy both come to play 0."""
    probe = trained(name, test_sac.Payoff(), "team_mean")
    if core_of(name) == "ppo":
        assert probe.share(0, probe.acting()[:-1]) > 0.95
    else:
        assert (probe.actions() == 0).all()


class Match(test_sac.Payoff):
    """One step: 1 for playing the same."""

    table: ClassVar = np.eye(2)


@pytest.mark.parametrize("name", ["hasac", "masac"] if WHOLE else ["hasac"])
@pytest.mark.parametrize("temperature", [0.6, 0.25])
def test_symmetric_coordination(name: str, temperature: float) -> None:
    """P12b: at a high temperature both stay even; at .25 they agree on one side, at .0212 or .9788."""
    probe = trained(name, Match(), "team_mean", 1.5, temperature=temperature)
    p = probe.probabilities()[0, :, 0].astype(float)
    near(np.log(p / (1 - p)), (2 * p[::-1] - 1) / temperature, 0.15)
    if temperature > 0.5:
        near(p, 0.5, 0.03)
    else:
        near(p, p.round(), 0.04)
        assert p[0].round() == p[1].round()


# --- P13, P14: who am I, and what does the critic see ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["masac", "isac", *SHARED] if WHOLE else ["masac"])
def test_who_am_i(name: str) -> None:
    """With shared parameters agents need to know who they are; nobody is above a quarter without."""
    effort, reward = (0.8, "team_mean") if core_of(name) == "sac" else (1.0, "agent")
    told = {
        known: trained(name, games.OwnNumber(), reward, effort, parameters="shared", agent_id=known).reward()
        for known in (True, False)
    }
    assert told[True] > (0.95 if name == "masac" else 0.9)
    assert told[False] <= 0.3


@pytest.mark.parametrize("name", ["hasac", "hatd3", *(BESIDES if WHOLE else ())])
def test_only_a_central_critic_sees_the_state(name: str) -> None:
    """The pay is a bit of the state alone: known exactly, or with an error of a quarter."""
    for critic, error in (("central", 0.0), ("local", 0.25)):
        effort, asked = (1.0, {}) if core_of(name) == "ppo" else (0.7, {"critic": critic})
        if core_of(name) == "ppo" and critic == "local":
            continue  # a learner of its own: IPPO
        probe = trained(name, games.HiddenPay(), "agent", effort, **asked)
        if core_of(name) == "ppo":
            paid = probe.rollouts["team"].groups["team"].reward.numpy().reshape(-1, 1)
        else:
            paid = probe.views().state[:, :1].numpy()
        near(((values(name, probe) - paid) ** 2).mean(), error, 0.03)


# --- P17: forced moves -----------------------------------------------------------------------------------------------


class Forced(Rules):
    """One step with one legal action of three, which pays 1."""

    actions: ClassVar = spaces.Discrete(3)
    masked: ClassVar = True

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.array([[[False, True, False]]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == 1).astype(float), end(step)


@of("ppo", "sac")
def test_forced_moves_teach_actors_nothing(name: str) -> None:
    """Their log-probability and entropy are 0: the value is learnt, and no actor moves, weights on entropy or not."""
    weighed = {"entropy": 0.1} if core_of(name) == "ppo" else {"temperature_learning_rate": 1e-2, "temperature": 0.1}
    before = trained(name, Forced(), "agent", 0.0, **weighed)
    after = trained(name, Forced(), "agent", 0.5, **weighed)
    near(values(name, after), 1.0)
    for old, new in zip(*(each.learners["team"].policy.acting_parameters() for each in (before, after)), strict=True):
        assert torch.equal(old, new)
    group = after.rollouts["team"].groups["team"]
    assert (group.action == 1).all() and (group.log_prob == 0).all()


# --- P27: turns ------------------------------------------------------------------------------------------------------


class LastWord(Rules):
    """Two moves, one after the other: the last mover wins 1, and the other loses 1 when it is no longer its turn."""

    teams: ClassVar = {"one": 1, "two": 1}
    turn_based: ClassVar = True
    max_wait: ClassVar = 1

    def acting(self, hidden: Array, step: Array) -> Array:
        return (step[:, None] % 2) == np.arange(2)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step[:, None] == 1
        return last * np.array([[-1.0, 1.0]]), last


@of("ppo", "sac", "ddpg", "q")
def test_what_is_lost_on_anothers_turn_is_ones_own(name: str) -> None:
    probe = trained(name, LastWord(), "agent" if name in ("iql",) or core_of(name) != "q" else "team_mean", 0.7)
    for kind, wanted in (("one", -1.0), ("two", 1.0)):
        acts = acting(name, probe, kind)[:, 0]
        assert acts.any()
        near(values(name, probe, kind)[acts], wanted, 0.06)


def test_a_reward_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: what is paid on another's turn is not remembered."""
    paid = OffPolicy._paid

    def planted(self: OffPolicy, rollout: Rollout) -> Tensor:
        acts = torch.cat([rollout.groups[group.name].acting[:-1] for group in self.spec.groups], 2)
        return paid(self, rollout) * acts

    monkeypatch.setattr(OffPolicy, "_paid", planted)
    with pytest.raises(AssertionError):
        test_what_is_lost_on_anothers_turn_is_ones_own("hatd3")


# --- P28: how play is measured ---------------------------------------------------------------------------------------


@of("sac", "q", "ppo")
def test_sampled_and_greedy_play_are_not_the_same(name: str) -> None:
    """Matching pennies against one who knows the likeliest action: half, or nothing."""
    even = {"epsilon": 1.0, "final_epsilon": 1.0} if core_of(name) == "q" else {}
    policy = trained(name, games.Pennies(), "agent" if name == "iql" or not even else "team_mean", 0.0, **even)
    policy = policy.learners["one"].policy
    scores = {}
    for greedy in (False, True):
        players = {"one": policy, "two": Exploiter(policy, "two")}
        measured = evaluate(FunctionEnv(games.Pennies(), 64), players, 2048, noise_key=5, greedy=greedy)
        scores[greedy] = measured.returns[:, 0].mean()
    near(scores[False], 0.5, 0.05)
    assert scores[True] == 0.0


def test_the_learners_of_a_core_stand_together() -> None:
    """No learner is left out of the matrix."""
    cores = {"sac": "sac", "ddpg": "ddpg", "td3": "ddpg", "q": "q"}
    for name, known in ALGORITHMS.items():
        if known.family in cores:
            assert name in CORES[cores[known.family]]
        assert any(name in learners for learners in table.LEARNERS.values())
    assert {name for learners in table.LEARNERS.values() for name in learners} == {
        name for names in CORES.values() for name in names
    }
