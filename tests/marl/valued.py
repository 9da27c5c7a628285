"""Value-based learners to test: small, remembering a few rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from environments.vector import VectorEnv
from marl.algorithms.q_learning import QLearning
from marl.buffers import Rollout
from marl.config_replay import QConfig
from tests.marl.remembering import collected, fill
from tests.marl.rollouts import kind_of, make, shaken

MIXERS = {"iql": "none", "vdn": "sum", "qmix": "monotone"}
NAMES = list(MIXERS)
SMALL = QConfig(
    hidden=(16,),
    rollout_length=6,
    warmup_steps=48,
    updates_per_step=4 / 48,
    batch_size=64,
    buffer_size=8 * 40,
    n_step=1,
    polyak=0.1,
    mixer_width=4,
    mixer_hidden=(8,),
    epsilon_steps=96,
)


def config_of(name: str, **changed: Any) -> QConfig:
    return replace(SMALL, **{"mixer": MIXERS[name], **changed})


def learner(env: VectorEnv, name: str, game: str = "", reward: str = "team_sum", **changed: Any) -> QLearning:
    return QLearning(env.spec, kind_of(game), config_of(name, **changed), reward, seed=5)


def collect(env: VectorEnv, made: QLearning, count: int) -> list[Rollout]:
    """Consecutive rollouts of what a learner plays."""
    return collected(env, made, count, lambda kind: QLearning(env.spec, kind, config_of("iql"), "agent", 0))


def ready(game: str, name: str, reward: str = "team_sum", **changed: Any) -> QLearning:
    """A learner that remembers a few rollouts and has not learnt yet; its targets are not what they follow."""
    env = make(game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    shaken(made.target_policy, 4)
    fill(made, collect(env, made, 5))
    return made
