"""Action distributions as pure functions of (parameters, mask) and noise.

Noise is uniform in (0, 1) and handed in, so that sampling is a function: `action = sample(noise)`. Shapes: `[..., K]`
logits, `[..., d]` action dimensions; log-probabilities and entropies are `[...]`, in nats.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from environments.spec import AgentGroup

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
SMALLEST_LOG_STD, LARGEST_LOG_STD = -10.0, 2.0
"""Between which a squashed normal's log-deviation is kept, before squashing."""
NODES, WEIGHTS = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(64))


class Distribution(Protocol):
    """What policies need of a distribution over one agent's actions."""

    def sample(self, noise: Tensor) -> Tensor:
        """Action from uniform noise `[..., noise_size]`."""
        ...

    def mode(self) -> Tensor:
        """The greedy action."""
        ...

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (density for Box, in the action's own units) of an action that was sampled."""
        ...

    def entropy(self) -> Tensor:
        """Entropy."""
        ...


class Categorical:
    """Discrete actions; illegal ones have probability exactly 0 and cost no entropy.

    log p_k = x_k - log sum_{legal j} exp x_j.
    """

    def __init__(self, logits: Tensor, mask: Tensor | None = None) -> None:
        self.mask = mask
        if mask is not None:
            logits = torch.where(mask, logits, -torch.inf)
        self.log_probs = torch.log_softmax(logits, -1)

    @property
    def probs(self) -> Tensor:
        """Probabilities `[..., K]`."""
        return self.log_probs.exp()

    def sample(self, noise: Tensor) -> Tensor:
        """Inverse distribution function: the number of cumulative probabilities that `noise [..., 1]` exceeds."""
        cumulative = self.probs.cumsum(-1)
        below = (cumulative <= noise * cumulative[..., -1:]).sum(-1)
        return torch.minimum(below, self._last_legal()).to(torch.int32)  # rounding must not step past it

    def mode(self) -> Tensor:
        """The likeliest action, the first of equals."""
        return self.log_probs.argmax(-1).to(torch.int32)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability of `action [...]`."""
        return self.log_probs.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """H = -sum_legal p log p."""
        log_probs = self.log_probs
        if self.mask is not None:  # 0 * -inf would be NaN, in value and in gradient
            log_probs = log_probs.masked_fill(~self.mask, 0.0)
        return -(self.probs * log_probs).sum(-1)

    def _last_legal(self) -> Tensor:
        size = self.log_probs.shape[-1]
        if self.mask is None:
            return torch.tensor(size - 1, device=self.log_probs.device)
        return (self.mask * torch.arange(size, device=self.mask.device)).amax(-1)


class MultiCategorical:
    """Several independent discrete choices; the logits and masks stand side by side."""

    def __init__(self, logits: Tensor, sizes: tuple[int, ...], mask: Tensor | None = None) -> None:
        masks = [None] * len(sizes) if mask is None else torch.split(mask, list(sizes), -1)
        self.parts = [Categorical(x, m) for x, m in zip(torch.split(logits, list(sizes), -1), masks, strict=True)]

    @property
    def probs(self) -> Tensor:
        """Probabilities of all choices side by side `[..., sum K]`."""
        return torch.cat([part.probs for part in self.parts], -1)

    def sample(self, noise: Tensor) -> Tensor:
        """One choice per dimension, `[..., dims]`."""
        return torch.stack([part.sample(noise[..., i : i + 1]) for i, part in enumerate(self.parts)], -1)

    def mode(self) -> Tensor:
        """The likeliest of each choice."""
        return torch.stack([part.mode() for part in self.parts], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Sum over the choices."""
        return torch.stack([part.log_prob(action[..., i]) for i, part in enumerate(self.parts)], -1).sum(-1)

    def entropy(self) -> Tensor:
        """Sum over the choices."""
        return torch.stack([part.entropy() for part in self.parts], -1).sum(-1)


class EpsilonGreedy(Categorical):
    """The legal action of largest value, the first of equals, but with probability epsilon any legal one:

    p_k = (1 - epsilon) [k is the best] + epsilon / (number of legal actions); NaN where the values are not numbers.
    """

    def __init__(self, values: Tensor, epsilon: float, mask: Tensor | None = None) -> None:
        legal = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        self.best = torch.where(legal, values, -torch.inf).argmax(-1)
        probs = epsilon * legal.to(values.dtype) / legal.sum(-1, keepdim=True)
        probs = probs.scatter_add(-1, self.best.unsqueeze(-1), torch.full_like(probs[..., :1], 1 - epsilon))
        self.mask = probs > 0
        known = values.isfinite().all(-1, keepdim=True)  # or the first action would quietly be the best
        self.log_probs = torch.where(known, probs.log(), torch.nan)

    def mode(self) -> Tensor:
        """The action of largest value, also where epsilon is 1."""
        return self.best.to(torch.int32)


class MultiEpsilonGreedy(MultiCategorical):
    """`EpsilonGreedy` of several independent choices, each of which explores for itself."""

    def __init__(self, values: Tensor, sizes: tuple[int, ...], epsilon: float, mask: Tensor | None = None) -> None:
        masks = [None] * len(sizes) if mask is None else torch.split(mask, list(sizes), -1)
        rows = zip(torch.split(values, list(sizes), -1), masks, strict=True)
        self.parts: list[Categorical] = [EpsilonGreedy(x, epsilon, m) for x, m in rows]


def choose(
    group: AgentGroup, values: Tensor, mask: Tensor | None, epsilon: float
) -> EpsilonGreedy | MultiEpsilonGreedy:
    """What agents of a group do who know the values `[B, n, sum K]` of their actions."""
    if isinstance(group.action_space, spaces.Discrete):
        return EpsilonGreedy(values, epsilon, mask)
    assert isinstance(group.action_space, spaces.MultiDiscrete)
    return MultiEpsilonGreedy(values, tuple(group.action_space.nvec.tolist()), epsilon, mask)


class DiagonalGaussian:
    """Independent normals around `centre + half * mean`, with deviation `half * std`, in the action's own units.

    `centre` and `half` come from the bounds (0 and 1 where a dimension is unbounded), so a standard network reaches
    any box, asymmetric ones too. Actions are *not* clipped here: the stored action is the one whose density is known,
    and whoever steps the environment clips a copy.

        log p(a) = sum_d [ -((a_d - m_d) / s_d)^2 / 2 - log s_d - log sqrt(2 pi) ],   m = centre + half * mean
    """

    def __init__(self, mean: Tensor, log_std: Tensor, centre: Tensor, half: Tensor) -> None:
        self.mean = centre + half * mean
        self.log_std = (log_std + half.log()).expand_as(self.mean)

    def sample(self, noise: Tensor) -> Tensor:
        """m + s * Phi^-1(noise)."""
        standard: Tensor = torch.special.ndtri(noise)
        return self.mean + self.log_std.exp() * standard

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean

    def deviation(self) -> Tensor:
        """Standard deviation `[..., d]`."""
        return self.log_std.exp().expand_as(self.mean)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density of `action [..., d]`."""
        z = (action - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * z.square() - self.log_std - LOG_SQRT_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """H = sum_d [ log s_d + 1/2 + log sqrt(2 pi) ]."""
        return (self.log_std + (0.5 + LOG_SQRT_2PI)).sum(-1)


class SquashedGaussian:
    """Independent normals u = mean + std * z, squashed into the bounds: a = centre + half * tanh(u), whatever they are.

    y = tanh(u) is the action in *normalised* units, in [-1, 1] whatever the bounds. With
    log(1 - tanh^2 u) = 2 (log 2 - u - softplus(-2u)), which is finite for every u (Haarnoja et al. 2018,
    arXiv:1812.05905, appendix C),

        log p(y) = sum_d [ -z_d^2 / 2 - log std_d - log sqrt(2 pi) - log(1 - tanh^2 u_d) ]
        log p(a) = log p(y) - sum_d log half_d
    """

    def __init__(self, mean: Tensor, log_std: Tensor, centre: Tensor, half: Tensor) -> None:
        self.mean, self.centre, self.half = mean, centre, half
        self.log_std = log_std.clamp(SMALLEST_LOG_STD, LARGEST_LOG_STD)

    def draw(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Action `[..., d]` and its log-density `[...]`, in normalised units, from standard normal `z [..., d]`."""
        u = self.mean + self.log_std.exp() * z
        log_prob = (-0.5 * z.square() - self.log_std - LOG_SQRT_2PI - _log_slope(u)).sum(-1)
        return torch.tanh(u), log_prob

    def sample(self, noise: Tensor) -> Tensor:
        """Phi^-1 of uniform noise, scaled, shifted and squashed."""
        standard: Tensor = torch.special.ndtri(noise)
        return self.centre + self.half * torch.tanh(self.mean + self.log_std.exp() * standard)

    def mode(self) -> Tensor:
        """The median, squashed: where the density has no peak inside the bounds it has no better single action."""
        return self.centre + self.half * torch.tanh(self.mean)

    def deviation(self) -> Tensor:
        """Standard deviation `[..., d]` of a linearised squashing, in the action's own units."""
        return self.half * self.log_std.exp() * _log_slope(self.mean).exp()

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density of `action [..., d]` in its own units; one on the bounds is taken as just inside."""
        edge = 1 - torch.finfo(action.dtype).eps
        u = torch.atanh(((action - self.centre) / self.half).clamp(-edge, edge))
        z = (u - self.mean) * torch.exp(-self.log_std)
        density = -0.5 * z.square() - self.log_std - LOG_SQRT_2PI - _log_slope(u)
        return (density - self.half.log()).sum(-1)

    def entropy(self) -> Tensor:
        """H = sum_d [ log std_d + 1/2 + log sqrt(2 pi) + E log(1 - tanh^2 u_d) + log half_d ], in the action's units.

        The expectation by Gauss and Hermite's rule with 64 nodes: to 1e-3 nats and better for deviations up to 2.
        """
        nodes, weights = NODES.to(self.mean.dtype), WEIGHTS.to(self.mean.dtype) / math.sqrt(2 * math.pi)
        u = self.mean.unsqueeze(-1) + self.log_std.exp().unsqueeze(-1) * nodes
        slope = (_log_slope(u) * weights).sum(-1)
        return (self.log_std + 0.5 + LOG_SQRT_2PI + slope + self.half.log()).sum(-1)


class Deterministic:
    """One point of the bounds, a = centre + half * tanh(output), whatever the noise: log-probability and entropy are 0.

    Exploring is not its business: whoever wants noise adds it to `y` = tanh(output), the action in normalised units.
    """

    def __init__(self, output: Tensor, centre: Tensor, half: Tensor) -> None:
        self.y, self.centre, self.half = torch.tanh(output), centre, half

    def scaled(self, y: Tensor) -> Tensor:
        """`y [..., d]` in the action's own units."""
        return self.centre + self.half * y

    def sample(self, noise: Tensor) -> Tensor:
        """The point."""
        return self.mode()

    def mode(self) -> Tensor:
        """The point."""
        return self.scaled(self.y)

    def deviation(self) -> Tensor:
        """Zeros `[..., d]`."""
        return torch.zeros_like(self.y)

    def log_prob(self, action: Tensor) -> Tensor:
        """Zeros, of the point as of any other: nobody is to learn from them."""
        return torch.zeros_like(action[..., 0])

    def entropy(self) -> Tensor:
        """Zeros."""
        return torch.zeros_like(self.y[..., 0])


def _log_slope(u: Tensor) -> Tensor:
    """log(1 - tanh^2 u)."""
    return 2 * (math.log(2) - u - torch.nn.functional.softplus(-2 * u))


def divergence(p: Any, q: Any) -> Tensor:
    """KL(p || q) `[...]` in nats, of two distributions of the same kind and with the same legal actions.

    Squashing is one to one, so it does not change the divergence of the normals beneath.
    """
    if isinstance(p, MultiCategorical):
        return torch.stack([divergence(a, b) for a, b in zip(p.parts, q.parts, strict=True)], -1).sum(-1)
    if isinstance(p, Categorical):
        difference: Tensor = p.log_probs - q.log_probs
        if p.mask is not None:  # -inf - -inf would be NaN, in value and in gradient
            difference = torch.where(p.mask, p.log_probs, 0.0) - torch.where(p.mask, q.log_probs, 0.0)
        return (p.probs * difference).sum(-1)
    ratio = (2 * (p.log_std - q.log_std)).exp()
    moved = (p.mean - q.mean).square() * (-2 * q.log_std).exp()
    whole: Tensor = 0.5 * (ratio + moved - 1 - 2 * (p.log_std - q.log_std)).sum(-1)
    return whole


def straight_through(log_probs: Tensor, noise: Tensor) -> Tensor:
    """One-hot draws `[..., K]` whose gradient is that of the softmax beneath (Jang et al. 2017, arXiv:1611.01144).

    y = softmax(log p + g) with Gumbel noise g = -log(-log noise); forward the one-hot of its largest entry, backward y.
    Illegal actions (log p = -inf) are never drawn and have no gradient.
    """
    soft = torch.softmax(log_probs - torch.log(-torch.log(noise)), -1)
    hard = torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def noise_size(space: spaces.Space[Any]) -> int:
    """Uniform numbers that one action of `space` takes."""
    if isinstance(space, spaces.Discrete):
        return 1
    if isinstance(space, spaces.MultiDiscrete):
        return len(space.nvec)
    return math.prod(space.shape or ())


def head_size(space: spaces.Space[Any]) -> int:
    """Network outputs that parameterise a distribution over `space`."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return math.prod(space.shape or ())


def box_scale(space: spaces.Box) -> tuple[Tensor, Tensor]:
    """`centre`, `half` `[d]` of a Box; 0 and 1 where a dimension is unbounded, `half` 1 where one value is legal."""
    low, high = (np.asarray(x, np.float64).reshape(-1) for x in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        centre = np.where(bounded, (low + high) / 2, 0.0)
        half = np.where(bounded & (high > low), (high - low) / 2, 1.0)
    return torch.as_tensor(centre, dtype=torch.float32), torch.as_tensor(half, dtype=torch.float32)


def legal_box(space: spaces.Box, action: np.ndarray) -> np.ndarray:
    """A Box action clipped to its bounds, float32: what an environment is given."""
    return np.asarray(np.clip(action, space.low.reshape(-1), space.high.reshape(-1)), np.float32)
