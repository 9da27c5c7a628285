"""Distributions: masses sum to one, samples are the inverse distribution function, masks are absolute."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from marl.distributions import (
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    box_scale,
    head_size,
    legal_box,
    noise_size,
)

LOPSIDED = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))
LOWEST, HIGHEST = 2.0**-24, 1 - 2.0**-24


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).clamp(LOWEST, HIGHEST)


def all_masks(n: int) -> Tensor:
    """Every mask of n actions with at least one legal."""
    return torch.tensor([bits for bits in itertools.product([False, True], repeat=n) if any(bits)])


def test_masses_sum_to_one_over_legal_actions() -> None:
    masks = all_masks(6)
    chosen = Categorical(50 * random(len(masks), 6), masks)
    torch.testing.assert_close(chosen.probs.sum(-1), torch.ones(len(masks)))
    assert float(chosen.probs[~masks].abs().max()) == 0.0
    legal = torch.where(masks, chosen.log_probs, 0.0)
    assert bool(torch.isfinite(legal).all())


def test_a_mask_leaves_the_ratio_of_legal_actions_alone() -> None:
    logits = random(7)
    mask = torch.tensor([True, False, True, True, False, True, False])
    masked = Categorical(logits, mask).log_probs[mask]
    torch.testing.assert_close(masked, torch.log_softmax(logits[mask], -1))


def test_illegal_actions_are_never_drawn_even_if_they_are_by_far_the_best() -> None:
    draws = 100_000
    mask = torch.rand(draws, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[:, 2] |= ~mask.any(-1)
    logits = torch.where(mask, random(draws, 5), 1e9)
    chosen = Categorical(logits, mask)
    u = uniform(draws, 1)
    u[:1000], u[1000:2000] = LOWEST, HIGHEST
    for action in (chosen.sample(u), chosen.mode()):
        assert bool(mask.gather(1, action.long().unsqueeze(1)).all())
        assert bool(torch.isfinite(chosen.log_prob(action)).all())


def test_entropy_of_equal_logits_is_the_logarithm_of_legal_actions() -> None:
    for n in (2, 5, 18):
        for legal in range(1, n + 1):
            chosen = Categorical(torch.full((n,), 3.7, dtype=torch.float64), torch.arange(n) < legal)
            assert float(chosen.entropy()) == pytest.approx(math.log(legal), abs=1e-14)


def test_gradients_are_finite_for_every_mask() -> None:
    masks = all_masks(6)
    for scale in (1.0, 100.0):
        logits = (scale * random(len(masks), 6)).requires_grad_()
        chosen = Categorical(logits, masks)
        action = chosen.sample(uniform(len(masks), 1))
        total = chosen.entropy().sum() + chosen.log_prob(action).sum()
        assert bool(torch.isfinite(total))
        (slope,) = torch.autograd.grad(total, logits)
        assert bool(torch.isfinite(slope).all())
        assert float(slope[~masks].abs().max()) == 0.0
        assert float(slope[masks.sum(1) == 1].abs().max()) == 0.0  # a forced move has nothing to learn


def test_a_forced_move() -> None:
    chosen = Categorical(random(3), torch.tensor([False, True, False]))
    assert int(chosen.sample(torch.tensor([0.999]))) == 1
    assert float(chosen.log_prob(torch.tensor(1))) == 0.0
    assert float(chosen.entropy()) == 0.0


def test_a_sample_is_the_inverse_distribution_function() -> None:
    logits = random(5).double()
    mask = torch.tensor([True, False, True, True, False])
    probs = Categorical(logits, mask).probs.tolist()
    edges = np.cumsum(probs)
    for u in (LOWEST, 0.1, 0.25, 0.5, 0.7, 0.9, HIGHEST, *(edges[[0, 2]] - 1e-9), *(edges[[0, 2]] + 1e-9)):
        wanted = next(k for k in range(5) if u < edges[k])
        assert int(Categorical(logits, mask).sample(torch.tensor([u], dtype=torch.float64))) == wanted
    u = uniform(200_000, 1)
    counts = torch.bincount(Categorical(random(5).expand(200_000, 5), mask).sample(u).long(), minlength=5)
    expected = 200_000 * torch.tensor(Categorical(random(5), mask).probs.tolist())
    chi = ((counts - expected).square() / expected.clamp(min=1)).sum()
    assert float(chi) < 20  # two degrees of freedom: 1 in 20,000


def test_rounding_at_the_edges_of_noise_gives_legal_actions() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = 100 * torch.rand(100_000, 9, generator=generator) - 50
    mask = torch.rand(100_000, 9, generator=generator) < 0.6
    mask[:, 0] |= ~mask.any(1)
    for u in (LOWEST, HIGHEST, 0.5):
        action = Categorical(logits, mask).sample(torch.full((100_000, 1), u)).long()
        assert int(action.min()) >= 0
        assert bool(mask.gather(1, action.unsqueeze(1)).all())


def test_the_greedy_action_is_the_first_of_equals() -> None:
    chosen = Categorical(torch.tensor([1.0, 2.0, 2.0, 9.0]), torch.tensor([True, True, True, False]))
    assert int(chosen.mode()) == 1


def test_several_choices_are_the_product_of_choices() -> None:
    sizes = (2, 3, 4)
    logits = random(20, 9)
    mask = torch.rand(20, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[:, [1, 2, 8]] = True
    chosen = MultiCategorical(logits, sizes, mask)
    total = torch.zeros(20)
    entropy = torch.zeros(20)
    for action in itertools.product(*(range(n) for n in sizes)):
        legal = torch.stack([mask[:, first + a] for first, a in zip((0, 2, 5), action, strict=True)]).all(0)
        log_prob = chosen.log_prob(torch.tensor(action).expand(20, 3))
        mass = torch.where(legal, log_prob.exp(), 0.0)
        assert bool((log_prob[~legal] == -torch.inf).all())
        total += mass
        entropy -= torch.where(legal, mass * log_prob, 0.0)
    torch.testing.assert_close(total, torch.ones(20))
    torch.testing.assert_close(chosen.entropy(), entropy)
    drawn = chosen.sample(uniform(20, 3))
    assert drawn.shape == chosen.mode().shape == (20, 3)
    for k, first in enumerate((0, 2, 5)):
        own = Categorical(logits[:, first : first + sizes[k]], mask[:, first : first + sizes[k]])
        assert torch.equal(drawn[:, k], own.sample(uniform(20, 3)[:, k : k + 1]))


@pytest.mark.parametrize(
    "space",
    [LOPSIDED, spaces.Box(-1, 1, (2,)), spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(0, np.inf, (2,))],
    ids=["lopsided", "unit", "unbounded", "half bounded"],
)
def test_densities_integrate_to_one(space: spaces.Box) -> None:
    centre, half = (x.double() for x in box_scale(space))
    chosen = DiagonalGaussian(random(2).double(), torch.tensor([-0.7, 0.2]).double(), centre, half)
    spread = chosen.log_std.exp()
    ends = [torch.linspace(-8, 8, 801, dtype=torch.float64) * spread[d] + chosen.mean[d] for d in range(2)]
    grid = torch.stack(torch.meshgrid(*ends, indexing="ij"), -1)
    cell = (ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])
    density = chosen.log_prob(grid).exp()
    assert float(density.sum() * cell) == pytest.approx(1, abs=1e-6)
    entropy = -(density * chosen.log_prob(grid)).sum() * cell
    assert float(chosen.entropy()) == pytest.approx(float(entropy), abs=1e-6)


def test_a_standard_network_covers_a_lopsided_box() -> None:
    """Mean 0 is the middle of the box, plus and minus one its bounds, in every dimension."""
    centre, half = box_scale(LOPSIDED)
    assert centre.tolist() == [1, 5]
    assert half.tolist() == [2, 5]
    ends = [DiagonalGaussian(torch.full((2,), m), torch.zeros(2), centre, half).mode().tolist() for m in (-1.0, 1.0)]
    assert ends == [[-1, 0], [3, 10]]
    drawn = DiagonalGaussian(torch.zeros(2), torch.full((2,), -0.5), centre, half).sample(uniform(20_000, 2))
    clipped = legal_box(LOPSIDED, drawn.numpy())
    assert clipped.dtype == np.float32
    assert clipped.min(0).tolist() == [-1, 0]
    assert clipped.max(0).tolist() == [3, 10]
    assert np.abs(drawn.numpy()).max() > 10  # the sample itself is not clipped


def test_a_dimension_with_one_legal_value_is_no_trap() -> None:
    space = spaces.Box(np.array([-1, 2], np.float32), np.array([1, 2], np.float32))
    chosen = DiagonalGaussian(torch.zeros(2), torch.zeros(2), *box_scale(space))
    action = chosen.sample(uniform(100, 2))
    assert bool(torch.isfinite(chosen.log_prob(action)).all())
    assert bool(torch.isfinite(chosen.entropy()))
    assert set(legal_box(space, action.numpy())[:, 1].tolist()) == {2.0}


def test_gaussian_samples_are_the_inverse_distribution_function() -> None:
    chosen = DiagonalGaussian(torch.tensor([0.3]), torch.tensor([-0.5]), torch.zeros(1), torch.ones(1))
    u = uniform(100_000, 1)
    z = (chosen.sample(u) - 0.3) / math.exp(-0.5)
    below = 0.5 * torch.erfc(-z.double() / math.sqrt(2))
    torch.testing.assert_close(below.float(), u, rtol=1e-4, atol=1e-6)
    assert float(chosen.sample(torch.tensor([0.5]))) == pytest.approx(0.3)
    assert bool(torch.isfinite(chosen.sample(torch.tensor([[LOWEST], [HIGHEST]]))).all())


def test_gaussian_gradients_against_the_closed_form() -> None:
    mean, log_std = random(2).requires_grad_(), torch.tensor([-0.5, 0.1]).requires_grad_()
    centre, half = box_scale(LOPSIDED)
    chosen = DiagonalGaussian(mean, log_std, centre, half)
    action = torch.tensor([1.5, 4.0])
    by_mean, by_std = torch.autograd.grad(chosen.log_prob(action), [mean, log_std])
    z = ((action - chosen.mean) / (half * log_std.exp())).detach()
    torch.testing.assert_close(by_mean, z / log_std.detach().exp())
    torch.testing.assert_close(by_std, z.square() - 1)


def test_sizes() -> None:
    assert (noise_size(spaces.Discrete(5)), head_size(spaces.Discrete(5))) == (1, 5)
    assert (noise_size(spaces.MultiDiscrete([2, 3])), head_size(spaces.MultiDiscrete([2, 3]))) == (2, 5)
    assert (noise_size(LOPSIDED), head_size(LOPSIDED)) == (2, 2)
