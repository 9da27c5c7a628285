"""The keys of `environments.rng` in plain Python, for processes that hold no compiler.

Key of a copy, seed of an episode: the same numbers, bit for bit, as those that compiled environments use.
"""

from __future__ import annotations

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
COPY_SALT = 0xD1B54A32D192ED03
EPISODE_SALT = 0x8CB92BA72F3D8DD7
FAULT_SALT = 0xA0761D6478BD642F
WORD = 2**64


def mix(x: int) -> int:
    """Scramble 64 bits (bijective; SplitMix64)."""
    x = (x ^ (x >> 30)) * MIX_1 % WORD
    x = (x ^ (x >> 27)) * MIX_2 % WORD
    return x ^ (x >> 31)


def copy_key(seed: int, copy: int) -> int:
    """Key of a copy from the run's seed and the copy's global number."""
    return mix(mix((seed + GAMMA) % WORD) ^ ((copy * COPY_SALT + GAMMA) % WORD))


def episode_seed(key: int, episode: int) -> int:
    """Seed of episode `episode` of the copy with that key."""
    return mix((key + (episode + 1) * EPISODE_SALT) % WORD)


def after_fault(key: int) -> int:
    """The key with which a copy goes on after its environment has failed: another life, and the same one every time."""
    return mix(key ^ FAULT_SALT)
