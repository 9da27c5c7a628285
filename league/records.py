"""What a population's folder remembers, as plain frozen data: players, matches, and who beat whom."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Status = Literal["normal", "illegal", "timeout", "crash", "memory", "void"]
"""How a match ended: played out; forfeited by an illegal action, too late an answer, a crash or too much memory; or
not at all, by no player's fault."""
FORFEITS = ("illegal", "timeout", "crash", "memory")


@dataclass(frozen=True, kw_only=True)
class Player:
    """Somebody who can be matched. What it plays never changes: a learner enters as one snapshot after another."""

    name: str
    """Unique among the players of a folder."""
    source: str
    """PLAYER as the command line writes it (`bot:board/tictactoe/perfect`, `random`, ...); for a snapshot, where it
    came from."""
    roles: tuple[str, ...]
    """Kinds of team that it can play."""
    kind: str = "entrant"
    """Part in a league: main, main_exploiter, league_exploiter, historical, bot; or entrant of a tournament."""
    snapshots: tuple[tuple[str, str], ...] = ()
    """(role, digest of a policy file in the folder's `snapshots/`) for each role that it plays by a policy of its own;
    empty where `source` says all."""
    parent: int | None = None
    """Number of the player that this one was copied from."""
    steps: int = 0
    """Environment steps that it was trained for."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A player's place in a match."""

    team: int
    """Number of the team, in the environment's order."""
    role: str
    """Kind of that team."""
    player: int
    """The player's number."""
    agents: tuple[str, ...] | None = None
    """Agents that it played; None: the whole team."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """One episode between players, and what came of it."""

    id: str
    """Unique: recording the same match twice changes nothing."""
    environment: str
    digest: str
    """Digest of the environment's description and options."""
    key: int
    """Key that the episode began from: matches on one key begin alike."""
    seats: tuple[Seat, ...]
    outcome: tuple[float, ...]
    """How the match scores for each team."""
    length: int
    """Steps."""
    status: Status = "normal"
    offender: int | None = None
    """Team that forfeited."""
    learner: int | None = None
    """Number of the player that was learning from the match, if one was."""
    replay: str | None = None
    """Name of the recorded episode within the folder."""
    error: str | None = None
    """End of what a player that forfeited had to say."""

    def points(self, team: int) -> float:
        """What one of two teams gets for the match: 1 for a win, 1/2 for a draw."""
        mine, other = self.outcome[team], self.outcome[1 - team]
        return 0.5 if mine == other else float(mine > other)

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"a match ends as one of {', '.join(get_args(Status))}, not {self.status!r}")
        if (self.status in FORFEITS) != (self.offender is not None):
            raise ValueError("a forfeit names the team that forfeited, and nothing else does")
        teams = {seat.team for seat in self.seats}
        if not teams or not teams <= set(range(len(self.outcome))):
            raise ValueError(f"a match has an outcome for each of its teams {sorted(teams)}, not {self.outcome}")


class Results(NamedTuple):
    """What players did to one another: `[P, P]` counts, the row's player against the column's."""

    players: tuple[int, ...]
    """Numbers of the players, in the order of rows and columns."""
    wins: NDArray[np.int64]
    draws: NDArray[np.int64]
    losses: NDArray[np.int64]

    @property
    def games(self) -> NDArray[np.int64]:
        """Games of each pair."""
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> NDArray[np.float64]:
        """Wins, draws counting half."""
        score: NDArray[np.float64] = self.wins + 0.5 * self.draws
        return score

    def among(self, numbers: Collection[int] | None) -> Results:
        """What these players did to one another; None: all of them."""
        if numbers is None:
            return self
        kept = [place for place, player in enumerate(self.players) if player in numbers]
        at = np.ix_(kept, kept)
        return Results(tuple(self.players[k] for k in kept), self.wins[at], self.draws[at], self.losses[at])
