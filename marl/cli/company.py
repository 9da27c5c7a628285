"""Who plays an episode that somebody watches or takes part in: players as a `viz.session.Session` wants them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environments.errors import RefusedFile, UsageError
from environments.replay import Identity, Replay
from environments.spec import EnvSpec, TeamKind
from environments.vector import VectorEnv
from marl import files
from marl.cli import evaluate, players
from marl.cli.evaluate import Match, teams_of
from viz.session import Turn, place_of

if TYPE_CHECKING:
    from torch import Tensor

    from marl.acting import Actor
    from marl.seats import Seats

HUMAN = "human"


@dataclass
class Company:
    """Players in the seats of one copy. An `viz.session.Others`; imports torch when it is asked."""

    seats: Mapping[str, Actor | Seats]
    """By kind of team."""
    key: int
    """Of the acting noise: the same players and key decide the same."""
    greedy: bool
    _hidden: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def remembers(self) -> bool:
        """True where some player carries anything from one step to the next."""
        from marl.acting import remembers

        return any(remembers(player) for each in self.seats.values() for player in getattr(each, "players", [each]))

    def __call__(self, env: VectorEnv) -> Turn:
        """What everybody does for the environment's present view, and thinks of it."""
        from marl.evaluate import act, of_copy

        for kind in self.seats:
            self._hidden.setdefault(kind, {})
        actions, traces = act(env, self.seats, self._hidden, self.key, self.greedy, explain=True)
        return Turn(actions, {name: of_copy(trace, 0) for name, trace in traces.items()})


def seated(match: Match, key: int, greedy: bool) -> Company:
    """The match's players in the seats of one copy. Imports torch."""
    import torch

    torch.set_num_threads(1)
    return Company(evaluate.seated(match, match.spec, 1), key, greedy)


def header(match: Match, human: str | None, key: int, greedy: bool) -> dict[str, Any]:
    """What the replay of a session says of who played."""
    who: dict[str, object] = {name: player.to_json() for name, player in match.players.items()}
    told = {"scenario": match.scenario, "policies": who, "acting": {"key": key, "greedy": greedy}}
    if human is None:
        return told
    team = own_team(match.spec, human)
    if alone(match.spec, human):
        kind = match.spec.kind(match.spec.team_kinds[match.spec.team_names.index(team)])
        if kind.name in who:
            everywhere = who.pop(kind.name)
            who |= dict.fromkeys(teams_of(kind), everywhere)
        who[team] = {"player": HUMAN}
    return {**told, "human": human}


def own_team(spec: EnvSpec, agent: str) -> str:
    """The name of an agent's team. UsageError where there is no such agent."""
    g, n = place_of(spec, agent)
    return spec.team_names[spec.team_of(spec.groups[g])[n]]


def alone(spec: EnvSpec, agent: str) -> bool:
    """True where the agent is its team's only one."""
    team = own_team(spec, agent)
    return [own_team(spec, other) for other in spec.agents].count(team) == 1


def everybody(match: Match, text: str, human: str | None) -> Match:
    """One player in all seats; in those of a kind that it cannot play, nobody if only the person is of that kind.

    UsageError or RefusedFile where it cannot play a kind that it has to.
    """
    found: dict[str, players.Player] = {}
    for kind in match.spec.kinds:
        spare = human is not None and alone(match.spec, human) and teams_of(kind) == [own_team(match.spec, human)]
        found[kind.name] = players.Player(players.RANDOM) if spare else players.find(text, match.spec, kind.name)
    return replace(match, players=found)


def recorded(
    replay: Replay, spec: EnvSpec, path: Path, given: Sequence[str], human: str | None, lenient: bool = False
) -> Match:
    """Who played a replay, but for the teams of `given` (NAME=PLAYER) and a person who is a team alone.

    UsageError where the replay does not say who played a team or where that is not to be had; `lenient` has chance play
    it then.
    """
    teams = {name: spec.kind(kind) for name, kind in zip(spec.team_names, spec.team_kinds, strict=True)}
    named = {text.partition("=")[0] for text in given}
    free = {own_team(spec, human)} if human is not None and alone(spec, human) else set()
    found: dict[str, players.Player] = {}
    for team, kind in teams.items():
        if {team, kind.name} & named or team in free:
            found[team] = players.Player(players.RANDOM)
            continue
        try:
            found[team] = as_recorded(replay, spec, team, kind, path)
        except (UsageError, RefusedFile) as error:
            if lenient:
                found[team] = players.Player(players.RANDOM)
                continue
            raise UsageError(
                f"{team!r} cannot go on as in {path}: {error}; say who plays: --team {team}=PLAYER"
            ) from None
    for kind in spec.kinds:  # by kind where all its teams are alike
        own = teams_of(kind)
        if all(found[team] == found[own[0]] for team in own):
            found = {team: player for team, player in found.items() if team not in own} | {kind.name: found[own[0]]}
    match = Match(replay.scenario, spec.name, spec.options, spec, found, path.parent)
    return evaluate.with_teams(match, tuple(given))


def as_recorded(replay: Replay, spec: EnvSpec, team: str, kind: TeamKind, path: Path) -> players.Player:
    """Who played a team of the replay at `path`. UsageError or RefusedFile where that is not known or not to be had
    as it was."""
    said = replay.policies[team]
    if not said.name:
        raise UsageError("it does not say who played")
    if said.name == HUMAN:
        raise UsageError("a person played")
    player = players.find(_moved(said, path) or said.name, spec, kind.name)
    if said.sha256 is not None and player.file is not None and files.sha256(player.file) != said.sha256:
        raise UsageError(f"the policy {player.file} has changed since")
    steps = None if player.about is None else player.about.about.get("steps")
    if said.sha256 is None and said.steps is not None and steps is not None and steps != said.steps:
        raise UsageError(
            f"the policy {player.file} has {steps} steps of training, the one that played had {said.steps}"
        )
    return player


def _moved(said: Identity, path: Path) -> str | None:
    """The very file that a replay names, in the folder of the replay or of its run, where both were moved."""
    named = Path(said.name)
    if said.sha256 is None or (named.is_file() and files.sha256(named) == said.sha256):
        return None
    folders = [path.parent, *(folder / "policies" for folder in path.absolute().parents[1:3])]
    found = [folder / named.name for folder in folders if (folder / named.name).is_file()]
    return next((str(file) for file in found if files.sha256(file) == said.sha256), None)


def stand_ins(replay: Replay, spec: EnvSpec, path: Path) -> dict[str, tuple[str, str]]:
    """Team -> (PLAYER, in words why) who may go on for those of a replay that are not to be had as they were.

    The policy of that name as it is now, or else chance.
    """
    found: dict[str, tuple[str, str]] = {}
    for team, name in zip(spec.team_names, spec.team_kinds, strict=True):
        kind = spec.kind(name)
        try:
            as_recorded(replay, spec, team, kind, path)
        except (UsageError, RefusedFile):
            found[team] = (players.RANDOM, f"{team}: at random, who played is not to be had")
            policy = replay.policies[team].name
            with contextlib.suppress(UsageError, RefusedFile):
                if policy and policy != HUMAN:
                    players.find(policy, spec, kind.name)
                    found[team] = (policy, f"{team}: its policy as it is now")
    return found


def acting(replay: Replay) -> tuple[int, bool] | None:
    """(key of the acting noise, greedy) as a replay says; None where it does not."""
    said = replay.header.get("acting")
    key, greedy = (said.get("key"), said.get("greedy")) if isinstance(said, Mapping) else (None, None)
    return (key, bool(greedy)) if type(key) is int and 0 <= key < 2**64 else None


def unused(path: Path) -> Path:
    """The path, or with a number behind its stem where a file is there."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
