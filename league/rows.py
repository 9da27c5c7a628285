"""Players and matches as lines of a journal and as rows of a database, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from environments.errors import StorageFailure
from league.records import Match, Player, Seat, Status

MATCH = tuple(field.name for field in dataclasses.fields(Match) if field.name != "seats")
"""Columns of a match."""
TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE players (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL, roles TEXT NOT NULL, kind TEXT NOT NULL,
    snapshots TEXT NOT NULL, parent INTEGER REFERENCES players (id), steps INTEGER NOT NULL
);
CREATE TABLE matches (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, environment TEXT NOT NULL, digest TEXT NOT NULL,
    key TEXT NOT NULL, outcome TEXT NOT NULL, length INTEGER NOT NULL, status TEXT NOT NULL, offender INTEGER,
    learner INTEGER REFERENCES players (id), replay TEXT, error TEXT
);
CREATE TABLE seats (
    match INTEGER NOT NULL REFERENCES matches (number), seat INTEGER NOT NULL, team INTEGER NOT NULL,
    role TEXT NOT NULL, player INTEGER NOT NULL REFERENCES players (id), agents TEXT, outcome REAL NOT NULL,
    PRIMARY KEY (match, seat)
) WITHOUT ROWID;
CREATE INDEX seats_of_player ON seats (player);
"""
UNREADABLE = f"""
SELECT id FROM matches WHERE NOT json_valid(outcome) OR key GLOB '*[^0-9]*' OR key = '' OR typeof(length) <> 'integer'
    OR status NOT IN ({", ".join(f"'{status}'" for status in get_args(Status))}) LIMIT 1
"""
"""A match that cannot be what was written."""


def entry_of(line: bytes, path: Path) -> dict[str, Any]:
    """A line of the journal at `path`. StorageFailure where it is neither a player nor a match."""
    try:
        entry = json.loads(line)
        if not (isinstance(entry, dict) and len(entry) == 1 and next(iter(entry)) in ("player", "match")):
            raise ValueError("neither a player nor a match")
        body = dict(entry.get("player") or entry["match"])
        if "player" in entry:
            body.pop("id")
            player_of(body)
        else:
            match_of(body)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StorageFailure(f"{path} holds a line that is no record ({error}): {line[:60]!r}") from None
    return entry


def plain(match: Match) -> dict[str, Any]:
    """A match as plain data. (`dataclasses.asdict` copies every string, which takes longer than writing them.)"""
    return {**vars(match), "seats": [vars(seat) for seat in match.seats]}


def columns(match: Mapping[str, Any]) -> list[Any]:
    """A plain match as a row of `MATCH`; keys of 64 bits are more than an integer of SQLite's."""
    row = {**match, "outcome": json.dumps(match["outcome"]), "key": str(match["key"])}
    return [row[name] for name in MATCH]


def player_of(fields: dict[str, Any]) -> Player:
    """A player from a line's fields or a row's. An exception of some kind where they make none."""
    lists = {name: fields[name] for name in ("roles", "snapshots")}
    roles, snapshots = (json.loads(x) if isinstance(x, str) else x for x in lists.values())
    return Player(**{**fields, "roles": tuple(roles), "snapshots": tuple((role, digest) for role, digest in snapshots)})


def match_of(fields: dict[str, Any]) -> Match:
    """A match from a line's fields. An exception of some kind where they make none."""
    seats = [dict(seat) for seat in fields["seats"]]
    for seat in seats:
        seat["agents"] = None if seat["agents"] is None else tuple(seat["agents"])
    outcome = tuple(float(x) for x in fields["outcome"])
    numbers = {"key": int(fields["key"]), "outcome": outcome, "seats": tuple(Seat(**seat) for seat in seats)}
    return Match(**{**fields, **numbers})
