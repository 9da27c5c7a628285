"""Random episodes as replays, for tests of replays, pictures and commands."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces

import environments
from environments.replay import PolicyTrace, Recorder, Replay, trace_width
from environments.spec import AgentGroup
from tests.contracts.play import random_actions


def record(name: str, seed: int = 0, traces: bool = True, **options: Any) -> Replay:
    """A replay of one episode under random actions, the second of two copies; the same for the same arguments."""
    return _record(name, seed, traces, tuple(sorted(options.items())))


@cache
def _record(name: str, seed: int, traces: bool, options: tuple[tuple[str, Any], ...]) -> Replay:
    env = environments.make(name, num_envs=2, seed=seed, **dict(options))
    rng = np.random.default_rng(seed)
    recorder = Recorder(env, 1, {"policies": {kind.name: "random" for kind in env.spec.kinds}})
    over = False
    while not over:
        actions = random_actions(env, rng)
        thoughts = {group.name: _trace(group, rng) for group in env.spec.groups} if traces else None
        over = recorder.add(actions, env.step(actions), thoughts)
    return recorder.finish()


def _trace(group: AgentGroup, rng: np.random.Generator) -> PolicyTrace:
    """Probabilities that sum to 1 over all columns, or a mean and a spread; good enough to be looked at."""
    agents, width = len(group.agents), trace_width(group)
    if isinstance(group.action_space, spaces.Box):
        return PolicyTrace(rng.uniform(0.05, 0.6, (agents, width)), rng.normal(size=agents))
    return PolicyTrace(rng.dirichlet(np.ones(width), agents), rng.normal(size=agents))
