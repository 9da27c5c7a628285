"""A player that errs: each of its agents takes a random action instead of its own with some probability."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from marl.acting import Hidden, PolicyStep, View
from marl.policy import Policy
from marl.random_policy import RandomPolicy

OPEN = 1e-7, 1 - 1e-7
"""Uniform numbers are kept between these."""


class Erring:
    """A policy, and the chance of an error."""

    def __init__(self, policy: Policy, errors: float) -> None:
        self.policy, self.errors = policy, errors
        self.random = RandomPolicy(policy.spec)

    @property
    def memory(self) -> Mapping[str, int]:
        """The policy's; it remembers what it has seen, whether it erred or not."""
        return self.policy.memory

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False, hidden: Hidden | None = None
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents."""
        if self.errors == 0:
            return self.policy.step(views, noise, greedy, hidden)
        errs, fresh = err(noise, torch.tensor(self.errors))
        own, random = self.policy.step(views, fresh, greedy, hidden), self.random.step(views, fresh)
        return {name: mixed(own[name], random[name], errs[name]) for name in own}


def err(noise: Mapping[str, Tensor], errors: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Which agents err, `[S, n]`, and the noise that they have left.

    A draw's first number says whether an agent errs, and what is left of it is used as if it were fresh. `errors` is
    the chance, above 0: one for all, or one for each row, `[S, 1]`.
    """
    errs: dict[str, Tensor] = {}
    fresh: dict[str, Tensor] = {}
    for name, draws in noise.items():
        first = draws[..., 0]
        errs[name] = first < errors
        left = torch.where(errs[name], first / errors, (first - errors) / (1 - errors))
        fresh[name] = torch.cat([left.clamp(*OPEN)[..., None], draws[..., 1:]], -1)
    return errs, fresh


def mixed(own: PolicyStep, other: PolicyStep, use_other: Tensor) -> PolicyStep:
    """The other's actions where they are to be used."""
    rows = use_other.view(*use_other.shape, *[1] * (own.action.dim() - use_other.dim()))
    action = torch.where(rows, other.action.to(own.action.dtype), own.action)
    return PolicyStep(action, torch.where(use_other, other.log_prob, own.log_prob), own.hidden)
