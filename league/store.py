"""The folder of a population: an append-only log of players and matches, from which everything else is computed.

    league.db        SQLite: players, matches and who sat where
    journal.jsonl    the same, a line each: the second copy
    snapshots/       policies by the digest of their content, never changed
    replays/

Several processes write at once. A write happens under SQLite's lock: rows are inserted, their lines appended to the
journal and synced, and then the transaction is committed together with the journal's new length. So whoever is killed
at whatever moment leaves either nothing, or lines beyond the length that the database knows, which the next writer
enters (a torn last line is cut off). A database that is damaged is moved aside and made again from the journal.

Ratings, payoffs and rates of matchmaking are never stored: they are views of this log.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import RefusedFile, StorageFailure, UsageError
from league import queries
from league.records import Match, Player, Results
from league.rows import MATCH, TABLES, UNREADABLE, columns, entry_of, match_of, plain, player_of
from marl import files

SCHEMA = 1
DATABASE, JOURNAL, SNAPSHOTS, LOCK = "league.db", "journal.jsonl", "snapshots", ".log-lock"
PATIENCE = 60.0
"""Seconds that a writer waits for the others."""
UNTOUCHED = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT),
)
"""Errors of SQLite that say nothing of what the database holds: others are writing, there is no room, and the like."""
MOST_ASKED = 500
"""Matches that are asked for at once."""


class Store:
    """A population's folder, opened. Not for sharing between threads; any number of processes may open it."""

    def __init__(self, folder: Path | str, create: bool = True) -> None:
        """Open the folder, entering what killed writers left and mending what can be mended.

        Where `create` is not set and the folder may be read but not written, it is left as it is, and what is asked is
        answered from a copy in memory.

        UsageError where there is nothing and `create` is not set; RefusedFile where it belongs to another version;
        StorageFailure where it cannot be written, or is damaged beyond the journal's help.
        """
        self.folder = Path(folder)
        self.mended: str | None = None
        """What was wrong with the database and was made good, in a sentence."""
        if not create and not (self.folder / JOURNAL).exists():
            raise UsageError(f"there is no league in {self.folder}")
        if not create and not os.access(self.folder, os.W_OK):
            self._database = self._copied()
            return
        with files.storage(self.folder):
            (self.folder / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._database = self._open()

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing.

    def add_player(self, player: Player) -> int:
        """Enter a player and return its number; the number it has where the same is entered already.

        UsageError where another player has that name.
        """

        def enter() -> tuple[list[dict[str, Any]], int]:
            known = self._database.execute("SELECT id FROM players WHERE name = ?", (player.name,)).fetchone()
            if known is not None:
                if self.player(known[0]) != player:
                    raise UsageError(f"another player is called {player.name!r} in {self.folder}")
                return [], int(known[0])
            number = self._database.execute("SELECT coalesce(max(id), 0) + 1 FROM players").fetchone()[0]
            return [{"player": {"id": number, **dataclasses.asdict(player)}}], number

        return self._write(enter)

    def record(self, matches: Iterable[Match]) -> int:
        """Enter matches, all or none; those whose id is there already change nothing. Returns how many were new."""
        given = {match.id: match for match in matches}

        def enter() -> tuple[list[dict[str, Any]], int]:
            known = self._known(list(given))
            new = [{"match": plain(match)} for name, match in given.items() if name not in known]
            return new, len(new)

        return self._write(enter)

    def add_snapshot(self, policy: Path) -> str:
        """Keep a copy of a policy file and return its digest. StorageFailure where it cannot be written."""
        with files.storage(policy):
            content = policy.read_bytes()
            digest = files.sha256(policy)
        kept = self._snapshot(digest)
        if not kept.exists():
            files.write_atomic(kept, content)
        return digest

    # Reading.

    def player(self, number: int) -> Player:
        """The player of that number. KeyError where there is none."""
        found = self.players(number)
        return found[number]

    def players(self, number: int | None = None) -> dict[int, Player]:
        """All players by number, or one."""
        fields = [field.name for field in dataclasses.fields(Player)]
        where = "" if number is None else f" WHERE id = {int(number)}"
        rows = list(self._ask(f"SELECT id, {', '.join(fields)} FROM players{where} ORDER BY id"))
        return {row[0]: player_of(dict(zip(fields, row[1:], strict=True))) for row in rows}

    def has(self, match: str) -> bool:
        """Whether a match of that id is recorded."""
        return next(self._ask("SELECT 1 FROM matches WHERE id = ?", (match,)), None) is not None

    def count(self) -> int:
        """Matches recorded."""
        return int(next(self._ask("SELECT count(*) FROM matches"))[0])

    def matches(self) -> Iterator[Match]:
        """All matches in the order in which they were recorded."""
        for (line,) in self._ask(queries.MATCH_AS_JSON.format("")):
            yield match_of(json.loads(line))

    def find(self, ids: Sequence[str]) -> list[Match]:
        """The matches of those ids, in their order. KeyError where one is not recorded."""
        marks = ", ".join("?" * len(ids))
        rows = self._ask(queries.MATCH_AS_JSON.format(f"WHERE m.id IN ({marks})"), tuple(ids))
        found = {match.id: match for match in (match_of(json.loads(line)) for (line,) in rows)}
        return [found[name] for name in ids]

    def results(self, roles: tuple[str, str] | None = None, forfeits: bool = True) -> Results:
        """Who beat whom, of whole teams; a match of a player against itself says nothing and is left out, and so is
        one from which somebody learned: what he played has changed since.

        `roles`: only games of the row's player in the first kind of team against the column's in the second.
        `forfeits`: whether games that were given away count. Void games never do.
        """
        players = tuple(self.players())
        place = {player: index for index, player in enumerate(players)}
        wins, draws, losses = np.zeros((3, len(players), len(players)), np.int64)
        condition = ["m.learner IS NULL", "m.status <> 'void'" if forfeits else "m.status = 'normal'"]
        values: list[str] = []
        if roles is not None:
            condition.append("a.role = ? AND b.role = ?")
            values.extend(roles)
        for row, column, won, drawn, lost in self._ask(queries.PAIRS.format(" AND ".join(condition)), values):
            at = place[row], place[column]
            wins[at], draws[at], losses[at] = won, drawn, lost
        return Results(players, wins, draws, losses)

    def rates(self, learner: int, window: int) -> dict[int, tuple[float, int]]:
        """How a player that learns did lately: opponent -> (wins, draws counting half; games), of the last `window`
        games against each from which it learned."""
        rows = self._ask(queries.RATES, (learner, learner, learner, window))
        return {int(player): (float(score), int(games)) for player, score, games in rows}

    def earned(self, roles: tuple[str, str]) -> dict[tuple[int, int], tuple[float, float, int]]:
        """What players that do not learn earned: (player of the first kind of team, of the second) -> (sum of the
        first's outcomes, of the second's, games)."""
        rows = self._ask(queries.EARNED, roles)
        return {(int(a), int(b)): (float(x), float(y), int(games)) for a, b, x, y, games in rows}

    def learned(self, learner: int) -> NDArray[np.float64]:
        """`[M, 2]` the matches that a player learned from, in order: (opponent, points), a draw half."""
        rows = self._ask(queries.LEARNED, (learner, learner))
        return np.array(list(rows), np.float64).reshape(-1, 2)

    def outcomes(self) -> dict[tuple[int, int], list[tuple[float, float]]]:
        """How the matches of two whole teams scored, in order: (player, opponent) -> (own outcome, the other's).

        Void ones, and those that somebody learned from or in which a player met itself, are left out.
        """
        found: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for player, other, own, theirs in self._ask(queries.OUTCOMES):
            found.setdefault((player, other), []).append((own, theirs))
        return found

    def most_teams(self) -> int:
        """Teams of the matches with most of them; 0 where there are no matches."""
        return int(next(self._ask("SELECT coalesce(max(team) + 1, 0) FROM seats"))[0])

    def forfeits(self) -> dict[int, dict[str, int]]:
        """Games that each player gave away, by kind; players who gave away none are left out."""
        found: dict[int, dict[str, int]] = {}
        for player, status, games in self._ask(queries.FORFEITS):
            found.setdefault(player, {})[status] = games
        return found

    def voids(self) -> int:
        """Games that were not played, by no fault of the other side."""
        return int(next(self._ask("SELECT count(*) FROM matches WHERE status = 'void'"))[0])

    def snapshot(self, digest: str) -> Path:
        """The policy file of that digest. RefusedFile where it is missing or its content is another."""
        kept = self._snapshot(digest)
        try:
            whole = files.sha256(kept) == digest
        except OSError:
            raise RefusedFile(f"the snapshot {kept} is missing or cannot be read") from None
        if not whole:
            raise RefusedFile(f"{kept} is not the policy that was kept under that name: its content was changed")
        return kept

    def _ask(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of the database. StorageFailure where it is damaged in a way that opening it did not show."""
        try:
            yield from self._database.execute(query, values)
        except sqlite3.DatabaseError as error:
            path = self.folder / DATABASE
            if error_code(error) in UNTOUCHED:
                raise StorageFailure(f"cannot read {path}: {error}") from None
            again = f"move it away, and it is made again from {JOURNAL}"
            raise StorageFailure(f"{path} is damaged ({error}): {again}") from None

    def _snapshot(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise RefusedFile(f"{digest[:80]!r} is not the digest of a snapshot")
        return self.folder / SNAPSHOTS / f"{digest}.safetensors"

    # How it is kept whole.

    def _write(self, enter: Callable[[], tuple[list[dict[str, Any]], int]]) -> int:
        """One transaction: catch up with the journal, ask `enter` what is new, and enter that in both copies."""
        with files.storage(self.folder), _sqlite(self.folder):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                length = self._catch_up()
                lines, answer = enter()
                self._insert(lines)
                length += self._append(length, lines)
                self._database.execute("INSERT OR REPLACE INTO facts VALUES ('journal', ?)", (str(length),))
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            return answer

    def _catch_up(self) -> int:
        """Enter the journal's lines that the database does not have; returns the journal's length in bytes."""
        known = self._database.execute("SELECT value FROM facts WHERE name = 'journal'").fetchone()
        length = int(known[0]) if known else 0
        path = self.folder / JOURNAL
        size = path.stat().st_size if path.exists() else 0
        if size == length:
            return length
        if size < length:  # the second copy was lost or cut: made again from the first
            return self._rewrite()
        with open(path, "rb") as journal:
            journal.seek(length)
            rest = journal.read()
        whole = self._enter(rest)
        if whole < len(rest):
            os.truncate(path, length + whole)
        return length + whole

    def _enter(self, data: bytes) -> int:
        """Insert what the whole lines of a part of the journal say; returns their bytes."""
        whole = data[: data.rfind(b"\n") + 1]
        lines = [entry_of(line, self.folder / JOURNAL) for line in whole.splitlines()]
        self._insert(lines, known_is_fine=True)
        return len(whole)

    def _append(self, length: int, entries: list[dict[str, Any]]) -> int:
        """Add lines to the journal, on the disk when this returns; returns their bytes."""
        if not entries:
            return 0
        data = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries).encode()
        path = self.folder / JOURNAL
        with open(path, "ab") as journal:
            journal.write(data)
            journal.flush()
            os.fsync(journal.fileno())
        if length == 0:
            files.sync_folder(self.folder)
        return len(data)

    def _rewrite(self) -> int:
        """Write the whole journal anew from the database."""
        players = [{"player": {"id": number, **dataclasses.asdict(p)}} for number, p in self.players().items()]
        entries = [*players, *({"match": plain(match)} for match in self.matches())]
        data = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries).encode()
        files.write_atomic(self.folder / JOURNAL, data)
        return len(data)

    def _insert(self, entries: Sequence[Mapping[str, Any]], known_is_fine: bool = False) -> None:
        verb = "INSERT OR IGNORE" if known_is_fine else "INSERT"
        for player in (dict(entry["player"]) for entry in entries if "player" in entry):
            player |= {name: json.dumps(player[name]) for name in ("roles", "snapshots")}
            marks = ", ".join("?" * len(player))
            self._database.execute(
                f"{verb} INTO players ({', '.join(player)}) VALUES ({marks})", tuple(player.values())
            )
        matches = [entry["match"] for entry in entries if "match" in entry]
        if known_is_fine:
            known = self._known([match["id"] for match in matches])
            matches = list({match["id"]: match for match in matches if match["id"] not in known}.values())
        first = self._database.execute("SELECT coalesce(max(number), 0) + 1 FROM matches").fetchone()[0]
        self._database.executemany(
            f"INSERT INTO matches (number, {', '.join(MATCH)}) VALUES (?{', ?' * len(MATCH)})",
            ((number, *columns(match)) for number, match in enumerate(matches, start=first)),
        )
        self._database.executemany(
            "INSERT INTO seats VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (number, place, seat["team"], seat["role"], seat["player"],
                 None if seat["agents"] is None else json.dumps(seat["agents"]), match["outcome"][seat["team"]])
                for number, match in enumerate(matches, start=first) for place, seat in enumerate(match["seats"])
            ),
        )  # fmt: skip

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids under which a match is recorded."""
        found: set[str] = set()
        for start in range(0, len(ids), MOST_ASKED):
            some = ids[start : start + MOST_ASKED]
            rows = self._database.execute(f"SELECT id FROM matches WHERE id IN ({', '.join('?' * len(some))})", some)
            found.update(name for (name,) in rows)
        return found

    def _copied(self) -> sqlite3.Connection:
        """The journal's records, in memory. RefusedFile where it cannot be read."""
        self._database = database = sqlite3.connect(":memory:", isolation_level=None)
        database.executescript(f"PRAGMA foreign_keys = ON; {TABLES}")
        try:
            self._enter((self.folder / JOURNAL).read_bytes())
        except (OSError, sqlite3.DatabaseError) as error:
            raise RefusedFile(f"{self.folder / JOURNAL} cannot be read: {error}") from None
        return database

    def _open(self) -> sqlite3.Connection:
        path = self.folder / DATABASE
        try:
            return self._prepared(path)
        except sqlite3.DatabaseError as error:
            if error_code(error) in UNTOUCHED:
                raise StorageFailure(f"cannot open {path}: {error}; nothing was changed, try again") from None
            if isinstance(error, sqlite3.IntegrityError):
                journal = self.folder / JOURNAL
                raise StorageFailure(f"{journal} holds a record that does not fit those before it ({error})") from None
            if not (self.folder / JOURNAL).exists():
                raise StorageFailure(f"{path} is damaged ({error}), and no {JOURNAL} is there to mend it") from None
            self._move_aside(path)
            self.mended = f"{path} was damaged ({error}); it is made again from {JOURNAL}, the old one kept beside it"
        try:
            return self._prepared(path)
        except sqlite3.DatabaseError as error:
            raise StorageFailure(f"{path} could not be made again ({error})") from None

    def _prepared(self, path: Path) -> sqlite3.Connection:
        self._database = database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                database.execute(f"PRAGMA {pragma}")
            found = database.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                raise RefusedFile(f"{path} is of version {version}; this program reads version {SCHEMA}")
            if version == 0:
                database.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
            if database.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise sqlite3.DatabaseError("a match names a player that is not there")
            self._check_content()
            database.execute("BEGIN IMMEDIATE")
            length = self._catch_up()
            database.execute("INSERT OR REPLACE INTO facts VALUES ('journal', ?)", (str(length),))
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        return database

    def _check_content(self) -> None:
        """DatabaseError where something that is whole for SQLite cannot be what was written."""
        match = self._database.execute(UNREADABLE).fetchone()
        if match is not None:
            raise sqlite3.DatabaseError(f"match {match[0]} cannot be read")
        try:
            self.players()
        except (StorageFailure, ValueError, TypeError) as error:
            raise sqlite3.DatabaseError(f"a player cannot be read: {error}") from None

    def _move_aside(self, path: Path) -> None:
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        os.replace(path, aside)
        for companion in ("-wal", "-shm"):
            path.with_name(path.name + companion).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process opens, and perhaps mends, at a time."""
        with open(self.folder / LOCK, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def error_code(error: sqlite3.Error) -> int | None:
    """SQLite's primary number of an error; None where it did not come from there."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


@contextmanager
def _sqlite(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"a record that does not fit those in {folder}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StorageFailure(f"cannot write {folder / DATABASE}: {error}") from error
