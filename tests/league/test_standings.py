"""What a log of games says of its players."""

from __future__ import annotations

from pathlib import Path

import pytest

from league.records import Match, Player, Seat
from league.standings import standings
from league.store import Store

Score = tuple[str, str, float]
CIRCLE: list[Score] = [("rock", "scissors", 2.0), ("scissors", "paper", 2.0), ("paper", "rock", 2.0)]


def table_of(folder: Path, scores: list[Score], sum_of_outcomes: float = 0.0) -> dict[str, dict]:
    """Rows by name, of matches in which the first named earned that."""
    with Store(folder) as store:
        names = sorted({name for first, second, _ in scores for name in (first, second)})
        number = {name: store.add_player(Player(name=name, source="random", roles=("side",))) for name in names}
        store.record(
            Match(
                id=str(k),
                environment="x",
                digest="d",
                key=k,
                seats=tuple(Seat(team=team, role="side", player=number[name]) for team, name in enumerate((a, b))),
                outcome=(earned, sum_of_outcomes - earned),
                length=1,
            )
            for k, (a, b, earned) in enumerate(scores)
        )
        found = standings(store)
    return {row["name"]: row for row in found["players"]} | {"": found}


def test_return_and_exploitability_within_the_population(tmp_path: Path) -> None:
    rows = table_of(tmp_path, [*CIRCLE * 4, ("rock", "scissors", -50.0)])  # one match more of one pair does not count
    for name in ("rock", "paper", "scissors"):
        told = rows[name]["population"]
        assert told["population_return"] == 0.0 and told["exploitability"] == 2.0 and told["matches"] == 4
    assert rows[""]["non_transitivity"] > 0.9


@pytest.mark.parametrize(
    ("scores", "sum_of_outcomes"),
    [
        (CIRCLE, 0.0),  # one match each: there are no halves
        (CIRCLE[:2] * 4, 0.0),  # two never met
        (CIRCLE * 4, 1.0),  # what one loses the other does not win
    ],
)
def test_what_a_population_does_not_say(tmp_path: Path, scores: list[Score], sum_of_outcomes: float) -> None:
    rows = table_of(tmp_path, scores, sum_of_outcomes)
    assert all(rows[name]["population"] is None for name in ("rock", "paper", "scissors"))
