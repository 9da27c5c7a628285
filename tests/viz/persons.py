"""Who plays beside a person in tests: at random, by the episode's seed and step alone."""

from __future__ import annotations

import numpy as np

import environments
from environments.replay import PolicyTrace, trace_width
from environments.vector import VectorEnv
from tests.contracts.play import random_actions
from viz.session import Turn


class AtRandom:
    """Uniform over legal actions; `thoughts` are as made up as those of `tests.recording`."""

    remembers = False

    def __init__(self, salt: int = 0) -> None:
        self.salt = salt
        self.asked: list[int] = []
        """Steps at which it was asked."""

    def __call__(self, env: VectorEnv) -> Turn:
        step = int(env.episode_step[0])
        self.asked.append(step)
        rng = np.random.default_rng([int(env.episode_seed[0]), step, self.salt])
        actions = random_actions(env, rng)
        thoughts = {
            group.name: PolicyTrace(
                rng.uniform(0.1, 1, (len(group.agents), trace_width(group))), rng.normal(size=len(group.agents))
            )
            for group in env.spec.groups
        }
        return Turn(actions, thoughts)


def one_copy(name: str, key: int = 0, **options: object) -> VectorEnv:
    """A copy at the start of a key's first episode, which stays in its final state."""
    env = environments.parallel_env(name, **options).vector
    env.reset(keys=[key])
    return env
