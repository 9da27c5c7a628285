"""Probes for the PPO family: each asserts a number known beforehand, and fails if what it isolates is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marl import collector
from marl.algorithms import on_policy, ppo
from marl.algorithms.ppo import PPO
from marl.distributions import Categorical
from marl.evaluate import evaluate
from marl.policy import Policy, PolicyStep, View
from marl.returns import lambda_advantages
from marl.values import ValueFunction
from tests.probes import games, train
from tests.probes.environment import FunctionEnv
from tests.probes.train import Probe

CRITICS = ["local", "central"]
both = pytest.mark.parametrize("critic", CRITICS)
TOLERANCE = 0.05


def near(values: object, wanted: object, tolerance: float = TOLERANCE) -> None:
    worst = float(np.abs(np.asarray(values) - np.asarray(wanted)).max())
    assert worst <= tolerance, f"off by {worst}"


def constant_pay(critic: str) -> None:
    probe = Probe(games.ConstantPay(), critic)
    probe.train(25)
    near(probe.values()[0], [[1.0, 0.0]])


def seen_pay(critic: str) -> None:
    probe = Probe(games.SeenPay(), critic)
    probe.train(25)
    near(probe.values(), probe.seen()[..., 0])


def later(critic: str) -> None:
    probe = Probe(games.Later(), critic)
    probe.train(30)
    near(probe.values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def bandit(critic: str) -> None:
    probe = Probe(games.Bandit(), critic)
    probe.train(30)
    assert probe.reward() > 0.95


def echo(critic: str) -> None:
    probe = Probe(games.Echo(), critic)
    probe.train(0)
    near(probe.reward(), 0.5, 0.1)  # the control: at random
    probe.train(30)
    assert probe.reward() > 0.97


def endless(critic: str) -> None:
    probe = Probe(games.Endless(), critic)
    probe.train(30)
    near(probe.values(), 10.0, 0.5)


def eight_steps(critic: str) -> None:
    probe = Probe(games.EightSteps(), critic, rollout_length=8, hidden=(64,))
    probe.train(30)
    wanted = np.array([5.695, 5.217, 4.686, 4.095, 3.439, 2.71, 1.9, 1.0])
    near(probe.values(), wanted[probe.seen().argmax(-1)])


def rich_and_poor(critic: str) -> None:
    probe = Probe(games.RichAndPoor(), critic)
    probe.train(30)
    near(probe.values(), np.where(probe.seen()[..., 0] > 0, 100.0, 0.0), 1.0)


def both_flags(critic: str) -> None:
    probe = Probe(games.BothFlags(), critic)
    probe.train(25)
    near(probe.values(), 1.0)


def early_death(critic: str) -> None:
    probe = Probe(games.EarlyDeath(), critic)
    probe.train(30)
    near(probe.values()[probe.acting().all(-1)], [[3.439, 1.0]])


def sacrifice(critic: str, reward: str = "team_mean") -> None:
    probe = Probe(games.Sacrifice(), critic, reward)
    probe.train(30)
    first = probe.acting()[:-1] & (probe.seen()[:-1, ..., 0] == 0) & np.array([False, True])
    assert probe.share(1, first) > 0.9
    near(probe.values()[:-1][first[..., 1]].mean(-1), 0.9)


def own_number(critic: str, agent_id: bool = True) -> float:
    probe = Probe(games.OwnNumber(), critic, agent_id=agent_id)
    probe.train(30)
    return probe.reward()


def hidden_pay(critic: str) -> float:
    probe = Probe(games.HiddenPay(), critic)
    probe.train(30)
    return float(((probe.values()[:-1] - probe.rollouts["team"].groups["team"].reward.numpy()) ** 2).mean())


def hidden_echo(critic: str) -> None:
    probe = Probe(games.HiddenEcho(), critic, rollout_length=16)
    probe.train(20)
    near(probe.reward(), 0.5, 0.037)  # over 2,048 games


def forbidden(critic: str) -> None:
    probe = Probe(games.Forbidden(), critic)
    probe.train(30)
    assert probe.share(1, probe.acting()[:-1]) == 0.0
    near(probe.values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def crowd(critic: str) -> None:
    probe = Probe(games.Crowd(), critic)
    probe.train(30)
    acting = probe.acting()
    present = acting.sum(-1, keepdims=True).repeat(4, -1)
    assert set(present.reshape(-1)) == {1, 2, 3, 4}
    near(probe.values()[acting], present[acting])


def wages(critic: str, reward: str = "agent") -> None:
    probe = Probe(games.Wages(), critic, reward)
    probe.train(30)
    near(probe.values()[0], {"agent": [[1.0, 3.0]], "team_sum": 4.0, "team_mean": 2.0}[reward])


def prisoners(critic: str, reward: str) -> float:
    """Share of defections."""
    probe = Probe(games.Prisoners(), critic, reward)
    probe.train(30)
    return probe.share(1, probe.acting()[:-1])


def zero_sum(critic: str) -> None:
    probe = Probe(games.ZeroSum(), critic)
    probe.train(25)
    near(probe.values("one") + probe.values("two"), 0.0)
    near(probe.values("one"), probe.seen("one")[..., 0])


def reward_scale(critic: str) -> None:
    """Rewards times 1000: the policy moves, and to the same place."""
    policies = []
    for scale, iterations in ((1.0, 0), (1.0, 5), (1000.0, 5)):
        probe = Probe(games.Scaled(scale), critic)
        probe.train(iterations)
        parameters = probe.learners["team"].policy.acting_parameters()
        policies.append(np.concatenate([p.detach().numpy().reshape(-1) for p in parameters]))
    start, small, large = policies
    assert np.abs(small - start).max() > 0.01
    near(small, large, 1e-4)


PROBES = [
    constant_pay,
    seen_pay,
    later,
    bandit,
    echo,
    endless,
    eight_steps,
    rich_and_poor,
    both_flags,
    early_death,
    sacrifice,
    hidden_echo,
    forbidden,
    crowd,
    zero_sum,
    reward_scale,
]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
@both
def test_probe(probe: Callable[[str], None], critic: str) -> None:
    probe(critic)


@both
@pytest.mark.parametrize("reward", ["agent", "team_sum", "team_mean"])
def test_reward_channel(critic: str, reward: str) -> None:
    wages(critic, reward)


@both
def test_prisoners_defect_alone_and_cooperate_as_a_team(critic: str) -> None:
    assert prisoners(critic, "agent") > 0.95
    assert prisoners(critic, "team_sum") < 0.05


@both
def test_a_sacrifice_needs_a_team_reward(critic: str) -> None:
    with pytest.raises(AssertionError):
        sacrifice(critic, "agent")


@both
def test_who_am_i(critic: str) -> None:
    assert own_number(critic) > 0.95
    assert own_number(critic, agent_id=False) <= 0.3


@pytest.mark.parametrize("critic", ["central"])
def test_only_a_central_critic_sees_the_state(critic: str) -> None:
    assert hidden_pay(critic) < 0.003
    near(hidden_pay("local"), 0.25, 0.02)


class Exploiter:
    """Plays what another policy's greedy action would be, given what both see."""

    def __init__(self, victim: Policy, group: str) -> None:
        self.victim, self.group = victim, group

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        seen = {name: next(iter(views.values())) for name in self.victim.actors}
        return {self.group: next(iter(self.victim.step(seen, noise, greedy=True).values()))}


def test_sampled_and_greedy_play_are_not_the_same() -> None:
    """Matching pennies against one who knows the likeliest action: half, or nothing."""
    env = FunctionEnv(games.Pennies(), 64)
    policy = PPO(env.spec, "one", Probe(games.Bandit(), "local").config, "agent", 0).policy
    scores = {}
    for greedy in (False, True):
        env = FunctionEnv(games.Pennies(), 64)
        players = {"one": policy, "two": Exploiter(policy, "two")}
        scores[greedy] = evaluate(env, players, 2048, noise_key=5, greedy=greedy).returns[:, 0].mean()
    near(scores[False], 0.5, 0.037)
    assert scores[True] == 0.0


Patch = pytest.MonkeyPatch


def truncation_is_termination(patch: Patch) -> None:
    patch.setattr(PPO, "_final_values", lambda self, rollout, truncated, _: torch.zeros(truncated.shape))


def episodes_run_into_one_another(patch: Patch) -> None:
    def planted(reward: Tensor, value: Tensor, bootstrap: Tensor, acts: Tensor, ended: Tensor, *times: Any) -> Any:
        return lambda_advantages(reward, value, bootstrap, acts, torch.zeros_like(ended), *times)

    patch.setattr(on_policy, "lambda_advantages", planted)


def termination_bootstraps(patch: Patch) -> None:
    def planted(reward: Tensor, value: Tensor, bootstrap: Tensor, acts: Tensor, ended: Tensor, *times: Any) -> Any:
        return lambda_advantages(reward, value, value[:-1], acts, ended, *times)

    patch.setattr(on_policy, "lambda_advantages", planted)


def a_time_limit_outweighs_the_rules(patch: Patch) -> None:
    whole = PPO._advantages

    def planted(self: PPO, rollout: Any, *rest: Any) -> Any:
        groups = {k: replace(g, terminated=g.terminated & ~g.truncated) for k, g in rollout.groups.items()}
        return whole(self, replace(rollout, groups=groups), *rest)

    patch.setattr(PPO, "_advantages", planted)


def lives_end_with_the_episode(patch: Patch) -> None:
    whole = PPO._advantages

    def planted(self: PPO, rollout: Any, *rest: Any) -> Any:
        over = rollout.episode_over.unsqueeze(-1)
        groups = {
            k: replace(
                g, terminated=over.expand_as(g.terminated), reward=g.reward.sum(2, keepdim=True).expand_as(g.reward)
            )
            for k, g in rollout.groups.items()
        }
        return whole(self, replace(rollout, groups=groups), *rest)

    patch.setattr(PPO, "_advantages", planted)


def all_are_paid_as_the_first_is(patch: Patch) -> None:
    whole = PPO._advantages

    def planted(self: PPO, rollout: Any, *rest: Any) -> Any:
        groups = {k: replace(g, reward=g.reward[..., :1].expand_as(g.reward)) for k, g in rollout.groups.items()}
        return whole(self, replace(rollout, groups=groups), *rest)

    patch.setattr(PPO, "_advantages", planted)


def the_second_team_is_paid_as_the_first(patch: Patch) -> None:
    whole = PPO._advantages

    def planted(self: PPO, rollout: Any, *rest: Any) -> Any:
        groups = {k: replace(g, reward=g.reward.abs()) for k, g in rollout.groups.items()}
        return whole(self, replace(rollout, groups=groups), *rest)

    patch.setattr(PPO, "_advantages", planted)


def masks_are_forgotten(patch: Patch) -> None:
    patch.setattr(train, "ENGINE", "torch")
    whole = Categorical.__init__
    patch.setattr(Categorical, "__init__", lambda self, logits, mask=None: whole(self, logits))


def values_are_not_scaled_back(patch: Patch) -> None:
    patch.setattr(ValueFunction, "to_raw", lambda self, values: values)


def the_discount_is_forgotten(patch: Patch) -> None:
    def planted(*arguments: Any) -> Any:
        return lambda_advantages(*arguments[:5], 1.0, *arguments[6:])

    patch.setattr(on_policy, "lambda_advantages", planted)


def the_gradient_points_down(patch: Patch) -> None:
    patch.setattr(train, "ENGINE", "torch")
    whole = ppo.losses.ppo_clip_loss
    patch.setattr(ppo.losses, "ppo_clip_loss", lambda log_ratio, advantage, clip: whole(log_ratio, -advantage, clip))


def actors_see_the_state(patch: Patch) -> None:
    whole = collector.Collector._act

    def planted(self: Any, t: int) -> Any:
        for views in self._views.values():
            views["obs"][t] += self._state[t][:, None]
        return whole(self, t)

    patch.setattr(collector.Collector, "_act", planted)


def agents_are_mixed_up(patch: Patch) -> None:
    whole = PPO._advantages

    def planted(self: PPO, rollout: Any, *rest: Any) -> Any:
        groups = {k: replace(g, reward=g.reward.flip(2)) for k, g in rollout.groups.items()}
        return whole(self, replace(rollout, groups=groups), *rest)

    patch.setattr(PPO, "_advantages", planted)


PLANTED = [
    (agents_are_mixed_up, constant_pay),
    (all_are_paid_as_the_first_is, wages),
    (the_discount_is_forgotten, later),
    (values_are_not_scaled_back, reward_scale),
    (the_gradient_points_down, bandit),
    (the_gradient_points_down, echo),
    (truncation_is_termination, endless),
    (termination_bootstraps, eight_steps),
    (episodes_run_into_one_another, rich_and_poor),
    (a_time_limit_outweighs_the_rules, both_flags),
    (lives_end_with_the_episode, early_death),
    (actors_see_the_state, hidden_echo),
    (masks_are_forgotten, forbidden),
    (the_second_team_is_paid_as_the_first, zero_sum),
]


@pytest.mark.parametrize(("bug", "probe"), PLANTED, ids=lambda function: function.__name__)
def test_a_planted_bug_is_found(bug: Callable[[Patch], None], probe: Callable[[str], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        probe("local")
