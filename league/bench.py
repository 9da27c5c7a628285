"""Who is benched: a player that gives away `BENCHED_AFTER` games in a row. Its other games are void."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from league.contest import Block
from league.records import FORFEITS, Match

BENCHED_AFTER = 3
WHY_VOID = f"a player had given away {BENCHED_AFTER} games in a row"


class Bench:
    """Who gave away too many games in a row, by the log read so far, in its order."""

    def __init__(self, log: Iterable[Match] = ()) -> None:
        self._in_a_row: Counter[int] = Counter()
        for match in log:
            self._read(match)

    def holds(self, block: Block) -> bool:
        """Whether a side of the block is benched."""
        return any(self._benched(side.number) for side in block.sides)

    def judged(self, results: Sequence[Match]) -> list[Match]:
        """The results as they count: games of a benched player are void, even if they were played ahead."""
        judged = []
        for match in results:
            if match.status != "void" and any(self._benched(seat.player) for seat in match.seats):
                nothing = (0.0,) * len(match.outcome)
                match = replace(
                    match, status="void", offender=None, outcome=nothing, length=0, replay=None, error=WHY_VOID
                )
            self._read(match)
            judged.append(match)
        return judged

    def _benched(self, player: int) -> bool:
        return self._in_a_row[player] >= BENCHED_AFTER

    def _read(self, match: Match) -> None:
        if match.status == "void":
            return
        for seat in match.seats:
            gave_away = match.status in FORFEITS and seat.team == match.offender
            self._in_a_row[seat.player] = self._in_a_row[seat.player] + 1 if gave_away else 0
