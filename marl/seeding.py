"""Random streams by name: one generator per component, none global; and noise for acting, by counter.

Every component's seed is derived from the run seed and the component's name, so adding a component changes no other.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
STEP_SALT = np.uint64(0xD1B54A32D192ED03)


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the component with that name path under a run seed."""
    words = [seed % 2**64, *(zlib.crc32(str(name).encode()) for name in names)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator of its own for the component with that name path."""
    generator = torch.Generator()
    generator.manual_seed(derive(seed, *names))
    return generator


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, elementwise (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return x ^ (x >> np.uint64(31))


def acting_noise(
    key: int, episode_seed: NDArray[np.uint64], episode_step: NDArray[Any], agents: NDArray[Any], draws: int
) -> NDArray[np.float32]:
    """Uniform noise in (0, 1), `[E, N, draws]` float32: a pure function of (key, game, step, agent, draw).

    It does not depend on how copies are batched, on which policies sit where, or on how many draws other agents take.
    `episode_seed`, `episode_step` are `[E]`; `agents` `[N]` are places in `spec.agents`.
    """
    with np.errstate(over="ignore"):
        game = _mix(episode_seed ^ np.uint64(key)) + episode_step.astype(np.uint64) * STEP_SALT
        own = np.left_shift(agents.astype(np.uint64), np.uint64(32))
        slots = own[:, None] + np.arange(1, draws + 1, dtype=np.uint64)
        bits = _mix(_mix(game)[:, None, None] + slots * GAMMA)
    # 23 bits: with 24 the largest number plus one half would round up, and an inverse distribution function has no 1
    return ((bits >> np.uint64(41)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
