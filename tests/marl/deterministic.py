"""Learners with deterministic actors to test: small, remembering a few rollouts; and a game of boxes and deaths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

import environments
from environments.vector import VectorEnv
from marl.algorithms.ddpg import DDPG
from marl.buffers import Rollout
from marl.config import ALGORITHMS
from marl.config_replay import DDPGConfig
from tests.marl.remembering import collected, fill
from tests.marl.rollouts import kind_of, shaken
from tests.marl.rollouts import make as made_before
from tests.probes.environment import FunctionEnv, Rules

NAMES = ["maddpg", "matd3", "haddpg", "hatd3"]
SMALL = DDPGConfig(
    hidden=(16,),
    rollout_length=6,
    warmup_steps=48,
    updates_per_step=4 / 48,
    batch_size=64,
    buffer_size=8 * 40,
    n_step=1,
    polyak=0.1,
)
PLACE = ("order", "parameters", "twin", "target_noise", "policy_delay")
"""Settings that make an algorithm what it is."""


class Perilous(Rules):
    """Three agents push a number about with lopsided boxes; each dies where it leaves a band of its own, one is
    sometimes absent, and time is up after 6 steps."""

    teams: ClassVar = {"team": 3}
    features: ClassVar = 2
    state_size: ClassVar = 3
    memory: ClassVar = 3
    max_steps: ClassVar = 6
    actions: ClassVar = spaces.Box(np.array([-1, 0], np.float32), np.array([0.5, 10], np.float32))

    def start(self, u: np.ndarray) -> np.ndarray:
        return u[:, :3] - 0.5

    def absent(self, u: np.ndarray) -> np.ndarray:
        return np.arange(3) >= np.where(u[:, :1] < 0.3, 2, 3)

    def state(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return hidden

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return np.stack([hidden, np.repeat(step[:, None] / 6, 3, 1)], 2)

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        safe = np.where(alive[..., None], actions, 0.0).astype(float)
        hidden += 0.3 * safe[..., 0] + 0.03 * (safe[..., 1] - 5)
        return np.where(alive, -(hidden**2), 0.0), np.abs(hidden) > 0.9


def make(game: str = "perilous", num_envs: int = 8, seed: int = 1) -> VectorEnv:
    """Copies of a game whose agents have boxes."""
    if game == "perilous":
        return FunctionEnv(Perilous(), num_envs, seed)
    if game.startswith("particle"):
        return environments.make(game, num_envs, seed, num_threads=1, max_cycles=5, continuous_actions=True)
    return made_before(game, num_envs, seed)


def config_of(name: str, **changed: Any) -> DDPGConfig:
    known = ALGORITHMS[name].config
    place: dict[str, Any] = {each: getattr(known, each) for each in PLACE}
    return replace(SMALL, **{**place, **changed})


def learner(env: VectorEnv, name: str, game: str = "perilous", reward: str = "agent", **changed: Any) -> DDPG:
    return DDPG(env.spec, kind_of(game), config_of(name, **changed), reward, seed=5)


def collect(env: VectorEnv, made: DDPG, count: int) -> list[Rollout]:
    """Consecutive rollouts of what a learner plays."""
    return collected(env, made, count, lambda kind: DDPG(env.spec, kind, SMALL, "agent", 0))


def ready(name: str, game: str = "perilous", reward: str = "agent", **changed: Any) -> DDPG:
    """A learner that remembers a few rollouts and has not learnt yet; its targets are not what they follow."""
    env = make(game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    shaken(made.target_policy, 4)
    fill(made, collect(env, made, 5))
    return made
