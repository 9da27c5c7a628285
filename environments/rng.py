"""Counter-based random numbers: every draw is a function of (seed, number of the draw).

One stream per environment copy and episode, so that a copy lives the same life in a batch of 1 or of 4096, on any
number of threads. Draw `c` of seed `s` is `mix(s + (c + 1) * GAMMA)`: SplitMix64 (Steele, Lea, Flood 2014, "Fast
Splittable Pseudorandom Number Generators").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel

U = np.uint64
GAMMA = U(0x9E3779B97F4A7C15)
MIX_1 = U(0xBF58476D1CE4E5B9)
MIX_2 = U(0x94D049BB133111EB)
COPY_SALT = U(0xD1B54A32D192ED03)
EPISODE_SALT = U(0x8CB92BA72F3D8DD7)
UNIT = np.float32(1.0 / (1 << 24))
ONE = np.float32(1.0)


@kernel(python=True)
def mix(x: np.uint64) -> np.uint64:
    """Scramble 64 bits (bijective)."""
    x = (x ^ (x >> U(30))) * MIX_1
    x = (x ^ (x >> U(27))) * MIX_2
    return x ^ (x >> U(31))


@kernel(python=True)
def copy_key(seed: np.uint64, copy: np.uint64) -> np.uint64:
    """Key of a copy from the run's seed and the copy's global number."""
    return mix(mix(U(seed) + GAMMA) ^ (U(copy) * COPY_SALT + GAMMA))


@kernel(entry=True)
def _fill_keys(seed: np.uint64, first_copy: np.uint64, keys: NDArray[np.uint64]) -> None:
    for e in range(keys.shape[0]):
        keys[e] = copy_key(seed, first_copy + U(e))


def copy_keys(seed: int, first_copy: int, num_envs: int) -> NDArray[np.uint64]:
    """`[num_envs]` keys of the copies `first_copy`, `first_copy + 1`, ... of a run."""
    keys = np.zeros(num_envs, np.uint64)
    _fill_keys(U(seed % 2**64), U(first_copy), keys)
    return keys


@kernel(python=True)
def episode_seed(key: np.uint64, episode: np.uint64) -> np.uint64:
    """Seed of episode `episode` of the copy with that key."""
    return mix(U(key) + (U(episode) + U(1)) * EPISODE_SALT)


def key_of(seed: int) -> int:
    """The key whose episode 0 starts from `seed`: `episode_seed(key_of(s), 0) == s`, so one number names an episode."""
    x = seed % 2**64
    x ^= x >> 31 ^ x >> 62
    x = x * pow(int(MIX_2), -1, 2**64) % 2**64
    x ^= x >> 27 ^ x >> 54
    x = x * pow(int(MIX_1), -1, 2**64) % 2**64
    x ^= x >> 30 ^ x >> 60
    return (x - int(EPISODE_SALT)) % 2**64


@kernel
def bits(clock: Any) -> np.uint64:
    """The next 64 random bits of the copy whose clock (`seed`, `draws`) this is."""
    count = clock.draws + U(1)
    clock.draws = count
    return mix(clock.seed + count * GAMMA)


@kernel
def uniform(clock: Any, low: np.float32, high: np.float32) -> np.float32:
    """Uniform float32 in [low, high), 24 random bits."""
    unit = np.float32(bits(clock) >> U(40)) * UNIT
    return low + (high - low) * unit


@kernel
def integer(clock: Any, n: int) -> np.int64:
    """Uniform integer in [0, n); bias below n / 2**32."""
    return np.int64(((bits(clock) >> U(32)) * U(n)) >> U(32))
