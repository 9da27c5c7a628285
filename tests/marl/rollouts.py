"""Rollouts to test learners on: collected from real environments, copied, and spoiled where it must not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import environments
from environments.vector import VectorEnv
from marl.algorithms.ppo import PPO
from marl.buffers import Rollout
from marl.collector import Collector
from marl.config import PPOConfig
from marl.policy import Policy
from marl.seats import Seats

torch.set_num_threads(1)  # as a run does

SMALL = PPOConfig(hidden=(16,), rollout_length=12, epochs=2, minibatches=3, anneal=False)
GAMES: dict[str, dict[str, Any]] = {
    "toy/meet": {"max_cycles": 6},  # masks, terminated and truncated
    "toy/dock": {"max_cycles": 5},  # lopsided boxes, truncated only
    "toy/noughts": {},  # turns, two teams of a kind, uint8
    "toy/siege": {"max_cycles": 7},  # deaths, absences, MultiDiscrete, two kinds
    "particle/spread": {"max_cycles": 5},
    "particle/tag": {"max_cycles": 5},  # two kinds
    "particle/speaker_listener": {"max_cycles": 5},  # two groups in one team
}
KINDS = {"toy/noughts": "player", "toy/siege": "guard", "particle/tag": "adversary"}


def kind_of(name: str) -> str:
    """The kind of team that tests look at."""
    return KINDS.get(name, "team")


def make(name: str, num_envs: int = 8, seed: int = 1) -> VectorEnv:
    return environments.make(name, num_envs=num_envs, seed=seed, num_threads=1, **GAMES[name])


def shaken(policy: Policy, seed: int = 3) -> Policy:
    """The policy with numbers that are far from its initial, nearly uniform ones."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.acting_parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return policy


def learner(
    env: VectorEnv,
    name: str,
    config: PPOConfig = SMALL,
    reward: str = "agent",
    threads: int = 1,
    engine: str = "fused",
) -> PPO:
    made = PPO(env.spec, kind_of(name), config, reward, seed=5, threads=threads, engine=engine)
    shaken(made.policy)
    return made


def collect(
    env: VectorEnv,
    policies: dict[str, Sequence[Policy]],
    length: int = SMALL.rollout_length,
    warm: int = 1,
    spans: dict[str, int] | None = None,
) -> dict[str, Rollout]:
    """A rollout per kind of team, after `warm` others; with several policies they take the seats in turn."""
    seats = {}
    for kind in env.spec.kinds:
        count = env.num_envs * kind.teams
        players = list(policies.get(kind.name, [])) or [PPO(env.spec, kind.name, SMALL, "agent", 0).policy]
        seats[kind.name] = Seats(players, (np.arange(count) % len(players)).astype(np.int16))
    collector = Collector(env, seats, length, noise_key=9, spans=spans)
    for _ in range(warm):
        collector.collect()
    return collector.collect()


@cache
def _rollout(name: str, players: int, length: int) -> tuple[VectorEnv, Rollout]:
    env = make(name)
    policies = [learner(env, name).policy, *(shaken(learner(env, name).policy, 7 + k) for k in range(players - 1))]
    return env, collect(env, {kind_of(name): policies}, length)[kind_of(name)]


def rollout_of(name: str, players: int = 1, length: int = SMALL.rollout_length) -> tuple[VectorEnv, Rollout]:
    """An environment and a copy of a rollout in it, of `learner(env, name)` and others in turn."""
    env, rollout = _rollout(name, players, length)
    return env, copied(rollout)


def copied(value: Any, change: Callable[[Tensor], Tensor] = torch.clone) -> Any:
    """A rollout (or part of one) with every tensor copied."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: copied(x, change) for key, x in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: copied(getattr(value, field.name), change) for field in fields(value)})
    return value


def spoil(x: Tensor, rows: Tensor, garbage: float) -> None:
    """Write garbage into the chosen rows, whatever the type."""
    if x.dtype == torch.bool:
        x[rows] = False
    elif x.dtype.is_floating_point:
        x[rows] = garbage
    elif x.dtype == torch.uint8:
        x[rows] = 201
    else:
        x[rows] = -123_456


def parameters(made: PPO) -> list[Tensor]:
    """Everything that an update may change: networks, the value scale, the optimiser."""
    state = made.state_dict()
    moments = [x for entry in state["optimiser"]["state"].values() for x in entry.values()]
    return [x.clone() for x in (*state["policy"].values(), *moments)]


def same_bits(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
