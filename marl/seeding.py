"""Random streams by name: one generator per component, none global; and noise for acting, by counter.

Every component's seed is derived from the run seed and the component's name, so adding a component changes no other.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray

from marl.engine import noise


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the component with that name path under a run seed."""
    words = [seed % 2**64, *(zlib.crc32(str(name).encode()) for name in names)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator of its own for the component with that name path."""
    generator = torch.Generator()
    generator.manual_seed(derive(seed, *names))
    return generator


def acting_noise(
    key: int, episode_seed: NDArray[np.uint64], episode_step: NDArray[np.int64], agents: NDArray[np.int64], draws: int
) -> NDArray[np.float32]:
    """Uniform noise in (0, 1), `[E, N, draws]` float32: a pure function of (key, game, step, agent, draw).

    It does not depend on how copies are batched, on which policies sit where, or on how many draws other agents take.
    `episode_seed`, `episode_step` are `[E]`; `agents` `[N]` are places in `spec.agents`. SplitMix64 (Steele, Lea, Flood
    2014) scrambles what names a number.
    """
    out = np.empty((len(episode_seed), len(agents), draws), np.float32)
    noise.fill(np.uint64(key), episode_seed, episode_step, agents, out)
    return out
