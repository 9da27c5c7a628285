"""A team whose agents differ in the kind of their actions: a discrete speaker, a listener of whatever kind is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup, TeamKind
from environments.vector import GroupBuffers, StepBuffers, VectorEnv, allocate
from marl.policy_spec import choices
from tests.marl.retold import Retold
from tests.probes.environment import FunctionEnv, Rules

NUMBER = spaces.Box(np.array([-1], np.float32), np.array([3], np.float32))


class Hint(Rules):
    """The speaker sees a bit and says one; the listener hears it and is paid for a number near 2.5 or -.5."""

    teams = {"speaker": 1, "listener": 1}  # noqa: RUF012
    memory = 2
    leaves = False
    """Whether the speaker's life ends with its word."""

    def start(self, u: np.ndarray) -> np.ndarray:
        return np.stack([(u[:, 0] < 0.5) * 1.0, np.full(len(u), -1.0)], 1)

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return hidden[:, :, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        second = step[:, None] == 1
        wanted = np.where(hidden[:, :1] > 0, 2.5, -0.5)
        paid = np.where(second, -np.abs(actions[:, 1:] - wanted), 0.0)
        hidden[:, 1] = actions[:, 0]
        return paid, np.concatenate([second | self.leaves, second], 1)


class MixedEnv(FunctionEnv):
    """A discrete speaker and a listener in one team; of a listener's several numbers the first counts."""

    def __init__(
        self, num_envs: int, listening: spaces.Box | spaces.MultiDiscrete = NUMBER, leaves: bool = False
    ) -> None:
        super().__init__(Hint(), num_envs)
        self.rules.leaves = leaves
        speaker, listener = self.spec.groups
        groups = replace(speaker, kind="team"), replace(listener, kind="team", action_space=listening)
        self.spec = replace(self.spec, groups=groups, kinds=(TeamKind("team", ("speaker", "listener")),))
        self.clock["score"], self._teams = np.zeros((num_envs, 1)), np.zeros(2, np.int64)
        self.buffers = allocate(self.spec, num_envs)
        self._show(self.buffers)

    def step(self, actions: Any, out: StepBuffers | None = None) -> StepBuffers:
        return super().step({"speaker": actions["speaker"], "listener": actions["listener"][..., 0]}, out)


class Masked(Retold):
    """An environment that lets one action of every choice be illegal, or none: it depends on the view. It insists."""

    own = frozenset({"action_mask", "final_mask"})

    def __init__(self, env: VectorEnv) -> None:
        self.sizes = {group.name: choices(group.action_space) for group in env.spec.groups}
        self.refused = 0
        """Times that somebody might not do everything."""
        super().__init__(env, [replace(group, masked=bool(self.sizes[group.name])) for group in env.spec.groups])

    def step(self, actions: Any, out: StepBuffers | None = None) -> StepBuffers:
        for group, shown in zip(self.spec.groups, self.shown.groups, strict=True):
            first = 0
            for place, size in enumerate(self.sizes[group.name]):
                chosen = actions[group.name].reshape(*shown.acting.shape, -1)[..., place].astype(np.int64)
                legal = np.take_along_axis(shown.action_mask[..., first : first + size], chosen[..., None], -1)[..., 0]
                assert legal[shown.acting].all(), group.name
                self.refused += int((~shown.action_mask).any(2).sum())
                first += size
        return super().step(actions, out)

    def retell(self, group: AgentGroup, theirs: GroupBuffers, mine: GroupBuffers) -> None:
        ended = theirs.terminated | theirs.truncated
        mine.action_mask[...] = self._legal(group.name, theirs.obs) | ~theirs.acting[..., None]
        mine.final_mask[ended] = self._legal(group.name, theirs.final_obs)[ended]

    def _legal(self, group: str, obs: np.ndarray) -> np.ndarray:
        number = np.abs(np.nan_to_num(obs).sum(2) * 8).astype(np.int64)
        parts = [number[..., None] % (size + 1) != np.arange(size) for size in self.sizes[group]]
        return np.concatenate(parts, 2) if parts else np.ones((*number.shape, 0), np.bool_)
