"""What a league's log says of its population, as plain data: who came from whom, how strong each is, how it went.

All of it is a view of the store; `league.standings` holds ratings and payoffs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from league.records import Player
from league.standings import standings
from league.store import Store

LEARNERS = ("main", "main_exploiter", "league_exploiter")
"""Parts of players that change while they play: they are never rated, their snapshots are."""
POINTS = 40
"""Points of a curve, at most."""
LEAST = 20
"""Matches of a point, at least, where there are as many."""
WIDTH = 1.959963984540054
"""Standard errors to either side of a 95 % interval."""


class Rates(NamedTuple):
    """How often learners of one line won against opponents of one part while they trained."""

    label: str
    matches: NDArray[np.float64]
    """`[points]` matches played when the window ends."""
    rate: NDArray[np.float64]
    """`[points]` mean points in it, a draw half."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """95 % interval."""


def population(store: Store) -> dict[str, Any]:
    """Everybody with parent, part and steps, parents before their children; standings of those who can be rated."""
    players = store.players()
    rated = [number for number, player in players.items() if player.kind not in LEARNERS]
    table = standings(store, rated)
    known = {row["name"]: row for row in table["players"]}
    rows = [_row(players, number, depth, store, known) for number, depth in lineage(players)]
    return {**table, "players": rows, "rated": [row["name"] for row in table["players"]]}


def _row(
    players: dict[int, Player], number: int, depth: int, store: Store, rated: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    player = players[number]
    row = {
        "number": number,
        "name": player.name,
        "part": player.kind,
        "roles": list(player.roles),
        "parent": None if player.parent is None else players[player.parent].name,
        "depth": depth,
        "source": player.source,
        "steps": player.steps,
    }
    learned = store.learned(number) if player.kind in LEARNERS else np.zeros((0, 2))
    points = float(learned[:, 1].mean()) if len(learned) else None
    own = {name: value for name, value in rated.get(player.name, {}).items() if name != "name"}
    return {**row, "learned_from": len(learned), "learning_points": points, **own}


def lineage(players: dict[int, Player]) -> list[tuple[int, int]]:
    """(number, how many ancestors) of all players, children right after their parent, in the order they entered."""
    children: dict[int | None, list[int]] = {}
    for number, player in players.items():
        children.setdefault(player.parent if player.parent in players else None, []).append(number)
    ordered: list[tuple[int, int]] = []
    waiting = [(number, 0) for number in reversed(children.get(None, []))]
    while waiting:
        number, depth = waiting.pop()
        ordered.append((number, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(number, []))]
    return ordered


def rates(store: Store) -> list[Rates]:
    """Curves of all learners who played others, one for each part of opponents; generations of a line are one."""
    players, found = store.players(), []
    lines: dict[str, list[int]] = {}
    for number, player in players.items():
        if player.kind in LEARNERS:
            lines.setdefault(player.source, []).append(number)
    for line, numbers in lines.items():
        matches = np.concatenate([store.learned(number) for number in numbers])
        count = np.arange(1, len(matches) + 1)
        parts = np.array([part_of(players, int(number)) for number in matches[:, 0]])
        for part in sorted(set(parts.tolist())):
            own = parts == part
            found.append(windows(f"{line} against {part}", count[own], matches[own, 1]))
    return found


def part_of(players: dict[int, Player], number: int) -> str:
    """What a player is to those who meet it: its part, or of a snapshot that of its learner."""
    player = players[number]
    learner = players.get(player.parent) if player.parent is not None else None
    return f"past {learner.kind}".replace("_", " ") if learner is not None else player.kind.replace("_", " ")


def windows(label: str, count: NDArray[np.int64], points: NDArray[np.float64]) -> Rates:
    """Mean points over windows of as many matches each, with Wilson's interval (a draw being half a win and half a
    loss), which stays within [0, 1] and means something after one match."""
    parts = np.array_split(np.arange(len(points)), max(1, min(POINTS, len(points) // LEAST)))
    games = np.array([len(part) for part in parts], np.float64)
    rate = np.array([points[part].mean() for part in parts])
    z = WIDTH
    centre = (rate + z**2 / (2 * games)) / (1 + z**2 / games)
    half = z * np.sqrt(rate * (1 - rate) / games + z**2 / (4 * games**2)) / (1 + z**2 / games)
    return Rates(label, np.array([count[part[-1]] for part in parts], np.float64), rate, centre - half, centre + half)
