"""Losses: exact numbers, known gradients, and entries that do not count do not exist."""

from __future__ import annotations

import math

import pytest
import torch

from marl import losses


def test_the_surrogate_by_hand() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1], requires_grad=True)
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0])
    loss = losses.ppo_clip_loss(ratio.log(), advantage, 0.2)
    torch.testing.assert_close(loss, torch.tensor([-2.4, 3.0, -1.0, 1.6, -2.2]))
    (slope,) = torch.autograd.grad(loss.sum(), ratio)
    torch.testing.assert_close(slope, torch.tensor([0.0, 2.0, -2.0, 0.0, -2.0]))  # cut only where it would go further


def test_value_errors_by_hand() -> None:
    prediction, target = torch.tensor([0.0, 3.0]), torch.tensor([1.0, 0.0])
    torch.testing.assert_close(losses.value_error(prediction, target, None), torch.tensor([0.5, 4.5]))
    torch.testing.assert_close(losses.value_error(prediction, target, 2.0), torch.tensor([0.5, 4.0]))


def test_value_clipping() -> None:
    prediction, old, target = torch.tensor([0.9, 0.9, 0.1]), torch.zeros(3), torch.tensor([1.0, -1.0, 1.0])
    clipped = losses.clipped_value_loss(prediction, old, target, 0.2, None)
    torch.testing.assert_close(clipped, torch.tensor([0.5 * 0.8**2, 0.5 * 1.9**2, 0.5 * 0.9**2]))
    without = losses.clipped_value_loss(prediction, old, target, None, None)
    assert torch.equal(losses.clipped_value_loss(prediction, old, target, math.inf, None), without)
    assert not torch.equal(clipped, without)


@pytest.mark.parametrize("garbage", [math.nan, 1e6, math.inf])
def test_what_does_not_count_may_be_anything(garbage: float) -> None:
    x = torch.tensor([[1.0, 2.0], [4.0, 9.0]], requires_grad=True)
    use = torch.tensor([[True, True], [True, False]])
    poisoned = torch.where(use, x, garbage)
    assert losses.masked_sum(poisoned, use).item() == 7.0
    (slope,) = torch.autograd.grad(losses.masked_sum(poisoned, use), x)
    assert torch.equal(slope, use.float())
    assert torch.equal(losses.normalise(poisoned.detach(), use), losses.normalise(x.detach(), use))


def test_normalised_numbers() -> None:
    x = torch.randn(50, 6, 4, generator=torch.Generator().manual_seed(0)) * 1000 + 7
    use = torch.rand(50, 6, 4, generator=torch.Generator().manual_seed(1)) < 0.4
    whole = losses.normalise(x, use)[use].double()
    assert abs(float(whole.mean())) < 1e-6
    assert float(whole.std(unbiased=False)) == pytest.approx(1, abs=1e-5)
    each = losses.normalise(x, use, (0, 1))
    for n in range(4):
        own = each[:, :, n][use[:, :, n]].double()
        assert abs(float(own.mean())) < 1e-6
        assert float(own.std(unbiased=False)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.3, 1000.3, 1e6])
def test_equal_numbers_become_0(constant: float) -> None:
    """In float32 their mean differs from them by rounding, and dividing by that deviation would give 1."""
    x, use = torch.full((999, 3), constant), torch.ones(999, 3, dtype=torch.bool)
    assert float(losses.normalise(x, use).abs().max()) < 1e-2
    assert float(losses.normalise(x[:1, :1], use[:1, :1])) == 0.0
    assert float(losses.normalise(x, ~use).abs().max()) == 0.0  # nothing counts: no NaN


def test_padding_changes_nothing() -> None:
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    use = torch.rand(9, 2, generator=torch.Generator().manual_seed(1)) < 0.7
    wide, wide_use = torch.full((9, 8), 55.0), torch.zeros(9, 8, dtype=torch.bool)
    wide[:, :2], wide_use[:, :2] = x, use
    torch.testing.assert_close(losses.normalise(wide, wide_use)[:, :2], losses.normalise(x, use), rtol=1e-6, atol=1e-6)
    assert float(losses.masked_sum(wide, wide_use)) == pytest.approx(float(losses.masked_sum(x, use)))
