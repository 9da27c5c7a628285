"""Random numbers by key: known answers, inverses, ranges, no shared streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments import rng
from environments.compile import kernel

MASK = 2**64 - 1
CLOCK = np.dtype([("seed", np.uint64), ("draws", np.uint64)], align=True)


def splitmix(seed: int, count: int) -> list[int]:
    """SplitMix64 as published, in Python's integers."""
    out = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        x = seed
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(x ^ (x >> 31))
    return out


@kernel(entry=True)
def _draw(clocks, bits, units, numbers, n):
    for i in range(bits.shape[0]):
        bits[i] = rng.bits(clocks[0])
    for i in range(units.shape[0]):
        units[i] = rng.uniform(clocks[0], np.float32(-1.0), np.float32(1.0))
    for i in range(numbers.shape[0]):
        numbers[i] = rng.integer(clocks[0], n)


@kernel(entry=True)
def _seeds(key, first, seeds):
    for j in range(seeds.shape[0]):
        seeds[j] = rng.episode_seed(key, np.uint64(first) + np.uint64(j))


def draw(seed: int, bits: int = 0, units: int = 0, numbers: int = 0, n: int = 1):
    """So many of each kind of draw from one stream, and how many draws were counted."""
    clock = np.zeros(1, CLOCK)
    clock["seed"] = seed
    out = np.zeros(bits, np.uint64), np.zeros(units, np.float32), np.zeros(numbers, np.int64)
    _draw(clock, *out, n)
    return *out, int(clock["draws"][0])


def seeds_of(key: int, first: int = 0, count: int = 1) -> np.ndarray:
    """Seeds of the first episodes of a key."""
    seeds = np.zeros(count, np.uint64)
    _seeds(np.uint64(key), first, seeds)
    return seeds


def test_published_values() -> None:
    assert splitmix(0, 3) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1, 123456789])
def test_bits_are_splitmix64(seed: int) -> None:
    bits, *_, draws = draw(seed, bits=20)
    assert bits.tolist() == splitmix(seed, 20)
    assert draws == 20


def test_uniform_has_24_bits_in_its_range() -> None:
    _, units, *_ = draw(5, units=200_000)
    assert units.min() >= -1 and units.max() < 1
    assert units.tolist()[:50] == [-1 + 2 * ((x >> 40) / 2**24) for x in splitmix(5, 50)]
    assert abs(units.mean()) < 5 / np.sqrt(3 * len(units))
    counts, _ = np.histogram(units, 50, (-1, 1))
    assert ((counts - 4000) ** 2 / 4000).sum() < 100  # chi-square with 49 degrees of freedom: 100 is beyond 0.9999


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000])
def test_integer_is_uniform_below_n(n: int) -> None:
    *_, numbers, _ = draw(9, numbers=50_000, n=n)
    assert numbers.min() >= 0 and numbers.max() == n - 1
    counts = np.bincount(numbers, minlength=n)
    assert abs(counts - 50_000 / n).max() < 6 * np.sqrt(50_000 / n)


@given(st.integers(0, MASK))
def test_key_of_is_the_inverse_of_episode_seed(seed: int) -> None:
    assert seeds_of(rng.key_of(seed))[0] == seed


def test_key_of_takes_any_integer_modulo_64_bits() -> None:
    assert rng.key_of(-1) == rng.key_of(MASK)


def test_copies_of_a_run_are_numbered_on() -> None:
    whole = rng.copy_keys(3, 0, 100)
    assert (rng.copy_keys(3, 60, 40) == whole[60:]).all()


def test_runs_copies_and_episodes_share_no_seed() -> None:
    keys = np.concatenate([rng.copy_keys(seed, 0, 64) for seed in (0, 1, 2, 2**64 - 1)])
    assert len(np.unique(keys)) == len(keys)
    seeds = np.concatenate([seeds_of(int(key), count=1000) for key in keys])
    assert len(np.unique(seeds)) == len(seeds) == 256_000


def test_neighbouring_seeds_give_unrelated_streams() -> None:
    first = np.array([draw(seed, units=1)[1][0] for seed in range(2000)])
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.1
    assert abs(first.mean()) < 0.07
