"""Acting noise by counter, compiled."""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.rng import GAMMA, mix
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch

F = np.float32
U = np.uint64
STEP_SALT = U(0xD1B54A32D192ED03)


@kernel(python=True)
def unit(bits):
    """A number in (0, 1) from 64 random bits.

    23 of them: with 24 the largest number plus one half would round up, and an inverse distribution function has no 1.
    """
    return (F(U(bits) >> U(41)) + F(0.5)) * F(2.0**-23)


@kernel
def draw(key, episode_seed, episode_step, agents, out, first, stop):
    """`fill` for copies `first` to `stop`."""
    for e in range(first, stop):
        step = mix(mix(episode_seed[e] ^ key) + U(episode_step[e]) * STEP_SALT)
        for n in range(out.shape[1]):
            own = U(agents[n]) << U(32)
            for k in range(out.shape[2]):
                out[e, n, k] = unit(mix(step + (own + U(k) + U(1)) * GAMMA))


@kernel(entry=True)
def fill(key, episode_seed, episode_step, agents, out):
    """Uniform numbers in (0, 1) for `out [E, N, draws]`, from (key, game, step, agent, draw)."""
    draw(key, episode_seed, episode_step, agents, out, 0, out.shape[0])
