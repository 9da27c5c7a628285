"""Which agents of somebody else's environment are a team, and which of a team can share arrays.

What may be typed as `--teams`:

* `prefix`: agents whose names differ only in a number at their end (`adversary_0`, `adversary_1`) are a team;
* `each`: every agent is a team of its own, and those of one prefix and equal spaces are teams of one kind, so that one
  learner plays all their seats;
* `one`: everybody is in one team;
* `NAME=PATTERN,...`: as listed; patterns as of file names (`hunters=adversary_*,prey=agent_*`), and one agent may be in
  the team of the first pattern only. A name may be listed twice.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from environments.errors import UsageError
from environments.external.views import Moves, Sight
from environments.spec import AgentGroup, TeamKind

WAYS = ("one", "each", "prefix")
NUMBERED = re.compile(r"(.*?)[ _-]?\d+")


@dataclass(frozen=True)
class Member:
    """One agent and what it sees and does."""

    agent: str
    sight: Sight
    moves: Moves
    masked: bool

    @property
    def role(self) -> str:
        """Its name without the number at the end; empty where it has no number."""
        found = NUMBERED.fullmatch(self.agent)
        return found[1] if found else ""

    @property
    def prefix(self) -> str:
        """Its role, or its name where that says nothing."""
        return self.role or ("agent" if NUMBERED.fullmatch(self.agent) else self.agent)

    def like(self, other: Member) -> bool:
        """True where the two can share arrays: equal role, spaces and legal actions."""
        return (
            self.role == other.role
            and self.sight.box == other.sight.box
            and self.moves.space == other.moves.space
            and self.sight.features == other.sight.features
            and self.masked == other.masked
        )


def arrange(members: Sequence[Member], how: str) -> tuple[tuple[AgentGroup, ...], tuple[TeamKind, ...]]:
    """Groups and kinds of team, in the order of their first agents. UsageError where `how` makes no sense."""
    if how == "each":
        return _each(members)
    teams: dict[str, list[Member]] = {}
    for member, name in zip(members, _names(members, how), strict=True):
        teams.setdefault(plain(name), []).append(member)
    groups: list[AgentGroup] = []
    kinds = []
    for kind, listed in teams.items():
        parts = _alike(listed)
        names = [kind] if len(parts) == 1 else _distinct([part[0].role or kind for part in parts], groups)
        groups += [_group(name, kind, part) for name, part in zip(names, parts, strict=True)]
        kinds.append(TeamKind(kind, tuple(names)))
    return tuple(groups), tuple(kinds)


def told(groups: Sequence[AgentGroup], kinds: Sequence[TeamKind]) -> str:
    """The arrangement in one line: `adversary: adversary_0 adversary_1; good: agent_0`."""
    named = {group.name: group for group in groups}
    lines = []
    for kind in kinds:
        agents = " + ".join(_some(named[name].agents) for name in kind.groups)
        lines.append(f"{kind.name}: {agents}" + (f" ({kind.teams} teams of one)" if kind.teams > 1 else ""))
    return "; ".join(lines)


def plain(name: str) -> str:
    """A name of letters, digits and underscores: it becomes part of files and of networks."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "team"


def _each(members: Sequence[Member]) -> tuple[tuple[AgentGroup, ...], tuple[TeamKind, ...]]:
    parts = _alike(members)
    names = _distinct([part[0].prefix for part in parts] if len(parts) > 1 else [_shared(parts[0])], [])
    groups = tuple(_group(name, name, part) for name, part in zip(names, parts, strict=True))
    return groups, tuple(TeamKind(group.name, (group.name,), len(group.agents)) for group in groups)


def _shared(part: Sequence[Member]) -> str:
    """A name for agents of one kind: their prefix, where they have one."""
    return part[0].prefix if part[0].role or len(part) == 1 else "player"


def _names(members: Sequence[Member], how: str) -> list[str]:
    """The team of every agent."""
    if how == "one":
        return ["team"] * len(members)
    if how == "prefix":
        return [member.prefix for member in members]
    if "=" not in how:
        raise UsageError(f"--teams is one of {', '.join(WAYS)}, or NAME=PATTERN,...; not {how!r}")
    rules = [rule.partition("=")[::2] for rule in how.split(",")]
    names = []
    for member in members:
        found = [name for name, pattern in rules if fnmatch.fnmatchcase(member.agent, pattern)]
        if not found:
            raise UsageError(f"--teams {how} leaves out the agent {member.agent!r}")
        names.append(found[0])
    for name, pattern in rules:
        if not name or name not in names:
            raise UsageError(
                f"--teams: no agent is left for {name}={pattern}; agents: {_some([m.agent for m in members])}"
            )
    return names


def _alike(members: Sequence[Member]) -> list[list[Member]]:
    parts: list[list[Member]] = []
    for member in members:
        home = next((part for part in parts if part[0].like(member)), None)
        if home is None:
            parts.append([member])
        else:
            home.append(member)
    return parts


def _distinct(names: Sequence[str], taken: Sequence[AgentGroup]) -> list[str]:
    """The names, with numbers where one would come twice."""
    used = {group.name for group in taken}
    result = []
    for name in map(plain, names):
        number, unique = 1, name
        while unique in used:
            number += 1
            unique = f"{name}_{number}"
        used.add(unique)
        result.append(unique)
    return result


def _group(name: str, kind: str, part: Sequence[Member]) -> AgentGroup:
    first = part[0]
    return AgentGroup(
        name=name,
        kind=kind,
        agents=tuple(member.agent for member in part),
        observation_space=first.sight.box,
        action_space=first.moves.space,
        features=first.sight.features,
        masked=first.masked,
        own_action_spaces={m.agent: m.moves.given for m in part if m.moves.given != m.moves.space},
    )


def _some(agents: Sequence[str]) -> str:
    return " ".join(agents) if len(agents) <= 8 else f"{' '.join(agents[:3])} ... {agents[-1]} ({len(agents)} agents)"


def places(groups: Sequence[AgentGroup]) -> Mapping[str, tuple[int, int]]:
    """Group and row of every agent."""
    return {agent: (g, n) for g, group in enumerate(groups) for n, agent in enumerate(group.agents)}
