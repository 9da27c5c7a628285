"""Gated recurrent units: torch's own cells in a plain loop, resets, waiting agents, garbage, chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from marl.recurrent import LONGEST, AgentGRU

T, B, N, D, H = 7, 5, 3, 4, 6


def network(parameters: str, layers: int = 2) -> AgentGRU:
    generator = torch.Generator().manual_seed(1)
    net = AgentGRU(D, H, layers, N, parameters, generator).double()
    for parameter in net.parameters():  # biases start at 0: give them something to say
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def sights() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, starts and who acts, each sometimes."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(T, B, N, D, generator=generator, dtype=torch.float64)
    start = torch.rand(T, B, generator=generator) < 0.25
    acting = torch.rand(T, B, N, generator=generator) < 0.75
    assert start[1:].any() and not acting.all()
    return x, start, acting


def cells(net: AgentGRU, stack: int) -> list[nn.GRUCell]:
    made = []
    for layer in range(net.layers):
        cell = nn.GRUCell(D if layer == 0 else H, H).double()
        with torch.no_grad():
            cell.weight_ih.copy_(net.below[layer][stack].T)
            cell.weight_hh.copy_(net.before[layer][stack].T)
            cell.bias_ih.copy_(net.biases[layer][stack])
            cell.bias_hh.zero_()[2 * H :] = net.inner[layer][stack]
        made.append(cell)
    return made


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
def test_it_is_one_cell_per_agent_in_a_loop(parameters: str, layers: int) -> None:
    net = network(parameters, layers)
    x, start, acting = sights()
    hidden = torch.randn(B, N, layers, H, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    said, after = net(x, hidden, start, acting)
    weights = torch.randn(said.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    slopes = torch.autograd.grad((said * weights).sum(), net.before[0])[0]
    total = torch.zeros_like(slopes)
    for n in range(N):
        stack = n if parameters == "per_agent" else 0
        own = cells(net, stack)
        loss = torch.zeros((), dtype=torch.float64)
        for b in range(B):
            h = [hidden[b, n, layer] for layer in range(layers)]
            for t in range(T):
                if start[t, b]:
                    h = [torch.zeros_like(x) for x in h]
                if acting[t, b, n]:
                    y = x[t, b, n]
                    for layer, cell in enumerate(own):
                        h[layer] = y = cell(y, h[layer])
                torch.testing.assert_close(said[t, b, n], h[-1])
                torch.testing.assert_close(after[t, b, n], torch.stack(h))
                loss = loss + (weights[t, b, n] * h[-1]).sum()
        total[stack] += torch.autograd.grad(loss, own[0].weight_hh)[0].T
    torch.testing.assert_close(slopes, total)


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
def test_two_episodes_are_two_runs_and_chunks_are_one(parameters: str) -> None:
    net = network(parameters)
    x, start, acting = sights()
    start[:] = False
    start[3] = True
    hidden = torch.ones(B, N, 2, H, dtype=torch.float64)
    whole, after = net(x, hidden, start, acting)
    no = torch.zeros_like(start)
    first, middle = net(x[:3], hidden, no[:3], acting[:3])
    second, end = net(x[3:], net.start(B), no[3:], acting[3:])
    assert torch.equal(whole, torch.cat([first, second])) and torch.equal(after, torch.cat([middle, end]))
    assert not torch.equal(net(x[3:], middle[-1], no[3:], acting[3:])[0], second)
    head, kept = net(x[:5], hidden, start[:5], acting[:5])
    tail, end = net(x[5:], kept[-1], start[5:], acting[5:])
    torch.testing.assert_close(torch.cat([head, tail]), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(end[-1], after[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("garbage", [1e6, float("nan")])
@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
def test_what_does_not_count_changes_no_bit(parameters: str, garbage: float) -> None:
    """Inputs of agents that do not act, and hidden states of before an episode's start."""
    net = network(parameters)
    x, start, acting = sights()
    start[0, :2] = True
    hidden = torch.ones(B, N, 2, H, dtype=torch.float64)
    found = []
    for spoilt in (0.0, garbage):
        seen, kept = torch.where(acting.unsqueeze(-1), x, spoilt), hidden.clone()
        kept[:2] = spoilt
        said, after = net(seen, kept, start, acting)
        found.append([said, after, *torch.autograd.grad(said.square().sum() + after.sum(), list(net.parameters()))])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_rows_and_agents_know_nothing_of_each_other() -> None:
    net = network("per_agent")
    x, start, acting = sights()
    acting[:] = True
    hidden = net.start(B)
    before, _ = net(x, hidden, start, acting)
    x[:, 1, 2] += 1.0
    hidden[3, 0] += 1.0
    start[0, 3] = False
    after, _ = net(x, hidden, start, acting)
    moved = (after != before).any(-1).any(0)
    expected = torch.zeros(B, N, dtype=torch.bool)
    expected[1, 2] = expected[3, 0] = True
    assert torch.equal(moved, expected)


def test_weights_start_orthogonal_and_units_keep_what_they_hold() -> None:
    net = AgentGRU(D, H, 1, N, "per_agent", torch.Generator().manual_seed(1))
    for n in range(N):
        for part in net.before[0][n].chunk(3, -1):
            torch.testing.assert_close(part.T @ part, torch.eye(H), rtol=0, atol=1e-5)
    resets, keeps, candidates = net.biases[0].chunk(3, -1)
    assert not resets.any() and not candidates.any() and not net.inner[0].any() and not net.start(2).any()
    steps = 1 / (1 - torch.sigmoid(keeps))
    torch.testing.assert_close(steps, torch.linspace(2, LONGEST, H).expand(N, H))
