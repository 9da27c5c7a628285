"""Squashed normals, straight-through draws and divergences against what is known of them."""

from __future__ import annotations

import math

import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal, kl_divergence

from marl.distributions import (
    Categorical,
    MultiCategorical,
    SquashedGaussian,
    box_scale,
    divergence,
    straight_through,
)
from marl.seeding import torch_generator

LOPSIDED = spaces.Box(torch.tensor([-1.0, 0.0]).numpy(), torch.tensor([3.0, 10.0]).numpy())


def squashed(mean: list[float], log_std: list[float], box: spaces.Box = LOPSIDED) -> SquashedGaussian:
    centre, half = box_scale(box)
    return SquashedGaussian(torch.tensor(mean).double(), torch.tensor(log_std).double(), centre.double(), half.double())


@pytest.mark.parametrize(("mean", "log_std"), [([0.0, 0.0], [0.0, -1.0]), ([1.2, -0.5], [-0.5, 0.3])])
def test_the_density_is_one_over_a_lopsided_box(mean: list[float], log_std: list[float]) -> None:
    chosen = squashed(mean, log_std)
    grid = (torch.arange(400).double() + 0.5) / 400
    points = torch.cartesian_prod(grid * 4 - 1, grid * 10)
    assert float(chosen.log_prob(points).exp().sum() * 40 / 400**2) == pytest.approx(1.0, abs=1e-3)


def test_draws_their_densities_and_samples_agree() -> None:
    chosen = squashed([0.4, -1.0], [-0.3, 0.2])
    noise = torch.rand(50, 2, generator=torch_generator(0, "noise")).double().clamp(1e-6, 1 - 1e-6)
    unit, log_prob = chosen.draw(torch.special.ndtri(noise))
    action = chosen.sample(noise)
    torch.testing.assert_close(action, chosen.centre + chosen.half * unit)
    assert bool(((action >= torch.tensor([-1.0, 0.0])) & (action <= torch.tensor([3.0, 10.0]))).all())
    torch.testing.assert_close(chosen.log_prob(action), log_prob - math.log(2) - math.log(5), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(chosen.mode(), chosen.sample(torch.full((2,), 0.5).double()))


def test_the_density_is_that_of_the_jacobian() -> None:
    chosen = squashed([0.4, -1.0], [-0.3, 0.2])
    z = torch.tensor([0.7, -1.3]).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: chosen.draw(x)[0], z)
    wanted = Normal(0.0, 1.0).log_prob(z).sum() - torch.linalg.slogdet(jacobian)[1]  # type: ignore[no-untyped-call]
    torch.testing.assert_close(chosen.draw(z)[1], wanted)


@pytest.mark.parametrize("mean", [-20.0, 20.0])
def test_far_out_all_is_finite(mean: float) -> None:
    outputs = torch.tensor([mean, mean], requires_grad=True)
    chosen = SquashedGaussian(outputs, torch.zeros(2), torch.zeros(2), torch.ones(2))
    value, log_prob = chosen.draw(torch.zeros(2))
    (value.sum() + log_prob + chosen.entropy() + chosen.log_prob(value.detach())).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None and bool(torch.isfinite(outputs.grad).all())


@pytest.mark.parametrize("log_std", [-2.0, 0.0, 0.7])
def test_entropy_is_the_mean_of_minus_the_log_density(log_std: float) -> None:
    chosen = squashed([0.3, -0.8], [log_std, log_std])
    z = torch.randn(200_000, 2, generator=torch_generator(0, "draws")).double()
    draws = -(chosen.draw(z)[1] - math.log(10))
    assert float(chosen.entropy()) == pytest.approx(float(draws.mean()), abs=4 * float(draws.std()) / 200_000**0.5)


def test_the_widest_entropy_of_its_kind() -> None:
    """P23: .6836 nats at a deviation of .8745; the box's own log 2 = .6931 is out of reach."""
    spreads = torch.linspace(0.5, 1.5, 2001).double()
    zero, one = torch.zeros(2001, 1).double(), torch.ones(1).double()
    entropy = SquashedGaussian(zero, spreads.log().unsqueeze(1), 0 * one, one).entropy()
    assert float(entropy.max()) == pytest.approx(0.6836, abs=1e-4)
    assert float(spreads[entropy.argmax()]) == pytest.approx(0.8745, abs=2e-3)


def test_straight_through_draws_are_whole_and_as_likely_as_they_should_be() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 9.0])
    mask = torch.tensor([True, True, True, False])
    log_probs = Categorical(logits, mask).log_probs.expand(100_000, 4)
    drawn = straight_through(
        log_probs, torch.rand(100_000, 4, generator=torch_generator(0, "draws")).clamp(1e-7, 1 - 1e-7)
    )
    assert bool(((drawn == 0) | (drawn == 1)).all()) and bool((drawn.sum(1) == 1).all())
    probs = log_probs[0].exp()
    error = (probs * (1 - probs) / 100_000).sqrt()
    assert bool(((drawn.mean(0) - probs).abs() <= 4 * error).all()) and float(drawn[:, 3].sum()) == 0.0


def test_their_gradient_is_that_of_the_softmax_beneath() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0], requires_grad=True)
    mask = torch.tensor([True, True, False])
    noise = torch.tensor([0.2, 0.9, 0.5])
    weights = torch.tensor([1.0, 5.0, 7.0])
    (straight_through(Categorical(logits, mask).log_probs, noise) * weights).sum().backward()  # type: ignore[no-untyped-call]
    again = logits.detach().clone().requires_grad_()
    gumbel = -torch.log(-torch.log(noise))
    (torch.softmax(again[:2] + gumbel[:2], 0) * weights[:2]).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and again.grad is not None
    torch.testing.assert_close(logits.grad, again.grad)
    assert float(logits.grad[2]) == 0.0


def test_divergences_are_torchs() -> None:
    a, b = torch.randn(2, 5, 3, generator=torch_generator(0, "logits"))
    torch.testing.assert_close(
        divergence(Categorical(a), Categorical(b)),
        kl_divergence(TorchCategorical(logits=a), TorchCategorical(logits=b)),
    )
    mask = torch.tensor([True, False, True])
    part = kl_divergence(TorchCategorical(logits=a[:, ::2]), TorchCategorical(logits=b[:, ::2]))
    torch.testing.assert_close(divergence(Categorical(a, mask), Categorical(b, mask)), part)
    two = divergence(MultiCategorical(a, (1, 2)), MultiCategorical(b, (1, 2)))
    torch.testing.assert_close(two, kl_divergence(TorchCategorical(logits=a[:, 1:]), TorchCategorical(logits=b[:, 1:])))
    one = torch.ones(3)
    p, q = SquashedGaussian(a, 0.1 * b, 0 * one, one), SquashedGaussian(b, -0.2 * a, 0 * one, one)
    beneath = kl_divergence(Normal(p.mean, p.log_std.exp()), Normal(q.mean, q.log_std.exp())).sum(-1)
    torch.testing.assert_close(divergence(p, q), beneath)
    assert float(divergence(p, p).abs().max()) < 1e-6


def test_a_masked_divergence_has_a_finite_gradient() -> None:
    logits = torch.zeros(3, requires_grad=True)
    mask = torch.tensor([True, False, True])
    divergence(Categorical(logits, mask), Categorical(torch.tensor([1.0, 2.0, 3.0]), mask)).backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all()) and float(logits.grad.abs().sum()) > 0
