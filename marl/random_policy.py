"""Random play, which every scenario is measured against."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gymnasium import spaces
from torch import Tensor

from marl.acting import PolicyStep, View
from marl.distributions import Categorical, MultiCategorical, box_scale, head_size
from marl.policy_spec import PolicySpec


class RandomPolicy:
    """Uniform over the legal actions (over the box, for Box): the baseline that every scenario names."""

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """Uniform actions; `greedy` changes nothing."""
        steps = {}
        for group in self.spec.groups:
            view, u = views[group.name], noise[group.name]
            shape = (*view.acting.shape, head_size(group.action_space))
            if isinstance(group.action_space, spaces.Box):
                centre, half = box_scale(group.action_space)
                action = centre + half * (2 * u - 1)
                log_prob = -(2 * half).log().sum().expand(view.acting.shape)
            else:
                sizes = getattr(group.action_space, "nvec", None)
                uniform = (
                    Categorical(torch.zeros(shape), view.action_mask)
                    if sizes is None
                    else MultiCategorical(torch.zeros(shape), tuple(int(n) for n in sizes), view.action_mask)
                )
                action = uniform.sample(u)
                log_prob = uniform.log_prob(action)
            steps[group.name] = PolicyStep(action, log_prob)
        return steps
