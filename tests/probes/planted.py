"""Bugs to plant, each where learners of one core would have it, and the question that finds it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from marl import collector, distributions, mixers, policy
from marl.algorithms import ppo, q_learning, sac, targets
from marl.algorithms.ddpg import DDPG
from marl.algorithms.off_policy import OffPolicy
from marl.algorithms.ppo import PPO
from marl.algorithms.q_learning import QLearning
from marl.algorithms.sac import SAC
from marl.buffers import GroupRollout, Rollout
from marl.distributions import Categorical
from marl.replay_buffer import ReplayBuffer, Sample, Views
from marl.returns import lambda_advantages
from marl.values import ValueFunction, ValueNorm
from tests.probes.train import FromRollouts

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]


def stand_in(patch: Patch, owner: Any, name: str, bug: Callable[..., Any]) -> None:
    """`bug` in the place of what has that name, which it is given first."""
    whole = getattr(owner, name)
    patch.setattr(owner, name, lambda *given, **named: bug(whole, *given, **named))


# --- where any learner may have them ---------------------------------------------------------------------------------


def actors_see_the_state(patch: Patch) -> None:
    def planted(act: Any, self: Any, t: int) -> Any:
        for views in self._views.values():
            views["obs"][t] += self._state[t][:, None]
        return act(self, t)

    stand_in(patch, collector.Collector, "_act", planted)


def masks_are_forgotten(patch: Patch) -> None:
    patch.setattr(FromRollouts, "ENGINE", {"engine": "torch"})
    stand_in(patch, Categorical, "__init__", lambda whole, self, logits, mask=None: whole(self, logits))


# --- in learners from rollouts ---------------------------------------------------------------------------------------


def change_groups(patch: Patch, change: Callable[[Rollout, GroupRollout], GroupRollout]) -> None:
    """Let advantages be of other groups of agents than there are."""

    def planted(whole: Any, self: PPO, rollout: Rollout, *rest: Any) -> Any:
        groups = {name: change(rollout, group) for name, group in rollout.groups.items()}
        return whole(self, replace(rollout, groups=groups), *rest)

    stand_in(patch, PPO, "_advantages", planted)


def change_advantages(patch: Patch, change: Callable[..., tuple[Any, ...]]) -> None:
    """Let advantages be of other (reward, value, bootstrap, acts, ended, discount, ..) than there are."""
    patch.setattr(targets, "lambda_advantages", lambda *given: lambda_advantages(*change(*given)))


def no_final_values(patch: Patch) -> None:
    patch.setattr(PPO, "_final_values", lambda self, rollout, truncated, _: torch.zeros(truncated.shape))


def ends_are_overlooked(patch: Patch) -> None:
    change_advantages(patch, lambda *given: (*given[:4], torch.zeros_like(given[4]), *given[5:]))


def every_end_bootstraps(patch: Patch) -> None:
    change_advantages(patch, lambda reward, value, _, *rest: (reward, value, value[:-1], *rest))


def advantages_forget_the_discount(patch: Patch) -> None:
    change_advantages(patch, lambda *given: (*given[:5], 1.0, *given[6:]))


def a_time_limit_outweighs_an_end(patch: Patch) -> None:
    change_groups(patch, lambda _, group: replace(group, terminated=group.terminated & ~group.truncated))


def agents_live_as_long_as_the_team(patch: Patch) -> None:
    def planted(rollout: Rollout, group: GroupRollout) -> GroupRollout:
        over = rollout.episode_over.unsqueeze(-1).expand_as(group.terminated)
        return replace(group, terminated=over, reward=group.reward.sum(2, keepdim=True).expand_as(group.reward))

    change_groups(patch, planted)


def advantages_pay_all_as_the_first(patch: Patch) -> None:
    change_groups(patch, lambda _, group: replace(group, reward=group.reward[..., :1].expand_as(group.reward)))


def advantages_pay_both_teams_alike(patch: Patch) -> None:
    change_groups(patch, lambda _, group: replace(group, reward=group.reward.abs()))


def advantages_mix_agents_up(patch: Patch) -> None:
    change_groups(patch, lambda _, group: replace(group, reward=group.reward.flip(2)))


def values_stay_in_their_scale(patch: Patch) -> None:
    patch.setattr(ValueFunction, "to_raw", lambda self, values: values)


def the_clipped_gradient_points_down(patch: Patch) -> None:
    patch.setattr(FromRollouts, "ENGINE", {"engine": "torch"})
    stand_in(
        patch, ppo.losses, "ppo_clip_loss", lambda whole, log_ratio, advantage, clip: whole(log_ratio, -advantage, clip)
    )


# --- in learners that remember ---------------------------------------------------------------------------------------


def change_rollouts(patch: Patch, change: Callable[[Rollout, GroupRollout], GroupRollout], **named: Any) -> None:
    """Let buffers store other groups of agents, and other flags of episodes, than they are given."""

    def planted(add: Any, self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> None:
        groups = {name: change(rollout, group) for name, group in rollout.groups.items()}
        flags = {name: flag(rollout) for name, flag in named.items()}
        add(self, replace(rollout, groups=groups, **flags), reward)

    stand_in(patch, ReplayBuffer, "add", planted)


def change_rows(patch: Patch, change: Callable[[Any, Any, Any], tuple[Any, Any, Any]]) -> None:
    """Let buffers store other views, events and final views."""
    stand_in(patch, ReplayBuffer, "_rows", lambda whole, *given: change(*whole(*given)))


def change_samples(patch: Patch, change: Callable[[Sample], Sample]) -> None:
    stand_in(patch, OffPolicy, "_draw", lambda draw, self: change(draw(self)))


def change_pay(patch: Patch, change: Callable[[Tensor], Tensor]) -> None:
    stand_in(patch, OffPolicy, "_paid", lambda paid, self, rollout: change(paid(self, rollout)))


def truncation_is_termination(patch: Patch) -> None:
    change_rollouts(
        patch,
        lambda _, group: replace(group, terminated=group.terminated | group.truncated),
        episode_truncated=lambda rollout: torch.zeros_like(rollout.episode_truncated),
    )


def time_limits_are_remembered_as_ends(patch: Patch) -> None:
    change_rows(patch, lambda views, events, finals: (views, events | {"ended": events["ended"].clamp(max=1)}, finals))


def ends_are_not_remembered(patch: Patch) -> None:
    change_rows(patch, lambda views, events, finals: (views, events | {"ended": 0 * events["ended"]}, finals))


def agents_see_what_stands_elsewhere(patch: Patch) -> None:
    """Observations are remembered as those of other copies."""

    def planted(views: Any, events: Any, finals: Any) -> tuple[Any, Any, Any]:
        return {name: x.flip(1) if name.startswith("obs") else x for name, x in views.items()}, events, finals

    change_rows(patch, planted)


def termination_bootstraps(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=torch.full_like(sample.discount, 0.9)))


def a_time_limit_outweighs_the_rules(patch: Patch) -> None:
    change_rollouts(
        patch,
        lambda _, group: replace(group, terminated=group.terminated & ~group.truncated),
        episode_truncated=lambda rollout: rollout.episode_over,
    )


def lives_end_with_the_episode(patch: Patch) -> None:
    def planted(rollout: Rollout, group: GroupRollout) -> GroupRollout:
        over = rollout.episode_over.unsqueeze(-1).expand_as(group.terminated)
        return replace(group, terminated=over, acting=torch.ones_like(group.acting))

    change_rollouts(patch, planted)


def a_team_ends_with_its_first_dead(patch: Patch) -> None:
    def planted(rollout: Rollout) -> Tensor:
        dead = torch.cat([group.terminated for group in rollout.groups.values()], 2)
        return rollout.episode_over | dead.any(2)

    change_rollouts(patch, lambda _, group: group, episode_over=planted)


def the_discount_is_forgotten(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=(sample.discount > 0).float()))


def n_steps_are_discounted_as_one(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=0.9 * (sample.discount > 0).float()))


def agents_are_mixed_up(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward.flip(2))


def all_are_paid_as_the_first_is(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward[..., :1].expand_as(reward))


def the_second_team_is_paid_as_the_first(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward.abs())


def pay_on_anothers_turn_is_lost(patch: Patch) -> None:
    def planted(paid: Any, self: OffPolicy, rollout: Rollout) -> Tensor:
        acts = torch.cat([rollout.groups[group.name].acting[:-1] for group in self.spec.groups], 2)
        return paid(self, rollout) * acts

    stand_in(patch, OffPolicy, "_paid", planted)


def values_are_not_scaled_back(patch: Patch) -> None:
    patch.setattr(OffPolicy, "_raw", lambda self, q: q)


def values_are_not_normalised(patch: Patch) -> None:
    patch.setattr(ValueNorm, "moments", property(lambda self: (0.0, 1.0)))


# --- in soft actor-critics -------------------------------------------------------------------------------------------


def entropy_targets_count_illegal_actions(patch: Patch) -> None:
    def planted(self: SAC, views: Views) -> Tensor:
        return torch.full(views.acting.shape, self.config.entropy_per_choice * math.log(4))

    patch.setattr(SAC, "_wanted", planted)


def entropy_weighs_twice(patch: Patch) -> None:
    stand_in(patch, SAC, "_log_probs", lambda whole, self, acts, acting: 2 * whole(self, acts, acting))


def others_stand_still(patch: Patch) -> None:
    """The second agent answers what the first did at random long ago."""

    def planted(whole: Any, self: Any, agent: int, values: list[Tensor], probs: Tensor | None) -> Tensor:
        return whole(self, agent, [x if i == agent else torch.full_like(x, 0.5) for i, x in enumerate(values)], probs)

    stand_in(patch, sac.Hopes, "of_one", planted)


def bounds_are_taken_for_even(patch: Patch) -> None:
    """The middle of the box is forgotten where actions are remembered."""

    def planted(whole: Any, self: SAC, sample: Sample) -> list[Tensor]:
        return [x + torch.tensor([0.5, 1.0]) for x in whole(self, sample)]

    stand_in(patch, SAC, "_remembered", planted)


def squashing_is_forgotten(patch: Patch) -> None:
    patch.setattr(distributions, "_log_slope", torch.zeros_like)


# --- in deterministic learners ---------------------------------------------------------------------------------------


def the_gradient_points_down(patch: Patch) -> None:
    stand_in(patch, DDPG, "_hope", lambda hope, self, *given: -hope(self, *given))


def actors_are_never_updated(patch: Patch) -> None:
    patch.setattr(DDPG, "_one_by_one", lambda self, sample, acting: 0.0)


def the_lower_bound_is_forgotten(patch: Patch) -> None:
    """As if the bounds were [-high, high]."""
    patch.setattr(policy, "box_scale", lambda space: (torch.zeros(1), torch.full((1,), float(space.high[0]))))


def remembered_actions_are_mixed_up(patch: Patch) -> None:
    stand_in(patch, DDPG, "_remembered", lambda remembered, self, sample: remembered(self, sample)[::-1])


# --- in learners of values of actions --------------------------------------------------------------------------------


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
    def planted(values: Any, self: QLearning, policy: Any, views: Any, actions: Any) -> Tensor:
        return values(self, policy, replace(views, acting=torch.ones_like(views.acting)), actions)

    stand_in(patch, QLearning, "_values", planted)


def change_actions(patch: Patch, change: Callable[[Tensor], Tensor]) -> None:
    def planted(values: Any, self: QLearning, policy: Any, views: Any, actions: Any) -> Tensor:
        return values(self, policy, views, {name: change(x) for name, x in actions.items()})

    stand_in(patch, QLearning, "_values", planted)


def actions_are_mixed_up(patch: Patch) -> None:
    change_actions(patch, lambda x: x.flip(1))


def only_the_first_choice_counts(patch: Patch) -> None:
    change_actions(patch, lambda x: torch.cat([x[..., :1], torch.zeros_like(x[..., 1:])], -1))


def the_mix_is_blind(patch: Patch) -> None:
    look = mixers.whole_view
    patch.setattr(mixers, "whole_view", lambda *given: torch.zeros_like(look(*given)))


PLANTED: list[tuple[Bug, str, str]] = [
    (advantages_mix_agents_up, "constant_pay", "ippo"),
    (advantages_pay_all_as_the_first, "wages-agent", "ippo"),
    (advantages_forget_the_discount, "later", "ippo"),
    (values_stay_in_their_scale, "reward_scale", "ippo"),
    (the_clipped_gradient_points_down, "bandit", "ippo"),
    (the_clipped_gradient_points_down, "echo", "ippo"),
    (no_final_values, "endless", "ippo"),
    (every_end_bootstraps, "eight_steps", "ippo"),
    (ends_are_overlooked, "rich_and_poor", "ippo"),
    (a_time_limit_outweighs_an_end, "both_flags", "ippo"),
    (agents_live_as_long_as_the_team, "early_death", "ippo"),
    (actors_see_the_state, "hidden_echo", "ippo"),
    (masks_are_forgotten, "forbidden", "ippo"),
    (advantages_pay_both_teams_alike, "zero_sum", "ippo"),
    (time_limits_are_remembered_as_ends, "endless", "hasac"),
    (ends_are_not_remembered, "rich_and_poor", "hasac"),
    (the_discount_is_forgotten, "later", "hasac"),
    (n_steps_are_discounted_as_one, "n_steps-5", "hasac"),
    (all_are_paid_as_the_first_is, "wages-agent", "hasac"),
    (the_second_team_is_paid_as_the_first, "zero_sum", "hasac"),
    (masks_are_forgotten, "forbidden", "hasac"),
    (masks_are_forgotten, "forced", "hasac"),
    (entropy_targets_count_illegal_actions, "led", "hasac"),
    (entropy_weighs_twice, "soft_bandit-auto", "hasac"),
    (others_stand_still, "quantal-1.0-joint", "hasac"),
    (actors_see_the_state, "hidden_echo", "hasac"),
    (bounds_are_taken_for_even, "target", "hasac"),
    (squashing_is_forgotten, "idle", "hasac"),
    (agents_see_what_stands_elsewhere, "seen_pay", "hasac"),
    (agents_see_what_stands_elsewhere, "echo", "hasac"),
    (agents_are_mixed_up, "constant_pay", "hasac"),
    (agents_are_mixed_up, "crowd", "hasac"),
    (termination_bootstraps, "eight_steps", "hasac"),
    (a_time_limit_outweighs_the_rules, "both_flags", "hasac"),
    (lives_end_with_the_episode, "early_death", "hasac"),
    (entropy_weighs_twice, "conventions-0.25", "hasac"),
    (values_are_not_normalised, "reward_scale", "hasac"),
    (pay_on_anothers_turn_is_lost, "last_word", "hasac"),
    (agents_are_mixed_up, "constant_pay", "hatd3"),
    (agents_are_mixed_up, "crowd", "hatd3"),
    (agents_see_what_stands_elsewhere, "seen_pay", "hatd3"),
    (n_steps_are_discounted_as_one, "n_steps-5", "hatd3"),
    (all_are_paid_as_the_first_is, "wages-agent", "hatd3"),
    (the_discount_is_forgotten, "later", "hatd3"),
    (the_gradient_points_down, "chase", "hatd3"),
    (actors_are_never_updated, "chase", "hatd3"),
    (the_lower_bound_is_forgotten, "chase_far", "hatd3"),
    (remembered_actions_are_mixed_up, "dial", "hatd3"),
    (the_discount_is_forgotten, "drift", "hatd3"),
    (truncation_is_termination, "endless", "hatd3"),
    (termination_bootstraps, "eight_steps", "hatd3"),
    (values_are_not_scaled_back, "rich_and_poor", "hatd3"),
    (a_time_limit_outweighs_the_rules, "both_flags", "hatd3"),
    (lives_end_with_the_episode, "early_death", "hatd3"),
    (actors_see_the_state, "hidden_chase", "hatd3"),
    (the_second_team_is_paid_as_the_first, "zero_sum", "hatd3"),
    (values_are_not_normalised, "reward_scale", "hatd3"),
    (pay_on_anothers_turn_is_lost, "last_word", "hatd3"),
    (agents_are_mixed_up, "constant_pay", "iql"),
    (agents_see_what_stands_elsewhere, "seen_pay", "qmix"),
    (n_steps_are_discounted_as_one, "n_steps-5", "qmix"),
    (lives_end_with_the_episode, "early_death", "iql"),
    (pay_on_anothers_turn_is_lost, "last_word", "iql"),
    (the_worst_is_played, "echo", "qmix"),
    (the_worst_is_played, "both_arms", "qmix"),
    (the_worst_is_played, "common_payoff", "qmix"),
    (the_discount_is_forgotten, "later", "qmix"),
    (targets_stand_still, "endless", "qmix"),
    (truncation_is_termination, "endless", "qmix"),
    (termination_bootstraps, "eight_steps", "qmix"),
    (values_are_not_scaled_back, "rich_and_poor", "qmix"),
    (a_time_limit_outweighs_the_rules, "both_flags", "qmix"),
    (a_team_ends_with_its_first_dead, "team_life", "qmix"),
    (actions_are_mixed_up, "own_number", "qmix"),
    (the_mix_is_blind, "hidden_pay", "qmix"),
    (actors_see_the_state, "hidden_echo", "iql"),
    (targets_take_illegal_actions, "forbidden", "iql"),
    (exploring_takes_illegal_actions, "forbidden", "qmix"),
    (the_absent_are_worth_something, "crowd", "vdn"),
    (only_the_first_choice_counts, "several_choices", "qmix"),
    (the_second_team_is_paid_as_the_first, "zero_sum", "iql"),
    (values_are_not_normalised, "reward_scale", "qmix"),
]
"""A bug, the question that finds it, and the learner that it is planted in."""
