"""Trust regions: what keeps a policy near the one that acted while it is improved, as a part of PPO's update.

An instance is a frozen object with one function, `loss`: what each decision costs, given the ratio of probabilities,
the advantage and, where it asks for one, the exact divergence of the two policies at that view. It may have weights
that move: numbers per agent, handed in and returned, kept by the learner and saved with it. `REGIONS` names them all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from marl import losses
from marl.config_rollout import PPOConfig

ROOT_FLOOR = 1e-8
"""Added to a divergence before its root is taken, whose slope at 0 is infinite."""


class TrustRegion(ABC):
    """What an instance says; `r` agents that are updated together, `C` weights of each."""

    divergence: ClassVar[Literal["none", "of_old", "of_new"]] = "none"
    """Which divergence `loss` is given: none, KL(old || new) or KL(new || old)."""

    @property
    def limit(self) -> float | None:
        """Largest divergence that an update may leave at any view, or none: what is above is mended afterwards."""
        return None

    @abstractmethod
    def loss(self, log_ratio: Tensor, advantage: Tensor, divergence: Tensor, weights: Tensor) -> Tensor:
        """What each decision costs, `[B, r]`, from arrays `[B, r]` and `weights [C, r]`."""

    def start(self, agents: int) -> Tensor:
        """Weights before the first update, `[C, agents]`; C = 0 where there are none."""
        return torch.zeros(0, agents)

    def begin(self, weights: Tensor, progress: float) -> Tensor:
        """Weights of an update, `progress` in [0, 1] being the part of training that is done."""
        return weights

    def stepped(self, weights: Tensor, largest: float) -> Tensor:
        """Weights after a gradient step whose samples had that largest divergence."""
        return weights

    def updated(self, weights: Tensor, divergence: Tensor, use: Tensor) -> Tensor:
        """Weights after an update that left those divergences `[B, r]`, of which those where `use` count."""
        return weights


@dataclass(frozen=True)
class Clip(TrustRegion):
    """The clipped surrogate of PPO (Schulman et al. 2017, arXiv:1707.06347): `losses.ppo_clip_loss`."""

    clip: float

    def loss(self, log_ratio: Tensor, advantage: Tensor, divergence: Tensor, weights: Tensor) -> Tensor:
        """-min(rho A, clip(rho, 1 - c, 1 + c) A)."""
        return losses.ppo_clip_loss(log_ratio, advantage, self.clip)


@dataclass(frozen=True)
class Decentralised(TrustRegion):
    """Decentralised policy optimisation (Su and Lu 2024, TMLR; arXiv:2211.03032).

    The divergence's root bounds what other agents' changes do to an agent's surrogate, the divergence what its own
    does; so two weights, which each agent adapts by itself after every update, with d its mean of sqrt KL or of KL and
    d* the target:

        b <- 2 b where d > 1.5 d*,    b <- b / 2 where d < d* / 1.5,    within [0.001, 1000]
    """

    divergence = "of_old"
    target: float
    SLACK: ClassVar[float] = 1.5
    FACTOR: ClassVar[float] = 2.0
    LIMITS: ClassVar[tuple[float, float]] = (1e-3, 1e3)

    def loss(self, log_ratio: Tensor, advantage: Tensor, divergence: Tensor, weights: Tensor) -> Tensor:
        """-rho A + b_1 sqrt KL(old || new) + b_2 KL(old || new)."""
        kl = divergence.clamp(min=0.0)
        return -log_ratio.exp() * advantage + weights[0] * (kl + ROOT_FLOOR).sqrt() + weights[1] * kl

    def start(self, agents: int) -> Tensor:
        """Both 1."""
        return torch.ones(2, agents)

    def updated(self, weights: Tensor, divergence: Tensor, use: Tensor) -> Tensor:
        """Both adapted; the root's target is the root of the target."""
        kl = torch.where(use, divergence, 0.0).clamp(min=0.0)
        found = torch.stack([kl.sqrt(), kl]).sum(1) / use.sum(0).clamp(min=1)
        wanted = torch.tensor([[self.target**0.5], [self.target]])
        factor = torch.where(found > self.SLACK * wanted, self.FACTOR, 1.0)
        factor = torch.where(found < wanted / self.SLACK, 1 / self.FACTOR, factor)
        return (weights * factor).clamp(*self.LIMITS)


@dataclass(frozen=True)
class MirrorDescent(TrustRegion):
    """Mirror descent policy optimisation (Tomar et al. 2020, arXiv:2005.09814, on-policy).

    Several gradient steps on E[rho A] - KL(new || old) / t; the step t falls linearly from its start to 0 over
    training, so the divergence weighs ever more.
    """

    divergence = "of_new"
    weight: float
    SMALLEST: ClassVar[float] = 1e-2
    """Part of the step's start below which it does not fall."""

    def loss(self, log_ratio: Tensor, advantage: Tensor, divergence: Tensor, weights: Tensor) -> Tensor:
        """-rho A + KL(new || old) / t."""
        return -log_ratio.exp() * advantage + weights[0] * divergence

    def start(self, agents: int) -> Tensor:
        """1 / t at the start."""
        return torch.full((1, agents), self.weight)

    def begin(self, weights: Tensor, progress: float) -> Tensor:
        """1 / t now."""
        return torch.full_like(weights, self.weight / max(1.0 - progress, self.SMALLEST))


@dataclass(frozen=True)
class FixUp(TrustRegion):
    """FixPO (Zentner et al. 2023, arXiv:2303.05644): a divergence in *every* state below a bound e, after every update.

    While it learns, the weight b of the divergence climbs where a minibatch's largest divergence is above e / C and
    falls where it is below; what is still above e afterwards is mended by steps on the divergence alone:

        b <- max(0, b + .03 (C max KL(old || new) / e - 1)),    C = 5

    A divergence grows from 0 during an update, so that its end is about twice its mean: with the published C of 2 to 3
    what a minibatch shows leads the end of an update to the bound itself, and much is left to be mended.
    """

    divergence = "of_old"
    bound: float
    weight: float
    HASTE: ClassVar[float] = 5.0
    STEP: ClassVar[float] = 0.03

    def loss(self, log_ratio: Tensor, advantage: Tensor, divergence: Tensor, weights: Tensor) -> Tensor:
        """-rho A + b KL(old || new)."""
        return -log_ratio.exp() * advantage + weights[0] * divergence

    def start(self, agents: int) -> Tensor:
        """As the settings say."""
        return torch.full((1, agents), self.weight)

    @property
    def limit(self) -> float | None:
        """The bound."""
        return self.bound

    def stepped(self, weights: Tensor, largest: float) -> Tensor:
        """The weight, a step further."""
        return (weights + self.STEP * (self.HASTE * largest / self.bound - 1.0)).clamp(min=0.0)


REGIONS: dict[str, Callable[[PPOConfig], TrustRegion]] = {
    "clip": lambda config: Clip(config.clip),
    "dpo": lambda config: Decentralised(config.kl_target),
    "mdpo": lambda config: MirrorDescent(config.kl_weight),
    "fixpo": lambda config: FixUp(config.kl_bound, config.kl_weight),
}
"""Every trust region by name."""
