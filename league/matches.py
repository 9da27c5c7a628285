"""Playing matches: blocks of games of one environment, every seat held by some player.

A block is stepped as one batch of fixed shape, whatever number of games is left, and every game has its own key: so
what comes out depends on the block alone, not on how blocks are shared among processes or what was played before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from environments.replay import Replay
from environments.spec import EnvSpec
from environments.vector import VectorEnv
from marl.collector import Seats
from marl.evaluate import evaluate
from marl.policy import Actor

BLOCK = 512
"""Games of a block."""


@dataclass(frozen=True)
class Game:
    """One game that is to be played."""

    id: str
    key: int
    """Of the episode; games on one key begin alike and draw alike."""
    lineup: tuple[int, ...]
    """For every team, in the environment's order, the place of its player among the block's players."""


@dataclass(frozen=True)
class Played:
    """What came of a game."""

    game: Game
    outcome: tuple[float, ...]
    """How it scores for every team."""
    length: int
    """Steps."""
    replay: Replay | None = None


def play_block(
    env: VectorEnv,
    players: Mapping[str, Sequence[Actor]],
    games: Sequence[Game],
    noise_key: int,
    greedy: bool,
    record: int = 0,
    header: Mapping[str, object] | None = None,
) -> list[Played]:
    """Play games, at most as many as `env` has copies; the first `record` are kept as replays.

    `players`: for every kind of team, who plays it, at the places that line-ups name. Copies that no game is left for
    play the last one again, unheard.
    """
    if not 0 < len(games) <= env.num_envs:
        raise ValueError(f"a block holds 1 to {env.num_envs} games, not {len(games)}")
    filled = [*games, *[games[-1]] * (env.num_envs - len(games))]
    env.reset(keys=[game.key for game in filled])
    seats = seat(env.spec, players, [game.lineup for game in filled])
    measured = evaluate(env, seats, env.num_envs, noise_key, greedy, min(record, len(games)), header)
    replays = [*measured.replays, *[None] * len(filled)]
    return [
        Played(game, tuple(map(float, measured.outcomes[row])), int(measured.lengths[row]), replays[row])
        for row, game in enumerate(games)
    ]


def seat(spec: EnvSpec, players: Mapping[str, Sequence[Actor]], lineups: Sequence[tuple[int, ...]]) -> dict[str, Seats]:
    """Who sits where: for every kind of team its seats `[E * teams]` in the order (copy, team)."""
    table = np.array(lineups, np.int16)
    if table.shape != (len(lineups), spec.num_teams):
        raise ValueError(f"{spec.name} has {spec.num_teams} teams; a line-up names a player for each")
    seats, first = {}, 0
    for kind in spec.kinds:
        seats[kind.name] = Seats(players[kind.name], table[:, first : first + kind.teams].reshape(-1).copy())
        first += kind.teams
    return seats


def match_key(*parts: str | int) -> int:
    """The key of a game from what it is about, the same on every machine: 64 bits of a hash."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little")
