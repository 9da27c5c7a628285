"""Running a tournament: round after round, blocks shared among processes, recorded in the schedule's order.

A tournament that was interrupted goes on where it stopped, and the same schedule gives the same log with any number of
workers. Games of a player that is benched (`league.bench`) are void.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection, wait

import numpy as np
from numpy.typing import NDArray

import environments
from environments.errors import EnvironmentFailure
from league import matches
from league.bench import WHY_VOID, Bench
from league.contest import Block, Contest, Entrant, blocks, orientations
from league.records import Match
from league.sequential import SPRT, Verdict
from league.store import Store
from league.tournament import Next, Pairing, Round, Score

AHEAD = 2
"""Blocks per worker that are handed out before their turn to be recorded."""


def run(
    contest: Contest,
    entrants: Sequence[Entrant],
    store: Store,
    next_round: Next,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    cycle: int = 0,
) -> list[Round]:
    """Play all rounds and return what they came to. Games that the store has are not played again.

    `progress` is told of games done; another `cycle` is the same tournament again, on other keys. Pairings of two who
    cannot meet (both can play only the same side) are left out.
    """
    spec = environments.make(contest.environment, 1, **contest.options).spec
    played: list[Round] = []
    done = known = 0
    bench = Bench(store.matches())

    def instead(block: Block) -> list[Match] | None:
        return matches.voided(contest, spec, block, WHY_VOID) if bench.holds(block) else None

    with working(contest, workers) as play:
        while (wanted := next_round(len(entrants), played)) is not None:
            pairings = [(a, b) for a, b in wanted if orientations(spec, entrants[a], entrants[b])]
            schedule = [
                ((a, b), block) for a, b in pairings for block in blocks(contest, spec, entrants[a], entrants[b], cycle)
            ]
            known += sum(len(block.games) for _, block in schedule)
            new = missing(store, [block for _, block in schedule])
            done = known - sum(len(block.games) for block in new)
            progress(done)
            for results in play(new, instead):
                store.record(bench.judged(results))
                done += len(results)
                progress(done)
            played.append(Round(tuple(pairings), tuple(_score(store, schedule, pair) for pair in pairings)))
    return played


def duel(
    contest: Contest,
    first: Entrant,
    second: Entrant,
    store: Store,
    test: SPRT,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Verdict, NDArray[np.int64]]:
    """Play until the test says whether the first is the stronger, `contest.games` at most: (verdict, pairs `[5]`).

    Blocks are looked at in their order, so neither the verdict nor the log depends on the number of workers.
    """
    spec = environments.make(contest.environment, 1, **contest.options).spec
    schedule = blocks(contest, spec, first, second)
    new = missing(store, schedule)
    bench, counts, done = Bench(store.matches()), np.zeros(5, np.int64), 0
    verdict: Verdict = "open"

    def instead(block: Block) -> list[Match] | None:
        return matches.voided(contest, spec, block, WHY_VOID) if bench.holds(block) else None

    with working(contest, workers) as play, closing(play(new, instead)) as results:
        for block in schedule:
            if block in new:
                store.record(bench.judged(next(results)))
            counts += pair_counts(store.find([game.id for game in block.games]), first.number)
            done += len(block.games)
            progress(done)
            verdict = test.verdict(counts)
            if verdict != "open":
                break
    return verdict, counts


def complete(
    contest: Contest,
    schedule: Sequence[Block],
    store: Store,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Play and record those blocks that the store lacks; `progress` is told of games done."""
    new = missing(store, schedule)
    done = sum(len(block.games) for block in schedule) - sum(len(block.games) for block in new)
    progress(done)
    with working(contest, workers) as play:
        for results in play(new, lambda block: None):
            store.record(results)
            done += len(results)
            progress(done)


def missing(store: Store, schedule: Sequence[Block]) -> list[Block]:
    """Those blocks of which the log lacks a game."""
    return [block for block in schedule if not all(store.has(game.id) for game in block.games)]


def pair_counts(games: Sequence[Match], player: int) -> NDArray[np.int64]:
    """`[5]` numbers of pairs of games on one key in which `player` got 0, 1/2, 1, 3/2 and 2 points.

    Pairs of which a game is void or missing are left out.
    """
    points: dict[int, list[float]] = {}
    for match in games:
        if match.status != "void":
            team = next(seat.team for seat in match.seats if seat.player == player)
            points.setdefault(match.key, []).append(match.points(team))
    counts = np.zeros(5, np.int64)
    for pair in points.values():
        if len(pair) == 2:
            counts[int(2 * sum(pair))] += 1
    return counts


def _score(store: Store, schedule: Sequence[tuple[Pairing, Block]], pairing: Pairing) -> Score:
    """Points of a pairing's games, by the log."""
    points = [0.0, 0.0]
    for which, block in schedule:
        if which != pairing:
            continue
        for game, match in zip(block.games, store.find([game.id for game in block.games]), strict=True):
            if match.status == "void":
                continue
            for team, place in enumerate(game.lineup):
                points[place] += match.points(team)
    return Score(*points)


Instead = Callable[[Block], list[Match] | None]
"""What stands instead of playing a block, if something does."""
Play = Callable[[Sequence[Block], Instead], Generator[list[Match], None, None]]


@contextmanager
def working(contest: Contest, count: int) -> Iterator[Play]:
    """A function that plays blocks, in this process or in others; results come in the order of the blocks."""
    if count == 1:

        def here(blocks: Sequence[Block], instead: Instead) -> Generator[list[Match], None, None]:
            for block in blocks:
                yield instead(block) or matches.play(contest, block)

        try:
            yield here
        finally:
            matches.end_programs()
        return
    crew: list[_Worker] = []

    def shared(blocks: Sequence[Block], instead: Instead) -> Generator[list[Match], None, None]:
        while len(crew) < count:
            crew.append(_Worker(contest))
        for worker in crew:
            worker.job = None if worker.job is None else UNWANTED
        found: dict[int, list[Match]] = {}
        given = 0
        for wanted in range(len(blocks)):
            given = _hand_out(crew, blocks[: wanted + AHEAD * count], instead, given, found)
            while wanted not in found:
                _gather(crew, found)
                given = _hand_out(crew, blocks[: wanted + AHEAD * count], instead, given, found)
            yield found.pop(wanted)

    try:
        yield shared
    except BaseException:
        for worker in crew:
            worker.process.kill()  # what it plays is lost in any case, and may take long
        raise
    finally:
        for worker in crew:
            worker.line.close()
        for worker in crew:
            worker.process.join()


UNWANTED = -1
"""A block whose results nobody waits for any more."""


class _Worker:
    """A process that plays a block at a time.

    It is asked and answers over a pipe of its own, without threads in between: they would wait for ever for the pipe of
    a process that is killed (executors of the standard library do).
    """

    def __init__(self, contest: Contest) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(contest, theirs))
        self.job: int | None = None
        """Place of the block that it plays; None: it has nothing to do."""
        self.process.start()
        theirs.close()

    def answer(self) -> list[Match]:
        """What came of the block. EnvironmentFailure where the process is gone; else what playing it raised."""
        try:
            told = self.line.recv()
        except (EOFError, OSError):
            raise EnvironmentFailure(LOST) from None
        if isinstance(told, Exception):
            raise told
        return list(told)


LOST = "a worker was killed, perhaps for want of memory; games recorded are safe, and the same command goes on"


def _hand_out(
    crew: Sequence[_Worker], blocks: Sequence[Block], instead: Instead, given: int, found: dict[int, list[Match]]
) -> int:
    """Give blocks, from number `given` on, to those who have nothing to do; the number of the first that is left."""
    idle = [worker for worker in crew if worker.job is None]
    while given < len(blocks):
        ready = instead(blocks[given])
        if ready:
            found[given] = ready
        elif not idle:
            break
        else:
            worker = idle.pop()
            worker.job = given
            try:
                worker.line.send(blocks[given])
            except OSError:
                raise EnvironmentFailure(LOST) from None
        given += 1
    return given


def _gather(crew: Sequence[_Worker], found: dict[int, list[Match]]) -> None:
    """Wait until somebody has played a block."""
    busy = {worker.line: worker for worker in crew if worker.job is not None}
    for line in wait(list(busy)):
        worker = busy[line]  # type: ignore[index]
        answer, job, worker.job = worker.answer(), worker.job, None
        if job is not None and job != UNWANTED:
            found[job] = answer


def _serve(contest: Contest, line: Connection) -> None:
    """Play the blocks that come until there are no more. Ctrl-C is for the process that records."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        told: list[Match] | Exception
        try:
            block = line.recv()
        except (EOFError, OSError):  # the latter where the last answer was not even read
            return
        try:
            told = matches.play(contest, block)
        except Exception as error:
            error.add_note(traceback.format_exc())
            told = error
        try:
            line.send(told)
        except OSError:  # nobody listens any more
            return
