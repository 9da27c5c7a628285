"""`marl watch LEAGUE`: players, matches and replays of a league or tournament, listed in a window or the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from environments.errors import UsageError
from league.records import Match
from league.standings import standings
from league.store import JOURNAL, Store
from viz.menu import Entry, Menu
from viz.screen import has_display
from viz.shown import Shown
from viz.viewer import Viewer

MOST_MATCHES = 500
"""Matches of a list, the newest."""
TERMINAL_MATCHES = 20


def is_league(folder: Path) -> bool:
    """Whether a folder holds a population's log."""
    return (folder / JOURNAL).is_file()


@dataclass
class Browser:
    """A population's folder, looked at again and again while it may grow."""

    store: Store
    make: Callable[[Path], Viewer]
    """A replay's viewer. RefusedFile, UsageError."""
    _seen: tuple[int, int] = (-1, -1)
    _matches: list[Match] = field(default_factory=list)
    _names: dict[int, str] = field(default_factory=dict)
    _rows: list[tuple[int, str, str]] = field(default_factory=list)

    def look(self) -> None:
        """Read the log again, if it has grown."""
        players = self.store.players()
        seen = len(players), self.store.count()
        if seen == self._seen:
            return
        self._seen, self._matches = seen, list(self.store.matches())
        self._names = {number: player.name for number, player in players.items()}
        numbers = {name: number for number, name in self._names.items()}
        rated: list[dict[str, Any]] = standings(self.store)["players"] if players else []
        self._rows = [(numbers[row["name"]], row["name"], _rating(row, players[numbers[row["name"]]])) for row in rated]

    def menu(self) -> Menu:
        """Players from best to worst, then the newest matches that were recorded."""
        return Menu(f"players and matches of {self.store.folder}", self.entries, self.hint())

    def hint(self) -> str:
        """How many matches there are, and how many of them can be watched."""
        self.look()
        recorded = sum(self._can_be_seen(match) for match in self._matches)
        return f"{len(self._matches)} matches, {recorded} with replays"

    def entries(self) -> list[Entry]:
        """All that can be chosen."""
        self.look()
        found = [Entry("players")]
        found += [Entry(name, told, partial(self.of_player, number)) for number, name, told in self._rows]
        found.append(Entry("matches with replays, the newest first"))
        found += [self._entry(match) for match in self._newest(None)]
        return found

    def of_player(self, number: int) -> Shown:
        """One player's matches."""

        def entries() -> list[Entry]:
            self.look()
            return [self._entry(match) for match in self._newest(number, every=True)]

        return Menu(f"matches of {self._names[number]}", entries, "matches in faint ink have no replay")

    def _newest(self, number: int | None, every: bool = False) -> list[Match]:
        chosen = [
            match
            for match in reversed(self._matches)
            if (every or self._can_be_seen(match)) and (number is None or any(s.player == number for s in match.seats))
        ]
        return chosen[:MOST_MATCHES]

    def _can_be_seen(self, match: Match) -> bool:
        return match.replay is not None

    def _entry(self, match: Match) -> Entry:
        opened = partial(self.open, match) if self._can_be_seen(match) else None
        return Entry(self.title(match), self.result(match), opened)

    def open(self, match: Match) -> Viewer:
        """A match's viewer. RefusedFile where its replay is gone or damaged, or is not in the folder."""
        path = (self.store.folder / str(match.replay)).resolve()
        if self.store.folder.resolve() not in path.parents:
            raise UsageError(f"the match {match.id} names a replay outside its folder")
        return self.make(path)

    def title(self, match: Match) -> str:
        """Who met whom."""
        teams: dict[int, list[str]] = {}
        for seat in match.seats:
            teams.setdefault(seat.team, []).append(self._names.get(seat.player, f"player {seat.player}"))
        return " – ".join(" and ".join(names) for _, names in sorted(teams.items()))

    def result(self, match: Match) -> str:
        """What came of a match."""
        score = " : ".join(f"{score:g}" for score in match.outcome)
        status = "" if match.status == "normal" else f"   {match.status}"
        return f"{score}   {match.length} steps{status}"

    def lines(self) -> list[str]:
        """The list for a terminal."""
        self.look()
        width = max([len(name) for _, name, _ in self._rows], default=0)
        lines = ["players", *(f"  {name:{width}}  {told}" for _, name, told in self._rows)]
        newest = self._newest(None)[:TERMINAL_MATCHES]
        lines.append(f"matches: {self.hint()}")
        lines += [
            f"  {self.title(match)}   {self.result(match)}   {self.store.folder / str(match.replay)}"
            for match in newest
        ]
        return lines


def _rating(row: dict[str, Any], player: Any) -> str:
    spread = (row["high"] - row["low"]) / 2
    about = [
        f"{row['elo']:+.0f} ± {spread:.0f} Elo" if row["games"] and spread < 1e4 else "not rated yet",
        f"{row['games']} games",
        player.kind,
    ]
    if player.steps:
        about.append(f"{player.steps:,} steps of training")
    return "   ".join(about)


def run(folder: Path, make: Callable[[Path], Viewer]) -> int:
    """Show the list: in a window, or where there is no display in the terminal; returns the exit code."""
    with Store(folder, create=False) as store:
        browser = Browser(store, make)
        if not has_display():
            print("\n".join(browser.lines()))
            print("there is no display: export a replay with marl watch FILE --gif FILE, --mp4 FILE or --png FRAME")
            return 0
        from viz.screen.window import watch

        watch(browser.menu(), str(folder))
    return 0
