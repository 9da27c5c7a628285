"""What an environment is, as plain frozen data: agents, groups, kinds of team, sizes, ends.

Words (the same everywhere in this project):

* *agent*: one actor; `spec.agents` is the fixed order of axis `A`.
* *group*: the agents of one kind of team with equal spaces and equal role; they share arrays `[E, N, ...]`.
* *kind of team*: one objective and one learner. A copy of the environment holds `teams` teams of each kind:
  tic-tac-toe is one kind with two teams, tag two kinds with one team each.
* *seat*: one team in one copy, `(copy, team)`.

Imports nothing of this project.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gymnasium import spaces


@dataclass(frozen=True)
class AgentGroup:
    """Agents that can be stacked in one array.

    With `m` teams of the kind, `agents` is team-major (team 0's agents first), so that `[E, m*n, ...]` reshapes
    to seats `[E*m, n, ...]` without a copy.
    """

    name: str
    kind: str
    """Name of the kind of team that these agents belong to."""
    agents: tuple[str, ...]
    observation_space: spaces.Box
    """Space of one agent's observation; dtype float32 or uint8."""
    action_space: spaces.Space[Any]
    """Discrete, MultiDiscrete or Box, of one agent."""
    features: tuple[str, ...] = ()
    """Name of each observation column, for flat observations."""
    masked: bool = False
    """True where the environment writes legal actions into `action_mask`."""
    agent_state_size: int = 0
    """Width of `agent_state`, an agent's own view of the global state; 0 where there is none."""
    own_action_spaces: Mapping[str, spaces.Space[Any]] = field(default_factory=dict)
    """Of each agent whose environment takes its actions in another form (counted from 1, as bits, in another shape)
    than `action_space`, which is what learners see: that form. For who steps the environment himself."""

    @property
    def mask_size(self) -> int:
        """Columns of `action_mask`: `K` for Discrete, the sum of `K` for MultiDiscrete, 0 where nothing is masked."""
        if not self.masked:
            return 0
        if isinstance(self.action_space, spaces.Discrete):
            return int(self.action_space.n)
        if isinstance(self.action_space, spaces.MultiDiscrete):
            return int(self.action_space.nvec.sum())
        raise ValueError(f"group {self.name!r}: only discrete actions can be masked, not {self.action_space}")


@dataclass(frozen=True)
class TeamKind:
    """One objective and one learner; `teams` of them sit in every copy."""

    name: str
    groups: tuple[str, ...]
    teams: int = 1


@dataclass(frozen=True)
class EnvSpec:
    """All that learners, league and viewer may know of an environment."""

    name: str
    version: int
    """Grows when behaviour changes, not when code does."""
    agents: tuple[str, ...]
    groups: tuple[AgentGroup, ...]
    kinds: tuple[TeamKind, ...]
    state_size: int = 0
    """Width of the global `state`; 0 where there is none."""
    max_steps: int | None = None
    """Steps after which an episode is truncated, or None."""
    max_wait: int = 0
    """Most steps that an agent may wait between two of its own decisions; 0 where all act at once."""
    turn_based: bool = False
    """True where waiting costs no discount (`wait` = 1)."""
    metrics: tuple[tuple[str, str], ...] = ()
    """(name, unit) of each column of `metrics`: sums over the episode."""
    outcome: str = "return"
    """What `outcome` holds for each team: its summed rewards ("return") or the game's own score."""
    can_capture: bool = True
    step_seconds: float = 0.1
    """Simulated time of one step, for playback."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that made this environment, as plain data."""

    def __post_init__(self) -> None:
        listed = [agent for group in self.groups for agent in group.agents]
        if sorted(listed) != sorted(self.agents):
            raise ValueError(f"{self.name}: groups hold {listed}, agents are {list(self.agents)}")

    def group(self, name: str) -> AgentGroup:
        """The group of that name; KeyError names the known ones."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(f"{self.name} has no group {name!r}; it has {[g.name for g in self.groups]}")

    def kind(self, name: str) -> TeamKind:
        """The kind of team of that name; KeyError names the known ones."""
        for kind in self.kinds:
            if kind.name == name:
                return kind
        raise KeyError(f"{self.name} has no team {name!r}; it has {[k.name for k in self.kinds]}")

    def critic_size(self, kind: str) -> int:
        """Width of what critics of a whole team are shown besides observations: the state that all share, and the own
        views of it of the team's agents; 0 where there is neither."""
        own = sum(group.agent_state_size * len(group.agents) for group in self.groups if group.kind == kind)
        return self.state_size + own // self.kind(kind).teams

    def agent_indices(self, group: AgentGroup) -> tuple[int, ...]:
        """Place of each of the group's agents in `spec.agents`."""
        return tuple(self.agents.index(agent) for agent in group.agents)

    @property
    def num_teams(self) -> int:
        """Teams in one copy, all kinds together: the width of `outcome`."""
        return sum(kind.teams for kind in self.kinds)

    @property
    def team_names(self) -> tuple[str, ...]:
        """One name per column of `outcome`: the kind's name, numbered where it has several teams."""
        return tuple(
            kind.name if kind.teams == 1 else f"{kind.name}_{i}" for kind in self.kinds for i in range(kind.teams)
        )

    @property
    def team_kinds(self) -> tuple[str, ...]:
        """Name of the kind of each column of `outcome`."""
        return tuple(kind.name for kind in self.kinds for _ in range(kind.teams))

    def members(self, team: int) -> dict[str, tuple[str, ...]]:
        """Agents that play for a column of `outcome`, by group."""
        found = {}
        for name in self.kind(self.team_kinds[team]).groups:
            group = self.group(name)
            found[name] = tuple(a for a, own in zip(group.agents, self.team_of(group), strict=True) if own == team)
        return found

    def team_of(self, group: AgentGroup) -> tuple[int, ...]:
        """Column of `outcome` that each of the group's agents plays for."""
        first = 0
        for kind in self.kinds:
            if kind.name == group.kind:
                members = len(group.agents) // kind.teams
                return tuple(first + n // members for n in range(len(group.agents)))
            first += kind.teams
        raise KeyError(f"{self.name}: group {group.name!r} names an unknown kind {group.kind!r}")

    @cached_property
    def digest(self) -> str:
        """Short hash of name, version and options: equal digests may exchange simulation states."""
        text = json.dumps([self.name, self.version, dict(self.options)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


SMALLEST_SIDE = 3
"""Pixels of the shorter side of what counts as an image."""


def is_image(space: spaces.Space[Any]) -> bool:
    """True for bytes up to 255 in the shape of a picture: `[H, W, C]`, `[C, H, W]` or, of grey ones, `[H, W]`."""
    if not isinstance(space, spaces.Box) or space.dtype != "uint8" or not 2 <= len(space.shape) <= 3:
        return False
    return bool(space.high.max() == 255) and min(image_size(space.shape)[1:]) >= SMALLEST_SIDE


def image_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an image's array."""
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    return (shape[0], shape[1], shape[2]) if channels_first(shape) else (shape[2], shape[0], shape[1])


def channels_first(shape: Sequence[int]) -> bool:
    """True for `[C, H, W]`: where the last two are sides of a square, or else the first is shorter than the last."""
    first, middle, last = shape
    return first < last if (first == middle) == (middle == last) else middle == last
