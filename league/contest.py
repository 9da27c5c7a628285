"""What a tournament or a league plays, as plain data: entrants, rules, and the games of a pairing in blocks.

A block belongs to one pairing and is played or not played. Its games have names and keys that follow from what is
played, so whoever plays them, and whenever, plays the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from environments.spec import EnvSpec

if TYPE_CHECKING:
    from environments.replay import Replay
    from environments.vector import VectorEnv
    from league.programs import Limits
    from marl.acting import Actor

BLOCK = 512
"""Games of a block, at most."""
Load = Callable[[str, EnvSpec, str], "Actor"]
"""(what to load, environment, kind of team) -> somebody who acts. A function of a module, so that workers find it."""


HUMAN = "human"
"""What `Entrant.sources` say of a person."""


class Person(Protocol):
    """A person who plays matches; where its window is, whoever makes the contest knows."""

    def sit(self, env: VectorEnv, team: int) -> Actor:
        """Who acts for a team of the only copy of `env` in the coming match."""
        ...

    def told(self, replay: Replay) -> None:
        """The match has ended; this is what was played."""
        ...


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
    block: int = BLOCK
    """Games of a block, at most; even."""
    seed: int = 0
    greedy: bool = True
    record: int = 0
    """Games of a pairing whose replays are kept."""
    folder: Path | None = None
    """Where replays go."""
    header: Mapping[str, Any] = field(default_factory=dict)
    """What replays say of their origin."""
    limits: Limits | None = None
    """What players that are programs may use; None: the usual."""
    person: Person | None = None
    """Who plays for the entrant whose source is `HUMAN`; then everything is played in one process."""


@dataclass(frozen=True)
class Game:
    """One game that is to be played."""

    id: str
    key: int
    """Of the episode; games on one key begin alike and draw alike."""
    lineup: tuple[int, ...]
    """For every team, in the environment's order, the place of its player among the block's two; where there is one
    team alone, for each of its agents."""


@dataclass(frozen=True)
class Block:
    """Games of one pairing, played in one batch."""

    first: Entrant
    second: Entrant
    games: tuple[Game, ...]
    """Line-ups name the first entrant 0, the second 1."""
    record: int
    """So many of them, the first, are kept as replays."""

    @property
    def sides(self) -> tuple[Entrant, Entrant]:
        """The two, at the places that line-ups name."""
        return self.first, self.second


def orientations(spec: EnvSpec, first: Entrant, second: Entrant) -> list[tuple[int, int]]:
    """The ways in which two entrants can take the two teams: line-ups of 0 (the first) and 1."""
    kinds, sides = spec.team_kinds, (first, second)
    return [(a, b) for a, b in ((0, 1), (1, 0)) if kinds[0] in sides[a].sources and kinds[1] in sides[b].sources]


def blocks(contest: Contest, spec: EnvSpec, first: Entrant, second: Entrant, cycle: int = 0) -> list[Block]:
    """All games of a pairing: pairs on one key with sides swapped, where both can take both sides.

    Another `cycle` is as many games again, on other keys.
    """
    ways = orientations(spec, first, second)
    games = []
    for number in range(contest.games):
        pair, side = divmod(cycle * contest.games + number, len(ways))
        about: list[str | int] = [spec.digest, contest.seed, *sorted((first.identity, second.identity)), pair]
        lineup = ways[side]
        order = [(first, second)[place].identity for place in lineup]
        games.append(Game(f"{match_key(*about, contest.greedy, *order):016x}", match_key(*about), lineup))
    return cut(contest, first, second, games)


def cut(contest: Contest, first: Entrant, second: Entrant, games: Sequence[Game]) -> list[Block]:
    """Games of a pairing as blocks."""
    size = block_size(contest)
    starts = range(0, len(games), size)
    return [
        Block(first, second, tuple(games[start : start + size]), max(0, min(size, contest.record - start)))
        for start in starts
    ]


def block_size(contest: Contest) -> int:
    """Games of a block: the same for all of a contest, so that every batch has one shape."""
    return min(contest.block, contest.games)


def match_key(*parts: str | int) -> int:
    """The key of a game from what it is about, the same on every machine: 64 bits of a hash."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little")
