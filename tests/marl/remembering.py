"""What tests of learners from a replay buffer share: filling them, sampling, and all that an update may change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from environments.vector import VectorEnv
from marl.algorithms.off_policy import OffPolicy
from marl.buffers import Rollout
from marl.collector import Collector
from marl.replay_buffer import Sample
from marl.seats import Seats
from marl.seeding import torch_generator
from tests.marl.rollouts import copied


def collected(env: VectorEnv, made: OffPolicy, count: int, untrained: Callable[[str], OffPolicy]) -> list[Rollout]:
    """Consecutive rollouts of what a learner plays, the other kinds' teams being as untrained."""
    seats = {}
    for kind in env.spec.kinds:
        actor = made.actor if kind.name == made.spec.kind else untrained(kind.name).actor
        seats[kind.name] = Seats.all(actor, env.num_envs * kind.teams)
    spans = {made.spec.kind: made.span} if made.policy.memory else {}
    collector = Collector(env, seats, made.config.rollout_length, 9, spans)
    return [copied(collector.collect()[made.spec.kind]) for _ in range(count)]


def fill(made: OffPolicy, rollouts: Iterable[Rollout]) -> None:
    """Let a learner remember rollouts without learning."""
    for rollout in rollouts:
        made.buffer.add(rollout, made._paid(rollout))


def sample_of(made: OffPolicy, count: int = 64) -> Sample:
    return made.buffer.sample(count, made.config.n_step, made.config.gamma, made.wait, torch_generator(0, "test"))


def parameters(made: OffPolicy) -> list[Tensor]:
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
    for name in (*made.MODULES, "optimisers", "temperature", "team_temperature"):
        add(state.get(name, ()))
    return found
