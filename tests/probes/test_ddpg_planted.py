"""The probes of the deterministic learners are worth something: each finds a bug that is planted for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from marl import collector, policy
from marl.algorithms.ddpg import DDPG
from marl.buffers import GroupRollout, Rollout
from marl.replay_buffer import ReplayBuffer, Sample
from marl.values import ValueNorm
from tests.probes import test_ddpg as probes

Patch = pytest.MonkeyPatch


def change_rollouts(patch: Patch, change: Callable[[Rollout, GroupRollout], GroupRollout]) -> None:
    """Let buffers store other groups of agents than they are given."""
    add = ReplayBuffer.add

    def planted(self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> None:
        groups = {name: change(rollout, group) for name, group in rollout.groups.items()}
        add(self, replace(rollout, groups=groups), reward)

    patch.setattr(ReplayBuffer, "add", planted)


def change_samples(patch: Patch, change: Callable[[Sample], Sample]) -> None:
    draw = DDPG._draw
    patch.setattr(DDPG, "_draw", lambda self: change(draw(self)))


def change_pay(patch: Patch, change: Callable[[Tensor], Tensor]) -> None:
    paid = DDPG._paid
    patch.setattr(DDPG, "_paid", lambda self, rollout: change(paid(self, rollout)))


def truncation_is_termination(patch: Patch) -> None:
    change_rollouts(patch, lambda _, group: replace(group, terminated=group.terminated | group.truncated))


def termination_bootstraps(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=torch.full_like(sample.discount, 0.9)))


def a_time_limit_outweighs_the_rules(patch: Patch) -> None:
    change_rollouts(patch, lambda _, group: replace(group, terminated=group.terminated & ~group.truncated))


def lives_end_with_the_episode(patch: Patch) -> None:
    def planted(rollout: Rollout, group: GroupRollout) -> GroupRollout:
        over = rollout.episode_over.unsqueeze(-1).expand_as(group.terminated)
        return replace(group, terminated=over, acting=torch.ones_like(group.acting))

    change_rollouts(patch, planted)


def the_discount_is_forgotten(patch: Patch) -> None:
    change_samples(patch, lambda sample: replace(sample, discount=(sample.discount > 0).float()))


def agents_are_mixed_up(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward.flip(2))


def all_are_paid_as_the_first_is(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward[..., :1].expand_as(reward))


def the_second_team_is_paid_as_the_first(patch: Patch) -> None:
    change_pay(patch, lambda reward: reward.abs())


def values_are_not_scaled_back(patch: Patch) -> None:
    patch.setattr(DDPG, "_raw", lambda self, q: q)


def the_gradient_points_down(patch: Patch) -> None:
    hope = DDPG._hope
    patch.setattr(DDPG, "_hope", lambda self, *given: -hope(self, *given))


def actors_are_never_updated(patch: Patch) -> None:
    patch.setattr(DDPG, "_one_by_one", lambda self, sample, acting: 0.0)


def the_lower_bound_is_forgotten(patch: Patch) -> None:
    """As if the bounds were [-high, high]."""
    patch.setattr(policy, "box_scale", lambda space: (torch.zeros(1), torch.full((1,), float(space.high[0]))))


def actions_are_mixed_up(patch: Patch) -> None:
    remembered = DDPG._remembered
    patch.setattr(DDPG, "_remembered", lambda self, sample: remembered(self, sample)[::-1])


def values_are_not_normalised(patch: Patch) -> None:
    patch.setattr(ValueNorm, "moments", property(lambda self: (0.0, 1.0)))


def actors_see_the_state(patch: Patch) -> None:
    act = collector.Collector._act

    def planted(self: Any, t: int) -> Any:
        for views in self._views.values():
            views["obs"][t] += self._state[t][:, None]
        return act(self, t)

    patch.setattr(collector.Collector, "_act", planted)


PLANTED = [
    (agents_are_mixed_up, probes.constant_pay),
    (all_are_paid_as_the_first_is, probes.wages),
    (the_discount_is_forgotten, probes.later),
    (the_gradient_points_down, probes.chase),
    (actors_are_never_updated, probes.chase),
    (the_lower_bound_is_forgotten, probes.chase_far),
    (actions_are_mixed_up, probes.dial),
    (the_discount_is_forgotten, probes.drift),
    (truncation_is_termination, probes.endless),
    (termination_bootstraps, probes.eight_steps),
    (values_are_not_scaled_back, probes.rich_and_poor),
    (a_time_limit_outweighs_the_rules, probes.both_flags),
    (lives_end_with_the_episode, probes.early_death),
    (actors_see_the_state, probes.hidden_chase),
    (the_second_team_is_paid_as_the_first, probes.zero_sum),
    (values_are_not_normalised, probes.reward_scale),
]


@pytest.mark.parametrize(("bug", "probe"), PLANTED, ids=lambda function: function.__name__)
def test_a_planted_bug_is_found(bug: Callable[[Patch], None], probe: Callable[[str], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        probe("hatd3")


def test_a_sacrifice_needs_a_team_reward() -> None:
    """Paid each for itself the second agent lives: what it would die for is then not its own."""
    probe = probes.Probe(probes.Sacrifice(), "hatd3", "agent", exploration_noise=0.3)
    probe.train(400)
    first = probe.seen()[:, 0, 0] == 0
    assert probe.actions()[first, 1, 0].max() <= -0.25
