"""Derived seeds and acting noise: named, repeatable, apart from one another."""

from __future__ import annotations

import numpy as np
import torch

from marl.engine import noise
from marl.seeding import acting_noise, derive, torch_generator

GAMES = np.arange(1, 65, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
STEPS = np.arange(64) % 7


def test_a_component_has_its_own_stream() -> None:
    names = [("policy",), ("value",), ("team", "policy"), ("policy", "team"), ("shuffle",), ("policy", 1)]
    seeds = {derive(seed, *name) for seed in (*range(50), 2**63 - 1) for name in names}
    assert len(seeds) == 51 * len(names)
    assert derive(3, "policy") == derive(3, "policy")
    assert all(0 <= seed < 2**63 for seed in seeds)
    first, second = (torch.rand(4, generator=torch_generator(3, name)) for name in ("policy", "value"))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.rand(4, generator=torch_generator(3, "policy")))


def test_noise_is_a_function_of_game_step_and_agent() -> None:
    agents = np.arange(3)
    whole = acting_noise(7, GAMES, STEPS, agents, 2)
    assert whole.shape == (64, 3, 2)
    assert whole.dtype == np.float32
    order = np.random.default_rng(0).permutation(64)
    assert np.array_equal(acting_noise(7, GAMES[order], STEPS[order], agents, 2), whole[order])
    assert np.array_equal(acting_noise(7, GAMES, STEPS, agents[2:], 2), whole[:, 2:])
    for other in (
        acting_noise(8, GAMES, STEPS, agents, 2),
        acting_noise(7, GAMES + np.uint64(1), STEPS, agents, 2),
        acting_noise(7, GAMES, STEPS + 1, agents, 2),
        acting_noise(7, GAMES, STEPS, agents + 3, 2),
    ):
        assert (other != whole).mean() > 0.999


def test_agents_that_take_different_numbers_of_draws_share_none() -> None:
    """Groups ask for their own number of draws: agent 2 with two draws must not hold agents 4 and 5 with one."""
    draws = [
        acting_noise(7, GAMES[:1], STEPS[:1], np.arange(first, last), size)
        for first, last, size in ((0, 4, 2), (4, 8, 1), (8, 12, 16))
    ]
    flat = np.concatenate([x.reshape(-1) for x in draws])
    assert len(np.unique(flat)) == len(flat)


def test_noise_is_uniform_and_independent() -> None:
    games = np.arange(20_000, dtype=np.uint64)
    u = acting_noise(1, games, np.zeros(20_000, np.int64), np.arange(5), 2).astype(np.float64).reshape(20_000, 10)
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / u.size) ** 0.5
    counts = np.bincount((u.reshape(-1) * 100).astype(int), minlength=100)
    assert ((counts - 2000) ** 2 / 2000).sum() < 160  # chi-square with 99 degrees: 1 in 10,000
    correlation = np.corrcoef(u.T) - np.eye(10)
    assert np.abs(correlation).max() < 5 / 20_000**0.5


def test_noise_is_never_0_or_1() -> None:
    """An inverse distribution function is infinite there. The extreme bit patterns are put in by hand."""
    for bits in (2**64 - 1, 2**64 - 2**40, 2**40, 0):
        assert 0 < noise.unit(np.uint64(bits)) < 1
    assert noise.unit(np.uint64(2**64 - 1)) - noise.unit(np.uint64(0)) > 0.999999


def scrambled(x: int) -> int:
    """SplitMix64's finaliser, in whole numbers of any size."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def test_noise_is_what_the_formula_says() -> None:
    for game, step, agent, draw in [(5, 0, 0, 0), (2**64 - 1, 24, 3, 1), (2**40, 7, 2, 2)]:
        seen = acting_noise(11, np.array([game], np.uint64), np.array([step]), np.array([agent]), 3)[0, 0, draw]
        moment = (scrambled(game ^ 11) + step * 0xD1B54A32D192ED03) % 2**64
        slot = (agent << 32) + draw + 1
        bits = scrambled((scrambled(moment) + slot * 0x9E3779B97F4A7C15) % 2**64)
        assert seen == np.float32(((bits >> 41) + 0.5) / 2**23)
