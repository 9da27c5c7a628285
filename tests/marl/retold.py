"""An environment around another, which shows the same but for some arrays of groups: those a subclass writes itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from environments.spec import AgentGroup
from environments.vector import Actions, GroupBuffers, StepBuffers, VectorEnv, allocate


class Retold:
    """It is never stepped by compiled code; all else is the environment's."""

    own: ClassVar[frozenset[str]] = frozenset()
    """Arrays of a group that `retell` writes."""

    def __init__(self, env: VectorEnv, groups: Sequence[AgentGroup]) -> None:
        """`groups` as they are described now."""
        self.inner, self.num_envs, self.spec = env, env.num_envs, replace(env.spec, groups=tuple(groups))
        self.buffers = self.shown = allocate(self.spec, env.num_envs)
        self._show(self.buffers)

    def __getattr__(self, name: str) -> Any:
        if name == "block":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        self.inner.step(actions)
        return self._show(self.buffers if out is None else out)

    def retell(self, group: AgentGroup, theirs: GroupBuffers, mine: GroupBuffers) -> None:
        """Write a group's `own` arrays."""
        raise NotImplementedError

    def _show(self, out: StepBuffers) -> StepBuffers:
        inner, self.shown = self.inner.buffers, out
        for kept, copied in zip(inner[1:], out[1:], strict=True):
            copied[...] = kept
        for group, theirs, mine in zip(self.spec.groups, inner.groups, out.groups, strict=True):
            for name in set(theirs._fields) - self.own:
                getattr(mine, name)[...] = getattr(theirs, name)
            self.retell(group, theirs, mine)
        return out
