"""Learners from a replay buffer to test: small, remembering a few rollouts; and a game of boxes and deaths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

import environments
from environments.vector import VectorEnv
from marl.buffers import Rollout
from marl.config import ALGORITHMS
from tests.marl import rollouts
from tests.marl.remembering import collected, fill
from tests.marl.rollouts import kind_of, shaken
from tests.probes.environment import FunctionEnv, Rules

FAMILIES: dict[str, tuple[str, ...]] = {
    "sac": ("isac", "masac", "hasac"),
    "ddpg": ("maddpg", "matd3", "haddpg", "hatd3"),
    "q": ("iql", "vdn", "qmix"),
}
SMALL: dict[str, Any] = {
    "hidden": (16,),
    "rollout_length": 6,
    "warmup_steps": 48,
    "updates_per_step": 4 / 48,
    "batch_size": 64,
    "buffer_size": 8 * 40,
    "n_step": 1,
    "polyak": 0.1,
}
OWN: dict[str, dict[str, Any]] = {
    "sac": {"temperature_learning_rate": 1e-2},
    "ddpg": {},
    "q": {"mixer_width": 4, "mixer_hidden": (8,), "epsilon_steps": 96},
}
"""What only one family has."""


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


def family_of(name: str) -> str:
    """ "sac", "ddpg" or "q"."""
    return next(family for family, names in FAMILIES.items() if name in names)


def make(name: str, game: str, num_envs: int = 8, seed: int = 1) -> VectorEnv:
    """Copies of a game, with boxes for who can take nothing else."""
    if game == "perilous":
        return FunctionEnv(Perilous(), num_envs, seed)
    if family_of(name) == "ddpg" and game.startswith("particle"):
        return environments.make(game, num_envs, seed, num_threads=1, max_cycles=5, continuous_actions=True)
    return rollouts.make(game, num_envs, seed)


def config_of(name: str, **changed: Any) -> Any:
    """An algorithm's settings, but small."""
    return replace(ALGORITHMS[name].config, **{**SMALL, **OWN[family_of(name)], **changed})


def learner(
    env: VectorEnv, name: str, game: str = "", reward: str | None = None, engine: str = "", **changed: Any
) -> Any:
    """Agents' own rewards, of values of actions the team's, where no other is asked for."""
    asked = {"engine": engine} if engine else {}
    reward = reward or ("team_sum" if family_of(name) == "q" else "agent")
    return ALGORITHMS[name].load()(env.spec, kind_of(game), config_of(name, **changed), reward, 5, **asked)


UNTRAINED = {"sac": "hasac", "ddpg": "hatd3", "q": "iql"}


def collect(env: VectorEnv, made: Any, count: int) -> list[Rollout]:
    """Consecutive rollouts of what a learner plays."""
    family = next(each for each, name in UNTRAINED.items() if isinstance(made, ALGORITHMS[name].load()))
    return collected(env, made, count, lambda kind: _untrained(env, UNTRAINED[family], kind))


def _untrained(env: VectorEnv, name: str, kind: str) -> Any:
    return ALGORITHMS[name].load()(env.spec, kind, config_of(name), "agent", 0)


def ready(name: str, game: str = "perilous", reward: str | None = None, **changed: Any) -> Any:
    """A learner that remembers a few rollouts and has not learnt yet; its targets are not what they follow."""
    env = make(name, game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    if hasattr(made, "target_policy"):
        shaken(made.target_policy, 4)
    fill(made, collect(env, made, 5))
    return made
