"""Networks for groups of agents: equal to one plain network per agent, with ids or with parameters of their own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from marl import networks
from marl.networks import AgentMLP, tanh

B, N, D, K = 11, 3, 5, 4


def network(parameters: str = "shared", agent_id: bool = True, agents: int = N, activation: str = "tanh") -> AgentMLP:
    net = AgentMLP(
        D, (8, 6), K, agents, parameters, agent_id, activation, 1.0, torch.Generator().manual_seed(1)
    ).double()
    generator = torch.Generator().manual_seed(2)
    for parameter in net.parameters():  # biases start at 0: give them something to say
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def plain(x: Tensor, weights: list[Tensor], biases: list[Tensor], activation: str) -> Tensor:
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = x @ weight + bias
        if layer < len(weights) - 1:
            x = torch.tanh(x) if activation == "tanh" else x.clamp(min=0)
    return x


def views(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_separate_parameters_are_separate_networks(activation: str) -> None:
    net = network("per_agent", activation=activation)
    x = views(B, N, D)
    out = net(x)
    for n in range(N):
        own = plain(x[:, n], [w[n] for w in net.weights], [b[n] for b in net.biases], activation)
        torch.testing.assert_close(out[:, n], own)
    for n in range(N):  # and agent n's output moves agent n's parameters alone
        slopes = torch.autograd.grad(net(x)[:, n].sum(), list(net.parameters()))
        for slope in slopes:
            moved = slope.reshape(N, -1).abs().sum(1) > 0
            assert moved.tolist() == [k == n for k in range(N)]


@pytest.mark.parametrize("one_for_all", [False, True])
def test_the_id_is_a_concatenated_one_hot(one_for_all: bool) -> None:
    net = network()
    assert net.identity is not None
    x = views(B, D) if one_for_all else views(B, N, D)
    rows = x.unsqueeze(1).expand(B, N, D) if one_for_all else x
    seen = torch.cat([rows, torch.eye(N, dtype=torch.float64).expand(B, N, N)], -1)
    first = torch.cat([net.weights[0][0], net.identity], 0)
    wanted = plain(seen, [first, *(w[0] for w in net.weights[1:])], [b[0] for b in net.biases], "tanh")
    torch.testing.assert_close(net(x), wanted)


def test_shared_without_ids_is_one_network_for_any_number_of_agents() -> None:
    net = network(agent_id=False)
    x = views(B, N, D)
    wanted = plain(x, [w[0] for w in net.weights], [b[0] for b in net.biases], "tanh")
    torch.testing.assert_close(net(x), wanted)
    torch.testing.assert_close(net(x[:, :2]), wanted[:, :2])
    wide = views(B, 7, D)
    assert net(wide).shape == (B, 7, K)
    one = net(views(B, D))
    assert one.shape == (B, N, K)
    assert torch.equal(one[:, 0], one[:, 2])


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
@pytest.mark.parametrize("agent_id", [True, False])
@pytest.mark.parametrize("agents", [1, N])
def test_no_rows_are_no_error(parameters: str, agent_id: bool, agents: int) -> None:
    net = network(parameters, agent_id, agents)
    assert net(views(0, agents, D)).shape == (0, agents, K)
    assert net(views(0, D)).shape == (0, agents, K)


def test_rows_do_not_see_one_another() -> None:
    for net in (network(), network("per_agent"), network(agent_id=False)):
        x = views(B, N, D)
        before = net(x)
        x[4, 1] = math.nan
        after = net(x)
        others = torch.ones(B, N, dtype=torch.bool)
        others[4, 1] = False
        assert torch.equal(after[others], before[others])
        assert bool(after[4, 1].isnan().all())


def test_weights_start_orthogonal() -> None:
    net = AgentMLP(20, (8,), 3, 4, "per_agent", True, "tanh", 0.01, torch.Generator().manual_seed(0))
    for n in range(4):
        columns = net.weights[0][n].T @ net.weights[0][n]
        torch.testing.assert_close(columns, torch.eye(8) * (5 / 3) ** 2, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net.weights[1][n].T @ net.weights[1][n], torch.eye(3) * 1e-4, rtol=1e-4, atol=1e-8)
    assert not torch.equal(net.weights[0][0], net.weights[0][1])
    assert all(bias.abs().max().item() == 0 for bias in net.biases)


def test_tanh_and_its_slope_are_exact_to_rounding() -> None:
    x = torch.linspace(-12, 12, 200_001).requires_grad_()
    y = tanh(x)
    exact = torch.tanh(x.detach().double())
    assert float((y.double() - exact).abs().max()) < 2e-7
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert float((slope.double() - (1 - exact**2)).abs().max()) < 5e-7
    assert float(y.detach().abs().max()) <= 1.0
    extremes = tanh(torch.tensor([-math.inf, -100.0, 0.0, 100.0, math.inf, math.nan]))
    assert extremes[:5].tolist() == [-1, -1, 0, 1, 1]
    assert math.isnan(float(extremes[5]))
    assert torch.equal(tanh(x.detach().double()), exact)


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
def test_blocks_of_rows_are_the_whole(parameters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients some rows after the others, the last ones fewer; with them all at once."""
    net, seen = network(parameters), views(10, N, D)
    taken: list[int] = []
    net.register_forward_pre_hook(lambda _, given: taken.append(len(given[0])))
    monkeypatch.setattr(networks, "ROWS", 4 * N)
    whole = networks.in_blocks(net, seen)
    with torch.no_grad():
        torch.testing.assert_close(networks.in_blocks(net, seen), whole)
    assert taken == [10, 4, 4, 2]
