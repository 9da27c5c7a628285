"""Soft actor-critics to test: small, remembering a few rollouts, and what of them an update may change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from environments.vector import VectorEnv
from marl.algorithms.sac import SAC
from marl.buffers import Rollout
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.config_replay import SACConfig
from marl.replay_buffer import Sample
from marl.seats import Seats
from marl.seeding import torch_generator
from tests.marl.rollouts import copied, kind_of, make, shaken

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
    """Consecutive rollouts of what a learner plays, the others being as untrained."""
    seats = {}
    for kind in env.spec.kinds:
        actor = made.actor if kind.name == made.spec.kind else SAC(env.spec, kind.name, SMALL, "agent", 0).actor
        seats[kind.name] = Seats.all(actor, env.num_envs * kind.teams)
    collector = Collector(env, seats, made.config.rollout_length, noise_key=9)
    return [copied(collector.collect()[made.spec.kind]) for _ in range(count)]


def ready(game: str, name: str, reward: str = "agent", **changed: Any) -> SAC:
    """A learner that remembers a few rollouts and has not learnt yet."""
    env = make(game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    for rollout in collect(env, made, 5):
        made.buffer.add(rollout, made._paid(rollout))
    return made


def sample_of(made: SAC, count: int = 64) -> Sample:
    return made.buffer.sample(count, made.config.n_step, made.config.gamma, made.wait, torch_generator(0, "test"))


def parameters(made: SAC) -> list[Tensor]:
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
    for name in ("policy", "critic", "target", "optimisers", "temperature", "team_temperature", "norm"):
        add(state[name])
    return found
