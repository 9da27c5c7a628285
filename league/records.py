"""What a population's folder remembers, as plain frozen data: players and matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

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
