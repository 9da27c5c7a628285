"""The probes' environment keeps the contract that every other environment keeps."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from gymnasium import spaces

from environments.vector import Array, VectorEnv
from tests.contracts import checks
from tests.probes.environment import FunctionEnv, Rules


class Everything(Rules):
    """Deaths, absences, turns, masks, time limits, posthumous pay, two kinds of team."""

    teams: ClassVar[dict[str, int]] = {"ones": 3, "others": 2}
    actions: ClassVar[spaces.Space] = spaces.Discrete(3)
    features: ClassVar[int] = 2
    state_size: ClassVar[int] = 4
    masked: ClassVar[bool] = True
    max_steps: ClassVar[int | None] = 9
    memory: ClassVar[int] = 3

    def start(self, u: Array) -> Array:
        return u[:, :3]

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None, :2] + np.arange(5)[:, None] / 10 + step[:, None, None]

    def state(self, hidden: Array, step: Array) -> Array:
        return np.concatenate([hidden, step[:, None]], 1)

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.stack([step % 2 == 0, np.ones(len(step)) > 0, hidden[:, 0] > 0.5], 1)[:, None]

    def acting(self, hidden: Array, step: Array) -> Array:
        return (step[:, None] + np.arange(5)) % 3 != 0

    def absent(self, u: Array) -> Array:
        return np.arange(5) == (u[:, 3:] * 8).astype(int)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> tuple[Array, Array]:
        acts = self.acting(hidden, step) & alive
        hidden[:, 1] = (hidden[:, 1] + (actions * acts).sum(1) * 0.37) % 1
        died = acts & (actions == 2) & (hidden[:, 1:2] > 0.6)
        died |= ~(alive & ~died & ((step[:, None] + 1 + np.arange(5)) % 3 != 0)).any(
            1, keepdims=True
        )  # nobody left to act
        return hidden[:, 1:2] + np.arange(5), died


def make(num_envs: int = 1, seed: int = 0, first_copy: int = 0, num_threads: int | None = None) -> VectorEnv:
    return FunctionEnv(Everything(), num_envs, seed, first_copy)


CHECKS = [
    checks.check_every_element_is_written,
    checks.check_view_is_a_function_of_the_state,
    checks.check_capture_and_restore,
    checks.check_an_episode_leaves_nothing_behind,
    checks.check_autoreset,
    checks.check_lives,
    checks.check_rows,
    checks.check_return,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check) -> None:
    check(make)


def test_copies_are_independent() -> None:
    checks.check_copies_are_independent(make, steps=150)
