"""Losses as pure functions; per entry, so that whoever calls decides which entries count."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_sum(x: Tensor, use: Tensor) -> Tensor:
    """Sum of the entries where `use`. Others may hold anything, NaN included."""
    return torch.where(use, x, 0.0).sum()


def ppo_clip_loss(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Clipped surrogate (Schulman et al. 2017, arXiv:1707.06347, eq. 7), negated to be minimised.

    L = -min(rho A, clip(rho, 1 - c, 1 + c) A),  rho = exp(log pi(a) - log pi_old(a)); shapes all equal.
    """
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def value_error(prediction: Tensor, target: Tensor, huber_delta: float | None) -> Tensor:
    """Huber loss with that delta, or half the squared error where None; shapes equal."""
    error = prediction - target
    if huber_delta is None:
        return 0.5 * error.square()
    size = error.abs()
    return torch.where(size <= huber_delta, 0.5 * error.square(), huber_delta * (size - 0.5 * huber_delta))


def clipped_value_loss(
    prediction: Tensor, old: Tensor, target: Tensor, clip: float | None, huber_delta: float | None
) -> Tensor:
    """The larger of the errors of the prediction and of the prediction kept within `clip` of the old one.

    All in the same (normalised) units; `clip` None or infinite means no clipping. Yu et al. 2022 (arXiv:2103.01955).
    """
    loss = value_error(prediction, target, huber_delta)
    if clip is None:
        return loss
    kept = old + (prediction - old).clamp(-clip, clip)
    return torch.maximum(loss, value_error(kept, target, huber_delta))


def normalise(x: Tensor, use: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """(x - mean) / (std + 1e-8) with statistics of the entries where `use`, over `dims` (all by default).

    Constant entries become 0: the statistics are float64, because in float32 the mean of equal numbers differs from
    them by a rounding error, which the division would blow up to 1. Population deviation, so a single entry gives 0 and
    not NaN.
    """
    axes = tuple(range(x.dim())) if dims is None else dims
    count = use.sum(axes, keepdim=True).clamp(min=1)
    kept = torch.where(use, x.double(), 0.0)
    mean = kept.sum(axes, keepdim=True) / count
    centred = torch.where(use, kept - mean, 0.0)
    deviation = (centred.square().sum(axes, keepdim=True) / count).sqrt()
    return (centred / (deviation + 1e-8)).to(x.dtype)
