"""Perceptrons by the engine: outputs and gradients of torch in float64; and the learners that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marl.engine.perceptrons import EVEN, FEWEST_ROWS, ROWS, SMALL_PRODUCT, Perceptrons, rows_of_piece
from marl.networks import AgentMLP
from tests.marl.replay import ready

KINK = 1e-5
"""Rows this near to where relu's derivative jumps get no error: there float32 may be on the other side."""


def by_torch(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> tuple[Tensor, Tensor]:
    """Outputs `[F, B, K]`, first biases being `[F, G, P, out]`; and where no hidden value is near a kink, `[F, B]`."""
    sets, period = biases[0].shape[1:3]
    first = biases[0].unsqueeze(2).expand(-1, -1, x.shape[-2] // (sets * period), -1, -1).flatten(1, 3)
    far = torch.ones(len(weights[0]), x.shape[-2], dtype=torch.bool)
    for layer, weight in enumerate(weights):
        x = x @ weight + (first if layer == 0 else biases[layer].unsqueeze(1))
        if layer < len(weights) - 1:
            far &= (x.abs() > KINK).all(2)
            x = torch.tanh(x) if activation == "tanh" else torch.relu(x)
    return x, far


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=2, max_size=5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from(["relu", "tanh"]),
    st.integers(0, 2**20),
)
def test_outputs_and_gradients_are_torchs_in_float64(
    sizes: list[int], networks: int, sets: int, period: int, each: int, alike: bool, activation: str, seed: int
) -> None:
    torch.manual_seed(seed)
    rows = sets * period * each
    x = torch.randn(rows, sizes[0]) if alike else torch.randn(rows, networks, sizes[0]).transpose(0, 1)
    weights = [torch.randn(networks, a, b) / a**0.5 for a, b in pairwise(sizes)]
    biases = [torch.randn(networks, sets, period, sizes[1]), *(torch.randn(networks, b) for b in sizes[2:])]
    start, stop = sorted(torch.randint(0, sizes[0] + 1, (2,)).tolist())
    stop = max(stop, start + 1) if start < sizes[0] else stop
    start = min(start, stop - 1)
    wide = [[y.double().requires_grad_() for y in z] for z in ([x], weights, biases)]
    wanted, far = by_torch(wide[0][0], wide[1], wide[2], activation)
    error = torch.randn(wanted.shape) * (far & (torch.rand(far.shape) < 0.7)).unsqueeze(2)
    tensors = [x, *weights, *biases] if sets == 1 else [x, *weights, *biases[1:]]
    slopes = torch.autograd.grad((wanted * error).sum(), [wide[0][0], *wide[1], *wide[2][1 if sets > 1 else 0 :]])
    found = []
    for threads in (1, 2):
        own = [y.clone().requires_grad_() for y in tensors]
        mine = own[1 : 1 + len(weights)], own[1 + len(weights) :]
        first = [biases[0]] if sets > 1 else [mine[1][0][:, 0]]  # without sets, `[F, P, out]`
        engine = Perceptrons(threads)
        out = engine(own[0], mine[0], [*first, *mine[1][0 if sets > 1 else 1 :]], activation)
        found.append([out.detach(), *torch.autograd.grad((out * error).sum(), own, allow_unused=True)])
        with torch.no_grad():
            assert torch.equal(engine(x, weights, [first[0].detach(), *biases[1:]], activation), out)
        part = x[..., start:stop].clone().requires_grad_()
        out = engine(x, weights, biases, activation, part, start)
        (slope,) = torch.autograd.grad((out * error).sum(), part)
        _near(slope, slopes[0][..., start:stop])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    for a, b in zip(found[0], (wanted, *slopes), strict=True):
        _near(a, b)


def test_rows_may_stand_anywhere() -> None:
    """A single row, whose step numpy's `x[None]` says is 0, and rows that are those of all networks: BLAS takes neither
    step, and gradients are one for each network's own."""
    torch.manual_seed(0)
    weights, biases = [torch.randn(3, 5, 7), torch.randn(3, 7, 2)], [torch.randn(3, 7), torch.randn(3, 2)]
    row = torch.randn(3, 5)
    for x in (row.unsqueeze(1).as_strided((3, 1, 5), (5, 0, 1)), torch.randn(4, 5).expand(3, -1, -1)):
        given, exact = x.detach().requires_grad_(), x.double().requires_grad_()
        first, last = (y.double() for y in biases)
        wanted, _ = by_torch(exact, [y.double() for y in weights], [first[:, None, None], last], "tanh")
        out = Perceptrons(1)(given, weights, biases, "tanh")
        _near(out, wanted)
        slopes = [torch.autograd.grad(y.square().sum(), z)[0] for y, z in ((out, given), (wanted, exact))]
        _near(slopes[0], slopes[1])


def test_what_changed_since_has_no_gradient() -> None:
    net = AgentMLP(5, (7,), 2, 3, "per_agent", False, "relu", 1.0, torch.Generator().manual_seed(1))
    net.engine = Perceptrons(1)
    out = net.fixed(torch.randn(4, 3, 5, requires_grad=True))
    torch._foreach_mul_([x.detach() for x in net.parameters()], 2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_pieces_are_even_and_not_too_short() -> None:
    for width in (8, 64, 128, 256, 350, 360, 450, 512):
        rows = rows_of_piece((20, width, width, 1))
        assert rows % EVEN == 0 and FEWEST_ROWS <= rows <= ROWS
        assert rows == ROWS or rows * width**2 <= SMALL_PRODUCT


def _near(found: Tensor, wanted: Tensor) -> None:
    size = float(wanted.detach().norm())
    assert found.shape == wanted.shape
    assert float((found - wanted).detach().norm()) <= 1e-5 * size + 1e-6  # few numbers may cancel


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
@pytest.mark.parametrize("agent_id", [True, False])
def test_a_network_of_agents_is_what_torch_makes_of_it(parameters: str, agent_id: bool) -> None:
    """Inputs of each agent's own, or the same for all; ends of the same inputs; and what must not have a gradient."""
    torch.manual_seed(0)
    net = AgentMLP(6, (24, 24), 3, 4, parameters, agent_id, "relu", 1.0, torch.Generator().manual_seed(1))
    for x in (torch.randn(50, 4, 6), torch.randn(50, 6)):
        ends = torch.randn(50, 5, *x.shape[1:-1], 2)
        both = torch.cat([x[:, None, ..., :4].expand(*ends.shape[:-1], 4), ends], -1).flatten(0, 1)
        wanted, branched = net(x), net(both).view(50, 5, 4, 3).detach()
        net.engine = Perceptrons(1)
        slopes = torch.autograd.grad(wanted.square().sum(), list(net.parameters()))
        found = net(x)
        torch.testing.assert_close(found, wanted)
        for a, b in zip(torch.autograd.grad(found.square().sum(), list(net.parameters())), slopes, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        if parameters == "per_agent" or x.dim() == 3:
            torch.testing.assert_close(net.branches(net.engine, x[..., :4], ends, 4).detach(), branched)
        moved = x.clone().requires_grad_()
        fixed = net.fixed(moved)
        (slope,) = torch.autograd.grad(fixed.square().sum(), moved, retain_graph=True)
        assert torch.autograd.grad(fixed.sum(), list(net.parameters()), allow_unused=True) == (None,) * len(slopes)
        net.engine = None
        (exact,) = torch.autograd.grad(net(moved).square().sum(), moved)
        torch.testing.assert_close(slope, exact, rtol=1e-4, atol=1e-4)
        assert (exact != 0).any()


@pytest.mark.parametrize(
    ("name", "game", "settings"),
    [
        ("hasac", "perilous", {}),
        ("masac", "perilous", {"hidden": (16, 16)}),
        ("hatd3", "perilous", {}),
        ("maddpg", "perilous", {}),
        ("hasac", "toy/siege", {"expectation": "own", "hidden": (16, 16)}),
        ("masac", "toy/meet", {"expectation": "joint"}),
        ("isac", "toy/siege", {"parameters": "shared"}),
        ("isac", "toy/meet", {"parameters": "per_agent", "order": "agent_by_agent"}),
    ],
)
def test_learners_learn_what_they_learn_by_torch(name: str, game: str, settings: dict) -> None:
    made = [ready(name, game, **settings, engine=engine) for engine in ("torch", "fused")]
    before = [x.detach().clone() for x in made[0].policy.parameters()]
    assert made[0].engine is None and made[1].engine is not None
    for _ in range(6):
        by_torch, by_engine = (each._learn() for each in made)
        assert by_engine == pytest.approx(by_torch, rel=1e-3, abs=1e-4)
    for mine, others in ((each.policy.parameters(), each.critic.parameters()) for each in made[1:]):
        for a, b in zip((*mine, *others), (*made[0].policy.parameters(), *made[0].critic.parameters()), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)
    assert any(
        float((x - y).detach().abs().max()) > 1e-3 for x, y in zip(made[0].policy.parameters(), before, strict=True)
    )
