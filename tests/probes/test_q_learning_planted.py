"""The probes of the value-based learners are worth something: each finds a bug that is planted for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from marl import mixers
from marl.algorithms import q_learning
from marl.algorithms.q_learning import QLearning
from marl.buffers import GroupRollout, Rollout
from marl.replay_buffer import ReplayBuffer, Sample
from marl.values import ValueNorm
from tests.probes import test_q_learning as probes
from tests.probes.test_ddpg_planted import actors_see_the_state, change_rollouts

Patch = pytest.MonkeyPatch


def change_samples(patch: Patch, change: Callable[[Sample], Sample]) -> None:
    draw = QLearning._draw
    patch.setattr(QLearning, "_draw", lambda self: change(draw(self)))


def change_pay(patch: Patch, change: Callable[[Tensor], Tensor]) -> None:
    paid = QLearning._paid
    patch.setattr(QLearning, "_paid", lambda self, rollout: change(paid(self, rollout)))


def truncation_is_termination(patch: Patch) -> None:
    change_rollouts(patch, lambda _, group: replace(group, terminated=group.terminated | group.truncated))
    add = ReplayBuffer.add

    def planted(self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> None:
        add(self, replace(rollout, episode_truncated=torch.zeros_like(rollout.episode_truncated)), reward)

    patch.setattr(ReplayBuffer, "add", planted)


def termination_bootstraps(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=torch.full_like(sample.discount, 0.9)))


def a_time_limit_outweighs_the_rules(patch: Patch) -> None:
    change_rollouts(patch, lambda _, group: replace(group, terminated=group.terminated & ~group.truncated))
    add = ReplayBuffer.add

    def planted(self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> None:
        add(self, replace(rollout, episode_truncated=rollout.episode_over), reward)

    patch.setattr(ReplayBuffer, "add", planted)


def a_team_ends_with_its_first_dead(patch: Patch) -> None:
    def planted(rollout: Rollout, group: GroupRollout) -> GroupRollout:
        acting = group.acting.all(-1, keepdim=True) & group.acting
        return replace(group, acting=acting)

    change_rollouts(patch, planted)


def the_discount_is_forgotten(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=(sample.discount > 0).float()))


def agents_are_mixed_up(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward.flip(2))


def the_second_team_is_paid_as_the_first(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward.abs())


def values_are_not_scaled_back(patch: Patch) -> None:
    patch.setattr(QLearning, "_raw", lambda self, q: q)


def values_are_not_normalised(patch: Patch) -> None:
    patch.setattr(ValueNorm, "moments", property(lambda self: (0.0, 1.0)))


def targets_stand_still(patch: Patch) -> None:
    patch.setattr(QLearning, "_targets_follow", lambda self, part: None)


def targets_take_illegal_actions(patch: Patch) -> None:
    """And the illegal one is praised."""

    def planted(self: QLearning, policy: Any, group: Any, views: Any) -> Tensor:
        values = policy.describe(group, views.obs[group.name])
        values[..., 1] += 100.0
        return q_learning.choose(group, values, None, 0.0).mode()

    patch.setattr(QLearning, "_best", planted)


def exploring_takes_illegal_actions(patch: Patch) -> None:
    choose = q_learning.choose
    patch.setattr(q_learning, "choose", lambda group, values, mask, epsilon: choose(group, values, None, epsilon))


def the_worst_is_played(patch: Patch) -> None:
    choose = q_learning.choose
    patch.setattr(q_learning, "choose", lambda group, values, mask, epsilon: choose(group, -values, mask, epsilon))


def the_absent_are_worth_something(patch: Patch) -> None:
    values = QLearning._values

    def planted(self: QLearning, policy: Any, views: Any, actions: Any) -> Tensor:
        return values(self, policy, replace(views, acting=torch.ones_like(views.acting)), actions)

    patch.setattr(QLearning, "_values", planted)


def actions_are_mixed_up(patch: Patch) -> None:
    values = QLearning._values

    def planted(self: QLearning, policy: Any, views: Any, actions: Any) -> Tensor:
        return values(self, policy, views, {name: x.flip(1) for name, x in actions.items()})

    patch.setattr(QLearning, "_values", planted)


def only_the_first_choice_counts(patch: Patch) -> None:
    values = QLearning._values

    def planted(self: QLearning, policy: Any, views: Any, actions: Any) -> Tensor:
        first = {name: torch.cat([x[..., :1], torch.zeros_like(x[..., 1:])], -1) for name, x in actions.items()}
        return values(self, policy, views, first)

    patch.setattr(QLearning, "_values", planted)


def the_mix_is_blind(patch: Patch) -> None:
    look = mixers.whole_view
    patch.setattr(mixers, "whole_view", lambda *given: torch.zeros_like(look(*given)))


PLANTED = [
    (agents_are_mixed_up, probes.constant_pay, "iql"),
    (the_worst_is_played, probes.echo, "qmix"),
    (the_worst_is_played, probes.bandit, "qmix"),
    (the_discount_is_forgotten, probes.later, "qmix"),
    (targets_stand_still, probes.endless, "qmix"),
    (truncation_is_termination, probes.endless, "qmix"),
    (termination_bootstraps, probes.eight_steps, "qmix"),
    (values_are_not_scaled_back, probes.rich_and_poor, "qmix"),
    (a_time_limit_outweighs_the_rules, probes.both_flags, "qmix"),
    (a_team_ends_with_its_first_dead, probes.team_life, "qmix"),
    (actions_are_mixed_up, probes.own_number, "qmix"),
    (the_mix_is_blind, probes.hidden_pay, "qmix"),
    (actors_see_the_state, probes.hidden_echo, "iql"),
    (targets_take_illegal_actions, probes.forbidden, "iql"),
    (exploring_takes_illegal_actions, probes.forbidden, "qmix"),
    (the_absent_are_worth_something, probes.crowd, "vdn"),
    (only_the_first_choice_counts, probes.several_choices, "qmix"),
    (the_second_team_is_paid_as_the_first, probes.zero_sum, "iql"),
    (values_are_not_normalised, probes.reward_scale, "qmix"),
]


@pytest.mark.parametrize(("bug", "probe", "name"), PLANTED, ids=lambda x: getattr(x, "__name__", x))
def test_a_planted_bug_is_found(
    bug: Callable[[Patch], None], probe: Callable[[str], None], name: str, monkeypatch: Patch
) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        probe(name)
