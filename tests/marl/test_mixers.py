"""Mixers: they never fall where an agent's value rises, what is best for each is best for all, and the state counts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marl.mixers import Monotone, Sum
from marl.policy_spec import PolicySpec
from marl.replay_buffer import Views
from tests.marl.rollouts import make


def mixer(game: str = "particle/spread", kind: str = "team", seed: int = 1, **shape: int) -> Monotone:
    spec = make(game).spec
    generator = torch.Generator().manual_seed(seed)
    made = Monotone(PolicySpec.of(spec, kind), spec.state_size, shape.get("width", 8), (16,), generator)
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return made


def views(made: Monotone, count: int, seed: int = 2) -> Views:
    generator = torch.Generator().manual_seed(seed)
    obs = {
        group.name: torch.randn(count, made.spec.members(group), *group.observation_space.shape, generator=generator)
        for group in made.spec.groups
    }
    state = torch.randn(count, made.state_size, generator=generator)
    acting = torch.ones(count, made.agents, dtype=torch.bool)
    return Views(obs, dict.fromkeys(obs), acting, state, torch.arange(count))


def values(*shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("game", ["particle/spread", "particle/speaker_listener", "toy/meet"])
def test_the_teams_value_never_falls_where_an_agents_rises(game: str, seed: int) -> None:
    made = mixer(game, seed=seed)
    q = values(200, made.agents).requires_grad_()
    (slope,) = torch.autograd.grad(made(q, views(made, 200)).sum(), q)
    assert (slope >= 0).all() and (slope > 0).any(0).all()


def test_what_is_best_for_each_is_best_for_all() -> None:
    made = mixer()
    tables = values(50, 3, 4)
    seen = views(made, 50)
    joint = list(itertools.product(range(4), repeat=3))
    rows = [made(torch.stack([tables[:, i, a] for i, a in enumerate(acts)], 1), seen) for acts in joint]
    total = torch.cat(rows, 1)
    assert torch.equal(total.argmax(1), torch.tensor([joint.index(tuple(acts)) for acts in tables.argmax(2).tolist()]))
    torch.testing.assert_close(total.amax(1), made(tables.amax(2), seen).squeeze(1))


def test_the_mix_is_the_equation_and_depends_on_the_state() -> None:
    made = mixer()
    seen, q = views(made, 6), values(6, 3)
    weights = made.weights(seen.state).squeeze(1).detach()
    first, bias, second, value = weights[:, :24], weights[:, 24:32], weights[:, 32:40], weights[:, 40]
    for b in range(6):
        inner = q[b] @ first[b].view(3, 8).abs() + bias[b]
        raised = torch.where(inner > 0, inner, inner.exp() - 1)
        torch.testing.assert_close(made(q, seen)[b, 0].detach(), raised @ second[b].abs() + value[b])
    assert not torch.equal(made(q, seen), made(q, views(made, 6, 9)))


def test_it_tells_the_teams_of_a_kind_apart_and_sees_observations_where_there_is_no_state() -> None:
    made = mixer("toy/noughts", "player")
    board, q = views(made, 4), values(1, 1).expand(4, 1)
    same = Views(
        {name: x[:1].expand_as(x) for name, x in board.obs.items()},
        board.action_mask,
        board.acting,
        board.state[:1].expand_as(board.state),
        board.seat,
    )
    mixed = made(q, same)
    assert torch.equal(mixed[0], mixed[2]) and not torch.equal(mixed[0], mixed[1])
    blind = mixer()
    blind_spec = Monotone(blind.spec, 0, 8, (16,), torch.Generator().manual_seed(0))
    seen = views(blind, 5)
    assert not torch.equal(blind_spec(values(5, 3), seen)[0], blind_spec(values(5, 3), views(blind, 5, 7))[0])


def test_where_nothing_is_seen_it_still_rises_with_each_agent() -> None:
    spec = make("particle/spread").spec
    made = Monotone(PolicySpec.of(spec, "team"), spec.state_size, 8, (16,), torch.Generator().manual_seed(0))
    q = values(9, 3).requires_grad_()
    blank = replace(views(made, 9), state=torch.zeros(9, spec.state_size))
    (slope,) = torch.autograd.grad(made(q, blank).sum(), q)
    assert (slope > 0.01).all()


def test_a_sum_is_a_sum() -> None:
    q = values(7, 3)
    assert torch.equal(Sum()(q, views(mixer(), 7)), q.sum(1, keepdim=True))
