"""A team whose agents differ in the kind of their actions: a discrete speaker, a listener of whatever kind is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.spec import TeamKind
from environments.vector import StepBuffers, allocate
from tests.probes.environment import FunctionEnv, Rules

NUMBER = spaces.Box(np.array([-1], np.float32), np.array([3], np.float32))


class Hint(Rules):
    """The speaker sees a bit and says one; the listener hears it and is paid for a number near 2.5 or -.5."""

    teams = {"speaker": 1, "listener": 1}  # noqa: RUF012
    memory = 2

    def start(self, u: np.ndarray) -> np.ndarray:
        return np.stack([(u[:, 0] < 0.5) * 1.0, np.full(len(u), -1.0)], 1)

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return hidden[:, :, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        second = step[:, None] == 1
        wanted = np.where(hidden[:, :1] > 0, 2.5, -0.5)
        paid = np.where(second, -np.abs(actions[:, 1:] - wanted), 0.0)
        hidden[:, 1] = actions[:, 0]
        return paid, second


class MixedEnv(FunctionEnv):
    """A discrete speaker and a listener in one team; of a listener's several numbers the first counts."""

    def __init__(self, num_envs: int, listening: spaces.Box | spaces.MultiDiscrete = NUMBER) -> None:
        super().__init__(Hint(), num_envs)
        speaker, listener = self.spec.groups
        groups = replace(speaker, kind="team"), replace(listener, kind="team", action_space=listening)
        self.spec = replace(self.spec, groups=groups, kinds=(TeamKind("team", ("speaker", "listener")),))
        self.clock["score"], self._teams = np.zeros((num_envs, 1)), np.zeros(2, np.int64)
        self.buffers = allocate(self.spec, num_envs)
        self._show(self.buffers)

    def step(self, actions: Any, out: StepBuffers | None = None) -> StepBuffers:
        return super().step({"speaker": actions["speaker"], "listener": actions["listener"][..., 0]}, out)
