"""Soft actor-critics to test: small, remembering a few rollouts, and what of them an update may change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from environments.vector import VectorEnv
from marl.algorithms.sac import SAC
from marl.buffers import Rollout
from marl.config import ALGORITHMS
from marl.config_replay import SACConfig
from tests.marl.remembering import collected, fill
from tests.marl.rollouts import kind_of, make, shaken

SMALL = SACConfig(
    hidden=(16,),
    rollout_length=6,
    warmup_steps=48,
    updates_per_step=4 / 48,
    batch_size=64,
    buffer_size=8 * 40,
    polyak=0.1,
    n_step=1,
    temperature_learning_rate=1e-2,
)


def config_of(name: str, **changed: Any) -> SACConfig:
    known = ALGORITHMS[name].config
    place: dict[str, Any] = {each: getattr(known, each) for each in ("critic", "order", "parameters")}
    return replace(SMALL, **{**place, **changed})


def learner(env: VectorEnv, name: str, game: str = "", reward: str = "agent", **changed: Any) -> SAC:
    return SAC(env.spec, kind_of(game), config_of(name, **changed), reward, seed=5)


def collect(env: VectorEnv, made: SAC, count: int) -> list[Rollout]:
    """Consecutive rollouts of what a learner plays."""
    return collected(env, made, count, lambda kind: SAC(env.spec, kind, SMALL, "agent", 0))


def ready(game: str, name: str, reward: str = "agent", **changed: Any) -> SAC:
    """A learner that remembers a few rollouts and has not learnt yet."""
    env = make(game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    fill(made, collect(env, made, 5))
    return made
