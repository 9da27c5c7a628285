"""Playing matches: a block of games of one pairing, every seat held by some player.

Players that are functions of what they see play a whole block as one batch of fixed shape, whatever number of games is
left, each game on its own key: what comes out depends on the block alone, not on how blocks are shared among processes
or what was played before. Players that are programs, and people, play one game after the other.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import environments
from environments.replay import Replay
from environments.spec import EnvSpec, TeamKind
from environments.vector import VectorEnv
from league.bench import WHY_VOID, Bench
from league.contest import HUMAN, Block, Contest, Game, Load, block_size, match_key
from league.outside import OutsideTeam
from league.programs import Forfeit, Limits, Program, is_outside
from league.records import Match, Seat
from marl import files
from marl.acting import Actor
from marl.evaluate import Evaluation, evaluate
from marl.seats import Seats

MOST_PLAYERS = 64
"""Players that a process keeps at hand."""
MOST_ENVIRONMENTS = 4
"""Batches of environments that it keeps."""
MOST_WORDS = 2000
"""Characters of what is kept about a forfeit."""


def play(contest: Contest, block: Block) -> list[Match]:
    """Play a block's games and say what came of them."""
    sources = [*block.first.sources.values(), *block.second.sources.values()]
    if any(is_outside(source) or source == HUMAN for source in sources):
        return _one_by_one(contest, block)
    env = _environment(contest, block_size(contest))
    players = {
        kind.name: [_player(contest.load, side.sources.get(kind.name), env, kind.name) for side in block.sides]
        for kind in env.spec.kinds
    }
    games = [*block.games, *[block.games[-1]] * (env.num_envs - len(block.games))]
    measured = measure(contest, env, seat(env.spec, players, [game.lineup for game in games]), games, block.record)
    replays = [*measured.replays, *[None] * len(games)]
    scribe, recorded = _Scribe(contest, env.spec, block), []
    for row, game in enumerate(block.games):
        outcome, length = tuple(map(float, measured.outcomes[row])), int(measured.lengths[row])
        replay = _keep(contest, block, env.spec, game, replays[row])
        recorded.append(scribe.match(game, outcome, length, replay=replay))
    return recorded


def measure(
    contest: Contest, env: VectorEnv, seats: Mapping[str, Seats], games: Sequence[Game], record: int
) -> Evaluation:
    """Play as many games as `env` has copies, each to its end."""
    env.reset(keys=[game.key for game in games])
    header = {**contest.header, "greedy": contest.greedy}
    return evaluate(env, seats, env.num_envs, match_key("acting", contest.seed), contest.greedy, record, header)


def seat(
    spec: EnvSpec, players: Mapping[str, Sequence[Actor | None]], lineups: Sequence[tuple[int, ...]]
) -> dict[str, Seats]:
    """Who sits where: for every kind of team its seats `[E * teams]` in the order (copy, team).

    A player who cannot play a kind is None there: somebody else keeps the place, and is never asked. Where there is one
    team alone, line-ups name a player for each of its agents instead.
    """
    if spec.num_teams == 1:
        return {kind.name: _mixed(spec, kind, players[kind.name], lineups) for kind in spec.kinds}
    table = np.array(lineups, np.int16)
    if table.shape != (len(lineups), spec.num_teams):
        raise ValueError(f"{spec.name} has {spec.num_teams} teams; a line-up names a player for each")
    seats, first = {}, 0
    for kind in spec.kinds:
        able = players[kind.name]
        somebody = next(player for player in able if player is not None)
        filled = [somebody if player is None else player for player in able]
        seats[kind.name] = Seats(filled, table[:, first : first + kind.teams].reshape(-1).copy())
        first += kind.teams
    return seats


def _mixed(spec: EnvSpec, kind: TeamKind, players: Sequence[Actor | None], lineups: Sequence[tuple[int, ...]]) -> Seats:
    """The seats of teams whose agents, in `spec.agents` order, are played by those that line-ups name."""
    members = [place for name in kind.groups for place in spec.agent_indices(spec.group(name))]
    able = [player for player in players if player is not None]
    return Seats(able, np.array(lineups, np.int16)[:, members])


def _one_by_one(contest: Contest, block: Block) -> list[Match]:
    """The games in their order; once a side is benched by these alone, the rest is void and is not played."""
    bench, recorded = Bench(), list[Match]()
    for number, game in enumerate(block.games):
        if bench.holds(block):
            spec = _environment(contest, 1).spec
            return recorded + voided(contest, spec, replace(block, games=block.games[number:]), WHY_VOID)
        recorded += bench.judged([_play_alone(contest, block, game, number < block.record)])
    return recorded


def _play_alone(contest: Contest, block: Block, game: Game, record: bool) -> Match:
    """One game, of which at least one side is a program or a person; a program that gives it away loses."""
    env = _environment(contest, 1)
    limits, scribe = contest.limits or Limits(), _Scribe(contest, env.spec, block)
    players: dict[str, list[Actor | None]] = {kind.name: [None, None] for kind in env.spec.kinds}
    outside, person = [], None
    for team, place in enumerate(game.lineup):
        kind = env.spec.team_kinds[team]
        source = block.sides[place].sources[kind]
        if is_outside(source):
            groups = [env.spec.group(name) for name in env.spec.kind(kind).groups]
            outside.append(OutsideTeam(_program(source, limits), groups, env.spec.members(team), team))
            players[kind][place] = outside[-1].actor
        elif source == HUMAN:
            assert contest.person is not None, "somebody has to be there"
            person = contest.person
            players[kind][place] = person.sit(env, team)
        else:
            players[kind][place] = _player(contest.load, source, env, kind)
    try:
        for side in outside:
            side.reset(game.key % 2**63)
        told = record or person is not None
        measured = measure(contest, env, seat(env.spec, players, [game.lineup]), [game], int(told))
    except Forfeit as forfeit:
        program = next(side.program for side in outside if side.team == forfeit.team)
        program.kill()
        outcome = tuple(-1.0 if team == forfeit.team else 1.0 for team in range(env.spec.num_teams))
        why = forfeit.why.encode(errors="backslashreplace").decode()  # JSON's "\\ud800" is no text that can be kept
        words = f"{why}\n{program.said[len(why) + 1 - MOST_WORDS :]}".strip()
        length = int(env.episode_step[0])
        return scribe.match(game, outcome, length, status=forfeit.status, offender=forfeit.team, error=words)
    if person is not None:
        person.told(measured.replays[0])
    replay = _keep(contest, block, env.spec, game, measured.replays[0] if record else None)
    outcome = tuple(map(float, measured.outcomes[0]))
    return scribe.match(game, outcome, int(measured.lengths[0]), replay=replay)


def voided(contest: Contest, spec: EnvSpec, block: Block, why: str) -> list[Match]:
    """A block's games, not played by no fault of the other side."""
    scribe, nothing = _Scribe(contest, spec, block), (0.0,) * spec.num_teams
    return [scribe.match(game, nothing, 0, status="void", error=why) for game in block.games]


class _Scribe:
    """Writes down what comes of a block's games."""

    def __init__(self, contest: Contest, spec: EnvSpec, block: Block) -> None:
        self._about: dict[str, Any] = {"environment": contest.environment, "digest": spec.digest}
        self._seats = {lineup: _seats(spec, block, lineup) for lineup in {game.lineup for game in block.games}}

    def match(self, game: Game, outcome: tuple[float, ...], length: int, **more: Any) -> Match:
        """A game's record."""
        seats = self._seats[game.lineup]
        return Match(id=game.id, key=game.key, seats=seats, outcome=outcome, length=length, **self._about, **more)


def _seats(spec: EnvSpec, block: Block, lineup: tuple[int, ...]) -> tuple[Seat, ...]:
    numbers = [side.number for side in block.sides]
    if spec.num_teams > 1:
        roles = spec.team_kinds
        return tuple(Seat(team=team, role=roles[team], player=numbers[place]) for team, place in enumerate(lineup))
    role = spec.kinds[0].name
    agents = [tuple(a for a, who in zip(spec.agents, lineup, strict=True) if who == place) for place in (0, 1)]
    return tuple(Seat(team=0, role=role, player=numbers[k], agents=own) for k, own in enumerate(agents) if own)


def _keep(contest: Contest, block: Block, spec: EnvSpec, game: Game, replay: Replay | None) -> str | None:
    """Write a replay, with who played; its name within the folder."""
    if replay is None or contest.folder is None:
        return None
    name = f"replays/{game.id}.replay"
    header = {**replay.header, "policies": _who(block, spec, game.lineup)}
    replace(replay, header=header).save(contest.folder / name)
    return name


def _who(block: Block, spec: EnvSpec, lineup: tuple[int, ...]) -> dict[str, dict[str, str]]:
    """What a replay says of those who played: by team; of one team's different members together."""
    if spec.num_teams == 1:
        kind = spec.kinds[0].name
        return {kind: {"player": " + ".join(block.sides[place].sources[kind] for place in dict.fromkeys(lineup))}}
    found = {}
    for team, kind, place in zip(spec.team_names, spec.team_kinds, lineup, strict=True):
        source = block.sides[place].sources[kind]
        found[team] = {"player": source}
        if Path(source).is_file():
            found[team]["sha256"] = files.sha256(Path(source))
    return found


_PLAYERS: dict[tuple[str, str, str], Actor] = {}
"""What this process has loaded, the last used last."""
_ENVIRONMENTS: dict[tuple[str, str, int], VectorEnv] = {}
"""What this process plays in, the last used last."""
_PROGRAMS: dict[str, Program] = {}
"""Programs that this process has started."""


def _player(load: Load, source: str | None, env: VectorEnv, kind: str) -> Actor | None:
    if source is None:
        return None
    place = (source, env.spec.digest, kind)
    player = _PLAYERS.pop(place, None) or load(source, env.spec, kind)
    _PLAYERS[place] = player
    if len(_PLAYERS) > MOST_PLAYERS:
        del _PLAYERS[next(iter(_PLAYERS))]
    return player


def _program(source: str, limits: Limits) -> Program:
    if source not in _PROGRAMS or _PROGRAMS[source].limits != limits:
        _PROGRAMS[source] = Program(source, limits)
    return _PROGRAMS[source]


@atexit.register
def end_programs() -> None:
    """Kill the programs that this process has started."""
    for program in _PROGRAMS.values():
        program.kill()
    _PROGRAMS.clear()


def _environment(contest: Contest, copies: int) -> VectorEnv:
    place = contest.environment, repr(sorted(contest.options.items())), copies
    env = _ENVIRONMENTS.pop(place, None)
    if env is None:
        env = environments.make(contest.environment, copies, num_threads=1, **contest.options)
    _ENVIRONMENTS[place] = env
    if len(_ENVIRONMENTS) > MOST_ENVIRONMENTS:
        _ENVIRONMENTS.pop(next(iter(_ENVIRONMENTS))).close()
    return env
