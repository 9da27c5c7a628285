"""Bugs planted into the soft actor-critics: the probe that isolates what is broken fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from marl import collector, distributions
from marl.algorithms import sac
from marl.algorithms.sac import SAC
from marl.buffers import Rollout
from marl.distributions import Categorical
from marl.replay_buffer import ReplayBuffer, Sample, Views
from tests.probes import test_across
from tests.probes.test_sac import (
    bandit,
    endless,
    forbidden,
    hidden_echo,
    idle,
    later,
    led,
    n_steps,
    quantal,
    rich_and_poor,
    seen_pay,
    target,
    wages,
    zero_sum,
)

Patch = pytest.MonkeyPatch


def targets_with(patch: Patch, change: Callable[[Sample], Sample]) -> None:
    whole = SAC._targets
    patch.setattr(SAC, "_targets", lambda self, sample: whole(self, change(sample)))


def truncation_is_termination(patch: Patch) -> None:
    whole = ReplayBuffer._rows

    def planted(self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> Any:
        views, events, finals = whole(self, rollout, reward)
        return views, {**events, "ended": events["ended"].clamp(max=1)}, finals

    patch.setattr(ReplayBuffer, "_rows", planted)


def episodes_run_into_one_another(patch: Patch) -> None:
    whole = ReplayBuffer._rows

    def planted(self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> Any:
        views, events, finals = whole(self, rollout, reward)
        return views, {**events, "ended": 0 * events["ended"]}, finals

    patch.setattr(ReplayBuffer, "_rows", planted)


def the_discount_is_forgotten(patch: Patch) -> None:
    targets_with(patch, lambda sample: replace(sample, discount=(sample.discount > 0).float()))


def n_steps_are_discounted_as_one(patch: Patch) -> None:
    targets_with(patch, lambda sample: replace(sample, discount=0.9 * (sample.discount > 0).float()))


def all_are_paid_as_the_first_is(patch: Patch) -> None:
    whole = SAC._paid
    patch.setattr(SAC, "_paid", lambda self, rollout: whole(self, rollout)[..., :1].expand_as(whole(self, rollout)))


def the_second_team_is_paid_as_the_first(patch: Patch) -> None:
    whole = SAC._paid
    patch.setattr(SAC, "_paid", lambda self, rollout: whole(self, rollout).abs())


def masks_are_forgotten(patch: Patch) -> None:
    whole = Categorical.__init__
    patch.setattr(Categorical, "__init__", lambda self, logits, mask=None: whole(self, logits))


def entropy_targets_count_illegal_actions(patch: Patch) -> None:
    def planted(self: SAC, views: Views) -> Tensor:
        return torch.full(views.acting.shape, self.config.entropy_per_choice * math.log(4))

    patch.setattr(SAC, "_wanted", planted)


def entropy_weighs_twice(patch: Patch) -> None:
    whole = SAC._log_probs
    patch.setattr(SAC, "_log_probs", lambda self, acts, acting: 2 * whole(self, acts, acting))


def others_stand_still(patch: Patch) -> None:
    """The second agent answers what the first did at random long ago."""
    whole = sac.Hopes.of_one

    def planted(self: Any, agent: int, values: list[Tensor], probs: Tensor | None) -> Tensor:
        uniform = [x if i == agent else torch.full_like(x, 0.5) for i, x in enumerate(values)]
        return whole(self, agent, uniform, probs)

    patch.setattr(sac.Hopes, "of_one", planted)


def actors_see_the_state(patch: Patch) -> None:
    whole = collector.Collector._act

    def planted(self: Any, t: int) -> Any:
        for views in self._views.values():
            views["obs"][t] += self._state[t][:, None]
        return whole(self, t)

    patch.setattr(collector.Collector, "_act", planted)


def bounds_are_taken_for_even(patch: Patch) -> None:
    """The middle of the box is forgotten where actions are remembered."""
    whole = SAC._remembered

    def planted(self: SAC, sample: Sample) -> list[Tensor]:
        return [x + torch.tensor([0.5, 1.0]) for x in whole(self, sample)]

    patch.setattr(SAC, "_remembered", planted)


def agents_see_what_stands_elsewhere(patch: Patch) -> None:
    """Observations are remembered as those of other copies."""
    whole = ReplayBuffer._rows

    def planted(self: ReplayBuffer, rollout: Rollout, reward: Tensor) -> Any:
        views, events, finals = whole(self, rollout, reward)
        return {name: x.flip(1) if name.startswith("obs") else x for name, x in views.items()}, events, finals

    patch.setattr(ReplayBuffer, "_rows", planted)


def forced(name: str) -> None:
    test_across.test_forced_moves_teach_actors_nothing(name)


def squashing_is_forgotten(patch: Patch) -> None:
    patch.setattr(distributions, "_log_slope", torch.zeros_like)


PLANTED = [
    (truncation_is_termination, endless),
    (episodes_run_into_one_another, rich_and_poor),
    (the_discount_is_forgotten, later),
    (n_steps_are_discounted_as_one, n_steps),
    (all_are_paid_as_the_first_is, wages),
    (the_second_team_is_paid_as_the_first, zero_sum),
    (masks_are_forgotten, forbidden),
    (entropy_targets_count_illegal_actions, led),
    (entropy_weighs_twice, bandit),
    (others_stand_still, lambda name: quantal(name, 1.0, 0.8042)),
    (actors_see_the_state, hidden_echo),
    (bounds_are_taken_for_even, target),
    (squashing_is_forgotten, idle),
    (agents_see_what_stands_elsewhere, seen_pay),
    (masks_are_forgotten, forced),
]


@pytest.mark.parametrize(("bug", "probe"), PLANTED, ids=lambda function: function.__name__)
def test_a_planted_bug_is_found(bug: Callable[[Patch], None], probe: Callable[[str], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        probe("hasac")
