"""Teams of different kinds but equal spaces, seen as teams of one kind: so that one learner plays them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Actions, Array, GroupBuffers, SimState, StepBuffers, VectorEnv, allocate

FINAL = {"final_obs": "obs", "final_mask": "action_mask", "final_agent_state": "agent_state"}


def alike(spec: EnvSpec, one: str, other: str) -> bool:
    """True where teams of the two kinds have the same agents: as many in each group, with equal spaces."""
    return _shape_of(spec, one) == _shape_of(spec, other)


def _shape_of(spec: EnvSpec, name: str) -> list[tuple[Any, ...]]:
    kind = spec.kind(name)
    return [
        (g.observation_space, g.action_space, g.masked, g.agent_state_size, len(g.agents) // kind.teams)
        for g in (spec.group(each) for each in kind.groups)
    ]


def merged_spec(spec: EnvSpec, kinds: Sequence[str]) -> EnvSpec:
    """The description in which those kinds are one, of the first one's name, with all their teams."""
    first, *others = (spec.kind(name) for name in kinds)
    groups: list[AgentGroup] = []
    for group in spec.groups:
        if group.kind == first.name:
            parts = [spec.group(kind.groups[first.groups.index(group.name)]) for kind in (first, *others)]
            agents = tuple(agent for part in parts for agent in part.agents)
            own = {agent: space for part in parts for agent, space in part.own_action_spaces.items()}
            groups.append(replace(group, agents=agents, own_action_spaces=own))
        elif group.kind not in kinds:
            groups.append(group)
    whole = TeamKind(first.name, first.groups, sum(spec.kind(name).teams for name in kinds))
    left = tuple(whole if kind.name == first.name else kind for kind in spec.kinds if kind.name not in kinds[1:])
    return replace(spec, groups=tuple(groups), kinds=left)


class OneKind:
    """An environment in which some kinds of team are one. It copies what it shows; see `VectorEnv`."""

    def __init__(self, env: VectorEnv, kinds: Sequence[str]) -> None:
        """`kinds` are alike; the first gives its name to all."""
        if not all(alike(env.spec, kinds[0], name) for name in kinds[1:]):
            raise ValueError(f"{env.spec.name}: the teams {list(kinds)} are not alike")
        self.inner = env
        self.spec = merged_spec(env.spec, kinds)
        self.num_envs = env.num_envs
        self.buffers = allocate(self.spec, env.num_envs)
        self._parts = _parts_of(env.spec, self.spec, kinds)
        self._columns = _columns_of(env.spec, self.spec, kinds)
        self._show(env.buffers, self.buffers, everything=True)

    @property
    def episode_seed(self) -> NDArray[np.uint64]:
        """As the environment's."""
        return self.inner.episode_seed

    @property
    def episode_step(self) -> NDArray[np.int64]:
        """As the environment's."""
        return self.inner.episode_step

    def reset(self, keys: Sequence[int] | None = None, copies: Sequence[int] | None = None) -> StepBuffers:
        """As the environment's."""
        return self._show(self.inner.reset(keys, copies), self.buffers)

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        """As the environment's."""
        given: dict[str, Array] = {}
        for group, parts in zip(self.spec.groups, self._parts, strict=True):
            for name, place in parts:
                given[name] = np.ascontiguousarray(actions[group.name][:, place])
        return self._show(self.inner.step(given), self.buffers if out is None else out)

    def capture(self, copies: int | Sequence[int]) -> SimState:
        """As the environment's."""
        return self.inner.capture(copies)

    def restore(
        self,
        copies: int | Sequence[int],
        state: SimState | Mapping[str, Array],
        rekey: int | Sequence[int] | None = None,
    ) -> None:
        """As the environment's."""
        self.inner.restore(copies, state, rekey)
        self._show(self.inner.buffers, self.buffers)

    def close(self) -> None:
        """As the environment's."""
        self.inner.close()

    def _show(self, shown: StepBuffers, out: StepBuffers, everything: bool = False) -> StepBuffers:
        """Copy all arrays, of final views only the rows of lives that ended."""
        by_name = dict(zip((group.name for group in self.inner.spec.groups), shown.groups, strict=True))
        for parts, target in zip(self._parts, out.groups, strict=True):
            for name, place in parts:
                _copy_group(by_name[name], target, place, everything)
        for name in ("state", "episode_over", "episode_truncated", "metrics"):
            getattr(out, name)[...] = getattr(shown, name)
        out.outcome[...] = shown.outcome[:, self._columns]
        over = np.zeros(self.num_envs, np.bool_)
        for group in shown.groups:
            over |= (group.terminated | group.truncated).any(1)
        out.final_state[over] = shown.final_state[over]
        return out


def _copy_group(source: GroupBuffers, target: GroupBuffers, place: slice, everything: bool) -> None:
    ended = source.terminated | source.truncated
    for name in GroupBuffers._fields:
        if name not in FINAL or everything:
            getattr(target, name)[:, place] = getattr(source, name)
        elif ended.any():
            getattr(target, name)[:, place][ended] = getattr(source, name)[ended]


def _parts_of(spec: EnvSpec, merged: EnvSpec, kinds: Sequence[str]) -> list[list[tuple[str, slice]]]:
    """Of which groups each merged one consists, and where its agents stand."""
    found = []
    for group in merged.groups:
        names = [group.name]
        if group.kind == kinds[0]:
            number = spec.kind(kinds[0]).groups.index(group.name)
            names = [spec.kind(kind).groups[number] for kind in kinds]
        parts, first = [], 0
        for name in names:
            count = len(spec.group(name).agents)
            parts.append((name, slice(first, first + count)))
            first += count
        found.append(parts)
    return found


def _columns_of(spec: EnvSpec, merged: EnvSpec, kinds: Sequence[str]) -> list[int]:
    """The column of `outcome` that each team of the merged description had."""
    columns: dict[str, list[int]] = {}
    first = 0
    for kind in spec.kinds:
        columns[kind.name] = list(range(first, first + kind.teams))
        first += kind.teams
    own = [column for name in kinds for column in columns[name]]
    return [column for kind in merged.kinds for column in (own if kind.name == kinds[0] else columns[kind.name])]
