"""Playing a tournament: its rounds as blocks of games, shared among processes, recorded as they are done.

A block belongs to one pairing and is played or not played; its games have names that follow from what is played, so a
tournament that was interrupted goes on where it stopped, and the same schedule gives the same log with any number of
workers. Blocks are recorded in the schedule's order.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import environments
from environments.spec import EnvSpec
from environments.vector import VectorEnv
from league import matches
from league.matches import BLOCK, Game, match_key
from league.records import Match, Seat
from league.store import Store
from league.tournament import Next, Pairing, Round, Score
from marl.policy import Actor

Load = Callable[[str, EnvSpec, str], Actor]
"""(what to load, environment, kind of team) -> somebody who acts. A function of a module, so that workers find it."""
AHEAD = 2
"""Blocks per worker that are handed out before their turn to be recorded."""


@dataclass(frozen=True)
class Entrant:
    """A player who takes part."""

    number: int
    """In the store."""
    identity: str
    """What it plays, whatever it is called: the same identity and seed give the same games."""
    sources: Mapping[str, str]
    """For each kind of team that it can play, what `Load` is to load."""


@dataclass(frozen=True)
class Contest:
    """What is played, and how."""

    environment: str
    options: Mapping[str, Any]
    load: Load
    games: int
    """Of a pairing; even where both sides can be swapped, for they are played in pairs on one key."""
    seed: int = 0
    greedy: bool = True
    record: int = 0
    """Games of a pairing whose replays are kept."""
    folder: Path | None = None
    """Where replays go."""
    header: Mapping[str, Any] = field(default_factory=dict)
    """What replays say of their origin."""


@dataclass(frozen=True)
class Block:
    """Games of one pairing, played in one batch."""

    first: Entrant
    second: Entrant
    games: tuple[Game, ...]
    """Line-ups name the first entrant 0, the second 1."""
    record: int


def orientations(spec: EnvSpec, first: Entrant, second: Entrant) -> list[tuple[int, int]]:
    """The ways in which two entrants can take the two teams: line-ups of 0 (the first) and 1."""
    kinds = [kind.name for kind in spec.kinds for _ in range(kind.teams)]
    sides = (first, second)
    return [
        (a, b) for a, b in ((0, 1), (1, 0)) if kinds[0] in sides[a].sources and kinds[1] in sides[b].sources
    ]  # fmt: skip


def blocks(contest: Contest, spec: EnvSpec, first: Entrant, second: Entrant) -> list[Block]:
    """All games of a pairing: pairs on one key with sides swapped, where both can take both sides."""
    ways = orientations(spec, first, second)
    games = []
    for number in range(contest.games):
        pair, side = divmod(number, len(ways))
        about: list[str | int] = [spec.digest, contest.seed, *sorted((first.identity, second.identity)), pair]
        lineup = ways[side]
        order = [(first, second)[place].identity for place in lineup]
        games.append(Game(f"{match_key(*about, contest.greedy, *order):016x}", match_key(*about), lineup))
    size = block_size(contest)
    starts = range(0, len(games), size)
    return [
        Block(first, second, tuple(games[start : start + size]), max(0, min(size, contest.record - start)))
        for start in starts
    ]


def block_size(contest: Contest) -> int:
    """Games of a block: the same for all of a contest, so that every batch has one shape."""
    return min(BLOCK, contest.games)


def run(
    contest: Contest,
    entrants: Sequence[Entrant],
    store: Store,
    next_round: Next,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Round]:
    """Play all rounds and return what they came to. Games that the store has are not played again.

    `progress` is told of games done. Pairings of two who cannot meet (both can play only the
    same side) are left out.
    """
    spec = environments.make(contest.environment, 1, **contest.options).spec
    played: list[Round] = []
    done = known = 0
    with _workers(contest, workers) as play:
        while (wanted := next_round(len(entrants), played)) is not None:
            pairings = [(a, b) for a, b in wanted if orientations(spec, entrants[a], entrants[b])]
            schedule = [(pairing, block) for pairing in pairings for block in _of(contest, spec, entrants, pairing)]
            known += sum(len(block.games) for _, block in schedule)
            new = [block for _, block in schedule if not all(store.has(game.id) for game in block.games)]
            done = known - sum(len(block.games) for block in new)
            progress(done)
            for results in play(new):
                store.record(results)
                done += len(results)
                progress(done)
            played.append(Round(tuple(pairings), tuple(_score(store, schedule, pair) for pair in pairings)))
    return played


def _of(contest: Contest, spec: EnvSpec, entrants: Sequence[Entrant], pairing: Pairing) -> list[Block]:
    return blocks(contest, spec, entrants[pairing[0]], entrants[pairing[1]])


def _score(store: Store, schedule: Sequence[tuple[Pairing, Block]], pairing: Pairing) -> Score:
    """Points of a pairing's games, by the log."""
    points = [0.0, 0.0]
    for which, block in schedule:
        if which != pairing:
            continue
        for game, match in zip(block.games, store.find([game.id for game in block.games]), strict=True):
            won = 0.5 if match.outcome[0] == match.outcome[1] else float(match.outcome[0] > match.outcome[1])
            points[game.lineup[0]] += won
            points[game.lineup[1]] += 1.0 - won
    return Score(*points)


@contextmanager
def _workers(contest: Contest, count: int) -> Iterator[Callable[[Sequence[Block]], Iterable[list[Match]]]]:
    """A function that plays blocks, in this process or in others; results come in the order of the blocks."""
    if count == 1:
        yield lambda blocks: (play(contest, block) for block in blocks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_quiet) as pool:

        def shared(blocks: Sequence[Block]) -> Iterator[list[Match]]:
            waiting: list[Future[list[Match]]] = []
            try:
                for block in blocks:
                    waiting.append(pool.submit(play, contest, block))
                    if len(waiting) > AHEAD * count:
                        yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

        try:
            yield shared
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _quiet() -> None:
    """Ctrl-C is for the process that records; workers end with it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def play(contest: Contest, block: Block) -> list[Match]:
    """Play a block's games and say what came of them."""
    env = _environment(contest.environment, tuple(sorted(contest.options.items())), block_size(contest))
    sides = (block.first, block.second)
    players = {
        kind.name: [_player(contest.load, side.sources.get(kind.name), env, kind.name) for side in sides]
        for kind in env.spec.kinds
    }
    seated = {kind: _filled(found) for kind, found in players.items()}
    noise_key = match_key("acting", contest.seed)
    found = matches.play_block(
        env, seated, block.games, noise_key, contest.greedy, block.record, {**contest.header, "greedy": contest.greedy}
    )
    roles = [kind.name for kind in env.spec.kinds for _ in range(kind.teams)]
    recorded = []
    for each in found:
        name = None
        if each.replay is not None and contest.folder is not None:
            name = f"replays/{each.game.id}.replay"
            each.replay.save(contest.folder / name)
        lineup = enumerate(each.game.lineup)
        seats = tuple(Seat(team=team, role=roles[team], player=sides[place].number) for team, place in lineup)
        recorded.append(
            Match(
                id=each.game.id,
                environment=contest.environment,
                digest=env.spec.digest,
                key=each.game.key,
                seats=seats,
                outcome=each.outcome,
                length=each.length,
                replay=name,
            )
        )
    return recorded


def _filled(players: Sequence[Actor | None]) -> list[Actor]:
    """Nobody's place is held by somebody, who is never asked: line-ups name those alone who can play."""
    somebody = next(player for player in players if player is not None)
    return [somebody if player is None else player for player in players]


_PLAYERS: dict[tuple[str, str, str], Actor] = {}
"""What this process has loaded, the last used last."""
MOST_PLAYERS = 64


def _player(load: Load, source: str | None, env: VectorEnv, kind: str) -> Actor | None:
    if source is None:
        return None
    place = (source, env.spec.digest, kind)
    player = _PLAYERS.pop(place, None) or load(source, env.spec, kind)
    _PLAYERS[place] = player
    if len(_PLAYERS) > MOST_PLAYERS:
        del _PLAYERS[next(iter(_PLAYERS))]
    return player


@lru_cache(2)
def _environment(name: str, options: tuple[tuple[str, Any], ...], copies: int) -> VectorEnv:
    return environments.make(name, copies, num_threads=1, **dict(options))
