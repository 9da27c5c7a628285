"""PSRO: tables of payoffs from the log, mixtures by every meta-solver, and how exploitable each was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from league import exploit, matches, psro
from league.league import League, spread
from league.records import Match, Player, Seat
from league.store import Store
from marl.cli.tournament import load
from tests.league.leagues import Killed, config, play, workshop

KIND = "player"
ROSHAMBO = {"throws": 1}
BEATS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], float)
"""Rock, paper, scissors."""


def log(folder: Path, tables: Mapping[tuple[str, str], np.ndarray], kinds: Sequence[str]) -> dict[str, list[int]]:
    """A log in which every pair of players of two kinds got what the tables say, twice."""
    found: dict[str, list[int]] = {}
    with Store(folder) as store:
        for kind in dict.fromkeys(kinds):
            rows = max(table.shape[pair.index(kind)] for pair, table in tables.items() if kind in pair)
            names = [Player(name=f"{kind}-{k}", source="x", roles=(kind,), kind="historical") for k in range(rows)]
            found[kind] = [store.add_player(player) for player in names]
        learner = store.add_player(Player(name="main", source="main", roles=tuple(kinds), kind="main"))
        played = []
        for (first, second), table in tables.items():
            for (a, b), earned in np.ndenumerate(table):
                seats = tuple(
                    Seat(team=t, role=r, player=found[r][k]) for t, (r, k) in enumerate(((first, a), (second, b)))
                )
                for copy in range(2):
                    played.append((f"{first}{a}{second}{b}{copy}", seats, (float(earned), -float(earned)), None))
        learns = (Seat(team=0, role=kinds[0], player=learner), Seat(team=1, role=kinds[-1], player=found[kinds[-1]][0]))
        played.append(("learning", learns, (5.0, -5.0), learner))
        store.record(
            Match(id=i, environment="x", digest="x", key=0, seats=s, outcome=o, length=1, learner=by)
            for i, s, o, by in played
        )
    return found


def killed_after(calls: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, which does not outlive more than so many calls."""
    left = calls

    def works(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return work(*arguments)

    return works


def test_a_population_that_plays_itself(tmp_path: Path) -> None:
    numbers = log(tmp_path, {(KIND, KIND): BEATS}, [KIND])
    with Store(tmp_path) as store:
        found = psro.game(store, (KIND, KIND), numbers)
        assert found.symmetric
        np.testing.assert_allclose(found.payoffs[0], BEATS)
        np.testing.assert_allclose(found.payoffs[1], -BEATS)
    for meta in ("nash", "alpha-rank", "uniform"):
        for mixture in psro.mixtures(found, meta):
            np.testing.assert_allclose(mixture, 1 / 3, atol=0.02)
    told = psro.history(found, "nash")
    assert [row["generation"] for row in told] == [1, 2]
    assert told[0]["mixtures"][0] == [1.0] and told[0]["exploitability"] == pytest.approx(1.0)  # rock, beaten by paper
    assert told[1]["exploitability"] == pytest.approx(1.0)  # then paper, beaten by scissors


def test_two_kinds_have_a_mixture_each(tmp_path: Path) -> None:
    pennies = np.array([[1.0, -1.0], [-1.0, 1.0]])
    numbers = log(tmp_path, {("even", "odd"): pennies}, ["even", "odd"])
    with Store(tmp_path) as store:
        found = psro.game(store, ("even", "odd"), numbers)
    assert not found.symmetric
    np.testing.assert_allclose(found.payoffs[0], pennies)
    np.testing.assert_allclose(psro.mixtures(found, "nash"), 0.5, atol=1e-9)
    assert psro.exploitability(found, "nash", 1) == pytest.approx(1.0)  # the odd one answers: 2, and the even one 0
    with pytest.raises(UsageError, match="alpha-rank is for one population"):
        psro.mixtures(found, "alpha-rank")


def test_what_is_not_played_yet_is_missing(tmp_path: Path) -> None:
    numbers = log(tmp_path, {(KIND, KIND): BEATS[:2, :2]}, [KIND])
    with Store(tmp_path) as store:
        new = store.add_player(Player(name="new", source="x", roles=(KIND,), kind="historical"))
        found = psro.game(store, (KIND, KIND), {KIND: [*numbers[KIND], new]})
    assert np.isnan(found.payoffs[0][2, :2]).all() and found.payoffs[0][2, 2] == 0
    assert [row["generation"] for row in psro.history(found, "nash")] == [1]
    assert found.generations == 2


def test_a_mixture_is_told_before_the_newest_snapshot_has_met_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, settings = workshop("matrix/matching_pennies"), config("psro", turns=6, slice_steps=96, snapshot_steps=96)
    monkeypatch.setattr(matches, "play", killed_after(6, matches.play))
    with pytest.raises(Killed):
        play(tmp_path, settings, shop)
    with Store(tmp_path) as store:
        league = League(tmp_path, settings, shop, store)
        assert [len(numbers) for numbers in league.game().players] == [3, 3]
        told = league.mixtures()
    assert {kind: list(shares) for kind, shares in told.items()} == {
        kind: [f"{kind}.main-{k}" for k in range(2)] for kind in ("even", "odd")
    }


def test_a_table_is_solved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    solved: list[int] = []

    def solve(payoffs: Sequence[Any]) -> list[Any]:
        solved.append(len(payoffs))
        return psro.metagame.uniform(payoffs)

    monkeypatch.setitem(psro.GENERAL, "prd", solve)
    table = BEATS * 0.123
    found = psro.Game((KIND, KIND), ((1, 2, 3), (1, 2, 3)), (table, -table))
    psro.mixtures(found, "prd")[0][:] = 7.0
    np.testing.assert_allclose(psro.mixtures(found, "prd"), 1 / 3)
    assert solved == [2]


def test_psro_trains_best_responses_to_the_mixture_and_fills_every_cell(tmp_path: Path) -> None:
    shop = workshop("matrix/matching_pennies")
    play(tmp_path, config("psro", turns=6, slice_steps=2 * 96, snapshot_steps=2 * 96), shop)
    with Store(tmp_path) as store:
        snapshots = {p.name: p for p in store.players().values() if p.kind == "historical"}
        learners = [p for p in store.players().values() if p.kind == "main"]
        table = store.earned(("even", "odd"))
    assert sorted(snapshots) == [f"{kind}.main-{k}" for kind in ("even", "odd") for k in range(4)]
    assert len(learners) == 8  # every oracle began anew
    assert len(table) == 16 and {games for *_, games in table.values()} == {4}


def test_only_two_teams_have_a_table() -> None:
    assert psro.sides(environments.make("particle/tag", 1).spec) == ("adversary", "good")
    with pytest.raises(UsageError, match="psro is for two teams that meet; particle/spread has 1"):
        psro.sides(environments.make("particle/spread", 1).spec)


def test_an_exploiter_gains_what_it_does() -> None:
    target = {KIND: "bot:roshambo/rock"}
    found = exploit.measure("roshambo/repeated", ROSHAMBO, load, KIND, "bot:roshambo/paper", target, 100, 0)
    assert found.value == found.gain == (1.0, 1.0, 1.0) and found.mirror == (0.0, 0.0, 0.0)
    even = exploit.measure("roshambo/repeated", ROSHAMBO, load, KIND, "bot:roshambo/random", target, 600, 0)
    assert even.gain is not None and abs(even.gain.mean) < 0.12 and 0.1 < even.gain.high - even.gain.low < 0.2


def test_without_anybody_to_compare_with_there_is_a_value_and_no_gain() -> None:
    found = exploit.measure("particle/tag", {"max_cycles": 5}, load, "adversary", "random", {"good": "random"}, 10, 0)
    assert found.mirror is None and found.gain is None and found.games == 10


def test_a_snapshot_meets_the_newest_and_some_of_the_rest() -> None:
    assert spread(range(5), 8) == [0, 1, 2, 3, 4]
    assert spread(range(100), 8) == [0, 47, 94, 95, 96, 97, 98, 99]
    assert spread(range(100), 1) == [99]
    assert all(len(set(spread(range(n), k))) == min(n, k) for n in range(1, 30) for k in range(1, 12))
