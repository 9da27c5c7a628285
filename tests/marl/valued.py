"""Value-based learners to test: small, remembering a few rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from environments.vector import VectorEnv
from marl.algorithms.q_learning import QLearning
from marl.buffers import Rollout
from marl.collector import Collector
from marl.config_replay import QConfig
from marl.replay_buffer import Sample
from marl.seats import Seats
from marl.seeding import torch_generator
from tests.marl.rollouts import copied, kind_of, make, shaken

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
    """Consecutive rollouts of what a learner plays, the others being as untrained."""
    seats = {}
    for kind in env.spec.kinds:
        other = config_of("iql")
        actor = made.actor if kind.name == made.spec.kind else QLearning(env.spec, kind.name, other, "agent", 0).actor
        seats[kind.name] = Seats.all(actor, env.num_envs * kind.teams)
    collector = Collector(env, seats, made.config.rollout_length, noise_key=9)
    return [copied(collector.collect()[made.spec.kind]) for _ in range(count)]


def ready(game: str, name: str, reward: str = "team_sum", **changed: Any) -> QLearning:
    """A learner that remembers a few rollouts and has not learnt yet; its targets are not what they follow."""
    env = make(game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    shaken(made.target_policy, 4)
    for rollout in collect(env, made, 5):
        made.buffer.add(rollout, made._paid(rollout))
    return made


def sample_of(made: QLearning, count: int = 64) -> Sample:
    return made.buffer.sample(count, made.config.n_step, made.config.gamma, made.wait, torch_generator(0, "test"))


def parameters(made: QLearning) -> list[Tensor]:
    """Everything that an update may change."""
    found: list[Tensor] = []

    def add(x: Any) -> None:
        if isinstance(x, dict):
            for value in x.values():
                add(value)
        elif isinstance(x, list | tuple):
            for value in x:
                add(value)
        elif isinstance(x, Tensor):
            found.append(x.clone())

    state = made.state_dict()
    for name in (*made.MODULES, "optimisers"):
        add(state[name])
    return found
