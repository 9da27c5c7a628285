"""The log: nothing acknowledged is lost, nothing is there twice, whatever is killed, cut or damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments.errors import RefusedFile, StorageFailure, UsageError
from league.records import Match, Player, Seat
from league.store import DATABASE, JOURNAL, Store

SPAWN = multiprocessing.get_context("spawn")


def player(name: str) -> Player:
    return Player(name=name, source="random", roles=("side",))


def match(name: str, first: int, second: int, outcome: tuple[float, float] = (1.0, -1.0), **more: Any) -> Match:
    seats = tuple(Seat(team=team, role="side", player=number) for team, number in enumerate((first, second)))
    return Match(
        id=name, environment="toy/noughts", digest="d", key=2**64 - 7, seats=seats, outcome=outcome, length=9, **more
    )


def fill(folder: Path, matches: int = 6) -> None:
    with Store(folder) as store:
        a, b = store.add_player(player("a")), store.add_player(player("b"))
        store.record(match(f"m{k}", *((a, b) if k % 2 else (b, a))) for k in range(matches))


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    mixed = Match(
        id="mixed", environment="particle/tag", digest="d", key=0, length=25, outcome=(2.5, -1.0), status="timeout",
        offender=1, learner=1, replay="replays/x.replay", error="too late",
        seats=(Seat(team=0, role="adversary", player=1, agents=("adversary_0", "adversary_1")),
               Seat(team=0, role="adversary", player=2, agents=("adversary_2",)), Seat(team=1, role="good", player=2)),
    )  # fmt: skip
    child = replace(
        player("c"), parent=1, snapshots=(("good", "0" * 64),), steps=5, kind="historical", roles=("adversary", "good")
    )
    with Store(tmp_path) as store:
        assert [store.add_player(p) for p in (player("a"), player("b"), child)] == [1, 2, 3]
        assert store.record([match("one", 1, 2), mixed]) == 2
    with Store(tmp_path, create=False) as again:
        assert again.players() == {1: player("a"), 2: player("b"), 3: child}
        assert list(again.matches()) == [match("one", 1, 2), mixed]


def test_twice_is_once(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.add_player(player("a")) == store.add_player(player("a")) == 1
        assert store.record([match("one", 1, 1), match("one", 1, 1)]) == 1
        assert store.record([match("one", 1, 1)]) == 0 and store.count() == 1
        with pytest.raises(UsageError, match="another player is called 'a'"):
            store.add_player(replace(player("a"), steps=3))


def test_all_matches_of_a_call_or_none(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add_player(player("a"))
        with pytest.raises(ValueError, match="does not fit"):
            store.record([match("one", 1, 1), match("two", 1, 99)])
        assert store.count() == 0
        assert store.record([match("one", 1, 1)]) == 1


def test_who_beat_whom(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        a, b, c = (store.add_player(player(name)) for name in "abc")
        store.record([
            match("1", a, b), match("2", b, a), match("3", a, b), match("4", a, b, (0.0, 0.0)),
            match("5", a, a), match("6", c, a, (-1.0, 1.0), status="crash", offender=0),
            match("7", c, b, (0.0, 0.0), status="void"),
        ])  # fmt: skip
        everything, played = store.results(), store.results(forfeits=False)
    assert everything.players == (a, b, c)
    np.testing.assert_array_equal(everything.wins, [[0, 2, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(everything.losses, everything.wins.T)
    np.testing.assert_array_equal(everything.draws, [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert everything.score[0, 1] == 2.5 and everything.games[0, 1] == 4
    assert played.games[0, 2] == 0 and played.games[0, 1] == 4


def test_roles_are_kept_apart(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        a, b = (store.add_player(player(name)) for name in "ab")
        seats = (Seat(team=0, role="adversary", player=a), Seat(team=1, role="good", player=b))
        store.record([replace(match("1", a, b), seats=seats)])
        assert store.results(("adversary", "good")).wins[0, 1] == 1
        assert store.results(("good", "adversary")).losses[1, 0] == 1
        assert store.results(("good", "good")).games.sum() == 0


def write_many(folder: Path, writer: int, number: int) -> None:
    with Store(folder) as store:
        for k in range(number):
            store.record([match(f"{writer}-{k}-{row}", 1, 2) for row in range(50)])


def test_eight_writers_at_once(tmp_path: Path) -> None:
    fill(tmp_path, 0)
    writers = [SPAWN.Process(target=write_many, args=(tmp_path, w, 50)) for w in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    with Store(tmp_path) as store:
        assert store.count() == 20_000
        recorded = {m.id for m in store.matches()}
    assert recorded == {f"{w}-{k}-{row}" for w in range(8) for k in range(50) for row in range(50)}
    assert len((tmp_path / JOURNAL).read_bytes().splitlines()) == 20_002


def write_and_say(folder: Path, writer: int, said: Any) -> None:
    with Store(folder) as store:
        for k in range(10**6):
            store.record([match(f"{writer}-{k}", 1, 2), match(f"{writer}-{k}+", 2, 1)])
            said.send(k)


def test_writers_that_are_killed_lose_nothing_acknowledged(tmp_path: Path) -> None:
    fill(tmp_path, 0)
    for generation in range(3):
        pipes = [SPAWN.Pipe(duplex=False) for _ in range(2)]
        writers = [
            SPAWN.Process(target=write_and_say, args=(tmp_path, f"{generation}.{w}", pipe[1]))
            for w, pipe in enumerate(pipes)
        ]
        for writer in writers:
            writer.start()
        for hear, _ in pipes:
            assert hear.poll(60)
        time.sleep(0.05 + 0.03 * generation)
        for writer in writers:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
        with Store(tmp_path) as store:
            recorded = [m.id for m in store.matches()]
        assert len(recorded) == len(set(recorded))
        for w, (hear, _) in enumerate(pipes):
            acknowledged = -1
            while hear.poll(0):
                try:
                    acknowledged = hear.recv()
                except EOFError:
                    break
            wanted = {f"{generation}.{w}-{k}{end}" for k in range(acknowledged + 1) for end in ("", "+")}
            assert wanted <= set(recorded)
            extra = {name for name in recorded if name.startswith(f"{generation}.{w}-")} - wanted
            assert len(extra) in (0, 2), "one call more at most, and whole"


def test_lines_that_a_killed_writer_left_are_entered(tmp_path: Path) -> None:
    fill(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    with Store(tmp_path) as store:
        store.record([match("late", 1, 2)])
    line = (tmp_path / JOURNAL).read_bytes()[len(before) :]
    other = line.replace(b'"late"', b'"unheard"')
    with open(tmp_path / JOURNAL, "ab") as journal:
        journal.write(other + line[:40])
    with Store(tmp_path) as store:
        assert store.has("unheard") and store.count() == 8
        store.record([match("after", 1, 2)])
    assert len([json.loads(x) for x in (tmp_path / JOURNAL).read_bytes().splitlines()]) == 2 + 9


@pytest.mark.parametrize("damage", ["noise", "cut", "empty", "gone"])
def test_a_damaged_database_is_made_again_with_equal_counts(tmp_path: Path, damage: str) -> None:
    fill(tmp_path, 300)
    with Store(tmp_path) as store:
        wanted, table = list(store.matches()), store.results().wins
    path = tmp_path / DATABASE
    content = bytearray(path.read_bytes())
    for companion in tmp_path.glob(f"{DATABASE}-*"):
        companion.unlink()
    if damage == "gone":
        path.unlink()
    else:
        content[4096 : len(content) - 4096] = os.urandom(len(content) - 8192)
        path.write_bytes({"noise": bytes(content), "cut": bytes(content[:6000]), "empty": b"nonsense"}[damage])
    with Store(tmp_path) as store:
        assert list(store.matches()) == wanted
        np.testing.assert_array_equal(store.results().wins, table)
        assert (store.mended is not None) == (damage != "gone")
    assert len(list(tmp_path.glob(f"{DATABASE}.damaged-*"))) == (damage != "gone")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE matches SET outcome = '[1.0, -'",
        "UPDATE matches SET key = '12x'",
        "UPDATE matches SET status = 'norval'",
        "UPDATE players SET roles = 'player'",
        "ALTER TABLE players RENAME COLUMN snapshots TO snapshoss",
    ],
)
def test_content_that_cannot_be_is_damage_too(tmp_path: Path, damage: str) -> None:
    fill(tmp_path)
    with Store(tmp_path) as store:
        wanted = store.players(), list(store.matches())
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database, database:
        database.execute(damage)
    with Store(tmp_path) as store:
        assert store.mended is not None and (store.players(), list(store.matches())) == wanted


def test_damage_that_shows_while_it_is_open_is_said(tmp_path: Path) -> None:
    fill(tmp_path)
    with Store(tmp_path) as store:
        with closing(sqlite3.connect(tmp_path / DATABASE)) as database, database:
            database.execute("UPDATE matches SET outcome = '[1.0, -'")
        with pytest.raises(StorageFailure, match=r"is damaged .*move it away, and it is made again from journal"):
            list(store.matches())


def test_a_database_that_others_hold_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr("league.store.PATIENCE", 0.05)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailure, match="database is locked; nothing was changed"):
            Store(tmp_path)
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_lost_journal_is_written_again(tmp_path: Path) -> None:
    fill(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(before[:200])
    with Store(tmp_path) as store:
        assert store.count() == 6
    (tmp_path / DATABASE).unlink()
    with Store(tmp_path) as store:
        assert store.count() == 6 and len(store.players()) == 2


def test_both_copies_damaged_is_a_storage_failure(tmp_path: Path) -> None:
    fill(tmp_path)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join([*lines[:3], b"{not json}\n", *lines[3:]]))
    (tmp_path / DATABASE).write_bytes(b"nonsense")
    with pytest.raises(StorageFailure, match="no record"):
        Store(tmp_path)


def test_a_line_of_the_journal_that_does_not_fit_costs_no_database(tmp_path: Path) -> None:
    fill(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    last = json.loads(before.splitlines()[-1])
    last["match"] |= {"id": "strange", "seats": [{**seat, "player": 99} for seat in last["match"]["seats"]]}
    with open(tmp_path / JOURNAL, "a") as journal:
        journal.write(json.dumps(last) + "\n")
    with pytest.raises(StorageFailure, match="does not fit those before it"):
        Store(tmp_path)
    assert not list(tmp_path.glob("*.damaged-*"))
    (tmp_path / JOURNAL).write_bytes(before)
    with Store(tmp_path) as store:
        assert store.count() == 6


def test_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    with sqlite3.connect(tmp_path / DATABASE) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(RefusedFile, match="version 99"):
        Store(tmp_path)
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_folder_without_a_league_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no league"):
        Store(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_cannot_be_written_is_read_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + whole[-80:-10])  # and a line that was torn
    (tmp_path / DATABASE).write_bytes(b"nonsense")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with Store(tmp_path, create=False) as store:
        assert [p.name for p in store.players().values()] == ["a", "b"] and store.count() == 6
        assert store.results().wins.sum() == 6 and store.mended is None
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / JOURNAL).write_bytes(whole.replace(b'"player": 2', b'"player": 9'))
    with pytest.raises(RefusedFile, match="cannot be read"):
        Store(tmp_path, create=False)


def test_snapshots_are_known_by_their_content(tmp_path: Path) -> None:
    policy = tmp_path / "policy.safetensors"
    policy.write_bytes(b"weights")
    with Store(tmp_path / "league") as store:
        digest = store.add_snapshot(policy)
        policy.write_bytes(b"later weights")
        assert store.snapshot(digest).read_bytes() == b"weights"
        assert store.add_snapshot(policy) != digest
        store.snapshot(digest).write_bytes(b"tampered")
        with pytest.raises(RefusedFile, match="content was changed"):
            store.snapshot(digest)
        with pytest.raises(RefusedFile, match="missing"):
            store.snapshot("0" * 64)
        with pytest.raises(RefusedFile, match="not the digest"):
            store.snapshot("../../../../etc/passwd")


@pytest.mark.parametrize("wrong", [
    {"status": "exploded"}, {"status": "crash"}, {"offender": 1}, {"outcome": (1.0,)},
])  # fmt: skip
def test_matches_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(match("one", 1, 2), **wrong)
