"""Value functions: the scale, the rows, and who sees what."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import environments
from marl.policy_spec import PolicySpec
from marl.values import FORGET, CriticShape, ValueFunction, ValueNorm
from tests.marl.rollouts import GAMES, kind_of

EVERYTHING = torch.ones(1000, dtype=torch.bool)


def numbers(seed: int, scale: float = 1.0, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(1000, generator=torch.Generator().manual_seed(seed)) * scale + offset


def made(
    name: str, critic: str, per_seat: bool = False, parameters: str = "shared", normalise: bool = True
) -> ValueFunction:
    spec = environments.make(name, **GAMES[name]).spec
    policy = PolicySpec.of(spec, kind_of(name), parameters=parameters, hidden=(8,))
    shape = CriticShape(spec.state_size, critic == "central", per_seat, (8,), normalise)
    return ValueFunction(policy, shape, torch.Generator().manual_seed(4))


def views(name: str, seats: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    spec = environments.make(name, **GAMES[name]).spec
    kind = spec.kind(kind_of(name))
    generator = torch.Generator().manual_seed(5)
    obs = {}
    for group in (spec.group(g) for g in kind.groups):
        shape = (seats, len(group.agents) // kind.teams, *group.observation_space.shape)
        obs[group.name] = torch.rand(shape, generator=generator).round(decimals=1)
    return obs, torch.rand(seats, spec.state_size, generator=generator)


def test_the_scale_is_that_of_what_it_took_in() -> None:
    norm = ValueNorm()
    assert norm.moments == (0.0, 0.0)
    norm.update(numbers(0, 5.0, 100.0), EVERYTHING)
    mean, deviation = norm.moments  # debiased: the first update counts in full
    assert mean == pytest.approx(float(numbers(0, 5.0, 100.0).double().mean()), rel=1e-9)
    assert deviation == pytest.approx(float(numbers(0, 5.0, 100.0).double().std(unbiased=False)), rel=1e-6)
    norm.update(numbers(1, 5.0, 200.0), EVERYTHING)
    weights = np.array([FORGET * (1 - FORGET), 1 - FORGET])
    expected = (
        weights * [float(numbers(k, 5.0, 100.0 * (k + 1)).double().mean()) for k in (0, 1)]
    ).sum() / weights.sum()
    assert norm.moments[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("garbage", [math.nan, 1e30, math.inf])
def test_what_does_not_count_does_not_move_the_scale(garbage: float) -> None:
    use = numbers(7) > 0
    clean, dirty = ValueNorm(), ValueNorm()
    clean.update(numbers(0), use)
    dirty.update(torch.where(use, numbers(0), garbage), use)
    assert clean.moments == dirty.moments
    dirty.update(numbers(1), ~EVERYTHING)
    assert clean.moments == dirty.moments


def test_the_scale_is_affine() -> None:
    value = made("particle/spread", "local")
    assert torch.equal(value.to_raw(numbers(0)), torch.zeros(1000))  # nothing is known yet
    value.adapt(numbers(1, 3.0, -50.0), EVERYTHING)
    raw = numbers(2, 3.0, -50.0)
    torch.testing.assert_close(value.to_raw(value.to_normalised(raw)), raw, rtol=1e-5, atol=1e-4)
    normal = value.to_normalised(numbers(1, 3.0, -50.0))
    assert abs(float(normal.mean())) < 1e-4
    assert float(normal.std()) == pytest.approx(1, abs=1e-3)
    large = made("particle/spread", "local")
    large.adapt(1000 * numbers(1, 3.0, -50.0), EVERYTHING)
    torch.testing.assert_close(large.to_normalised(1000 * raw), value.to_normalised(raw), rtol=1e-4, atol=1e-4)
    plain = made("particle/spread", "local", normalise=False)
    plain.adapt(raw, EVERYTHING)
    assert torch.equal(plain.to_raw(raw), raw)
    assert torch.equal(plain.to_normalised(raw), raw)


def test_the_scale_is_part_of_the_state() -> None:
    """As buffers, also where a module is moved to another device or type."""
    value = made("particle/spread", "local")
    value.adapt(numbers(0, 2.0, 7.0), EVERYTHING)
    other = made("particle/spread", "local")
    other.load_state_dict(value.state_dict())
    assert other.norm is not None
    assert value.norm is not None
    assert other.norm.moments == value.norm.moments
    assert {"norm.first", "norm.second", "norm.weight"} <= set(value.to("meta").state_dict())


def test_equal_targets_do_not_divide_by_zero() -> None:
    value = made("particle/spread", "local")
    value.adapt(torch.full((1000,), 3.0), EVERYTHING)
    assert float(value.to_normalised(torch.tensor(3.0))) == pytest.approx(0, abs=1e-3)
    assert float(value.to_raw(torch.tensor(0.5))) == pytest.approx(3.0, abs=1e-4)
    far = made("particle/spread", "local")
    far.adapt(numbers(0, 1.0, 1e5), EVERYTHING)
    assert far.norm is not None
    assert far.norm.moments[1] == pytest.approx(1.0, abs=0.05)  # a small deviation far from 0


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
def test_rows(name: str, parameters: str) -> None:
    obs, state = views(name, 6)
    seat = torch.arange(6)
    agents = sum(x.shape[1] for x in obs.values())
    assert made(name, "local", parameters=parameters)(obs, state, seat).shape == (6, agents)
    assert made(name, "central", parameters=parameters)(obs, state, seat).shape == (6, agents)
    assert made(name, "central", per_seat=True)(obs, state, seat).shape == (6, 1)


@pytest.mark.parametrize("name", ["toy/siege", "particle/speaker_listener", "particle/spread"])
def test_a_local_critic_sees_an_agent_s_view_and_nothing_else(name: str) -> None:
    obs, state = views(name, 3)
    value = made(name, "local")
    before = value(obs, state, torch.arange(3))
    assert torch.equal(value(obs, torch.full_like(state, math.nan), torch.arange(3)), before)
    column = 0
    for x in obs.values():
        for n in range(x.shape[1]):
            kept = x[:, n].clone()
            x[:, n] = math.nan
            after = value(obs, state, torch.arange(3))
            others = torch.arange(before.shape[1]) != column
            assert torch.equal(after[:, others], before[:, others])
            assert bool(after[:, column].isnan().all())
            x[:, n] = kept
            column += 1


def test_a_central_critic_sees_the_state_the_agent_and_the_seat() -> None:
    obs, state = views("toy/noughts", 4)
    state[1], state[3] = state[0], state[2]
    value = made("toy/noughts", "central")
    spoilt = {name: torch.full_like(x, math.nan) for name, x in obs.items()}
    shown = value(spoilt, state, torch.tensor([0, 1, 2, 3]))
    assert bool(torch.isfinite(shown).all())
    assert shown[0, 0].item() != shown[1, 0].item()  # the same board seen from the two sides
    again = value(spoilt, state, torch.tensor([6, 7, 8, 9]))  # the number of the copy does not matter
    assert torch.equal(again, shown)
    spread = made("particle/spread", "central")(*views("particle/spread", 4))
    assert (spread[:, 0] - spread[:, 1]).abs().min().item() > 0  # which agent


def test_without_a_state_a_central_critic_sees_all_views_of_the_team() -> None:
    spec = PolicySpec.of(environments.make("particle/spread").spec, "team", hidden=(8,))
    value = ValueFunction(spec, CriticShape(0, True, True, (8,), False), torch.Generator())
    obs = {"agent": torch.rand(5, 3, 18).requires_grad_()}
    (slope,) = torch.autograd.grad(value(obs, torch.zeros(5, 0), torch.arange(5)).sum(), obs["agent"])
    assert float(slope.abs().min()) > 0


def test_a_shape_survives_json() -> None:
    shape = CriticShape(5, True, False, (8, 9), True)
    assert CriticShape.from_json(shape.to_json()) == shape
    with pytest.raises((TypeError, KeyError)):
        CriticShape.from_json({"hidden": [1]})
