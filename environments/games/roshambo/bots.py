"""Bots for roshambo that need no memory but what they see: the last throws.

A bot reads the last joint throw, the first six columns of every observation, whatever `recall` is. Before the first
throw, where these are zeros, both are taken to have thrown rock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError

View = NDArray[Any]
Mask = NDArray[np.bool_] | None
Noise = NDArray[np.float32]
ROCK, PAPER, SCISSORS = range(3)


def rock(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """Always rock."""
    return np.full(len(obs), ROCK, np.int32)


def paper(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """Always paper."""
    return np.full(len(obs), PAPER, np.int32)


def scissors(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """Always scissors."""
    return np.full(len(obs), SCISSORS, np.int32)


def random(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """Each throw with the same chance: the equilibrium."""
    return np.minimum(3 * noise, 2).astype(np.int32)


def rotate(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """Rock, paper, scissors, and again."""
    own, _ = _last(obs)
    return (own + _begun(obs)) % 3


def copy_last(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """What the other threw last."""
    return _last(obs)[1]


def beat_last(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """What beats the other's last throw."""
    return (_last(obs)[1] + 1) % 3


def switching(obs: View, mask: Mask, noise: Noise) -> NDArray[np.int32]:
    """Either of the throws that it did not make last."""
    own, _ = _last(obs)
    return ((own + 1 + (noise >= 0.5)) % 3).astype(np.int32)


def _last(obs: View) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`[B]` own and other's last throw; rock before the first."""
    if obs.ndim != 2 or obs.shape[1] < 6:
        raise UsageError(f"a bot of roshambo reads rows of at least 6 columns, not an array of shape {obs.shape}")
    own, other = obs[:, 0:3].argmax(1), obs[:, 3:6].argmax(1)
    return own.astype(np.int32), other.astype(np.int32)


def _begun(obs: View) -> NDArray[np.int32]:
    """`[B]` 1 after the first throw, before it 0."""
    return np.asarray(obs[:, 0:6].any(1), np.int32)
