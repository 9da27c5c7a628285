"""Acting noise by counter, compiled."""

from __future__ import annotations

import math

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


@kernel(python=True)
def normal(p):
    """The standard normal number below which others are with probability p in (0, 1), to 7 digits.

    Wichura 1988, algorithm AS 241, PPND7.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = ((5.9109374720e1 * r + 1.5929113202e2) * r + 5.0434271938e1) * r + 3.3871327179
        return F(q * top / (((6.7187563600e1 * r + 7.8757757664e1) * r + 1.7895169469e1) * r + 1.0))
    r = math.sqrt(-math.log(p if q < 0.0 else 1.0 - p))
    if r <= 5.0:
        r -= 1.6
        top = ((1.7023821103e-1 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
        x = top / ((1.2021132975e-1 * r + 7.3700164250e-1) * r + 1.0)
    else:
        r -= 5.0
        top = ((1.7337203997e-2 * r + 4.2868294337e-1) * r + 3.0812263860) * r + 6.6579051150
        x = top / ((1.2258202635e-2 * r + 2.4197894225e-1) * r + 1.0)
    return F(-x if q < 0.0 else x)


@kernel(entry=True)
def normals(uniform, out):
    """`normal` of all numbers of a flat array."""
    for i in range(uniform.shape[0]):
        out[i] = normal(uniform[i])


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
