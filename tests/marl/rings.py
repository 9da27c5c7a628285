"""Replay buffers to test, filled by what fresh policies did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from environments.vector import VectorEnv
from marl.algorithms.ppo import PPO
from marl.buffers import Rollout
from marl.collector import Collector
from marl.policy_spec import PolicySpec
from marl.replay_buffer import ReplayBuffer, Sample
from marl.seats import Seats
from marl.seeding import torch_generator
from tests.marl.rollouts import SMALL, copied, kind_of, make

LENGTH, CAPACITY = 6, 8 * 15
GAMMA, WAIT = 0.9, 0.8


def rollouts(env: VectorEnv, kind: str, count: int, length: int = LENGTH) -> list[Rollout]:
    """Consecutive rollouts of fresh policies."""
    seats = {}
    for each in env.spec.kinds:
        policy = PPO(env.spec, each.name, replace(SMALL, rollout_length=length), "agent", 0).policy
        seats[each.name] = Seats.all(policy, env.num_envs * each.teams)
    collector = Collector(env, seats, length, noise_key=9)
    return [copied(collector.collect()[kind]) for _ in range(count)]


def paid(spec: PolicySpec, rollout: Rollout, per_agent: bool) -> Tensor:
    reward = torch.cat([rollout.groups[group.name].reward for group in spec.groups], 2)
    return reward if per_agent else reward.sum(2, keepdim=True)


def filled(
    name: str, per_agent: bool, count: int = 7, capacity: int = CAPACITY
) -> tuple[VectorEnv, ReplayBuffer, list[Rollout]]:
    env = make(name)
    spec = PolicySpec.of(env.spec, kind_of(name))
    buffer = ReplayBuffer(spec, per_agent, capacity, env.spec.max_wait)
    history = rollouts(env, kind_of(name), count)
    for rollout in history:
        buffer.add(rollout, paid(spec, rollout, per_agent))
    return env, buffer, history


def sample_of(buffer: ReplayBuffer, count: int = 200, decisions: int = 3, seed: int = 0) -> Sample:
    return buffer.sample(count, decisions, GAMMA, WAIT, torch_generator(seed, "test"))


def tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    copied(value, lambda x: (found.append(x), x)[1])
    return found
