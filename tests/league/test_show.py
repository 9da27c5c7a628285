"""What `marl league show` tells is what stands in the log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from environments.errors import UsageError
from league import show
from league.records import Match, Player, Seat
from league.skill import skills
from league.standings import standings
from league.store import Store
from marl.cli.main import main

BOT = Player(name="rusty", source="bot:board/tictactoe/perfect", roles=("side",), kind="bot")
MAIN = Player(name="main", source="main", roles=("side",), kind="main")


def snapshot(number: int, parent: int, **more: object) -> Player:
    made = Player(
        name=f"main-{number}", source="main", roles=("side",), kind="historical", parent=parent, steps=1000 * number
    )
    return replace(made, **more)  # type: ignore[arg-type]


def match(name: str, players: tuple[int, ...], outcome: tuple[float, ...], **more: object) -> Match:
    seats = tuple(Seat(team=team, role="side", player=number) for team, number in enumerate(players))
    made = Match(id=name, environment="x", digest="d", key=1, seats=seats, outcome=outcome, length=5)
    return replace(made, **more)  # type: ignore[arg-type]


def league(folder: Path) -> None:
    """A bot, a learner that loses to it at first and then wins, two snapshots: the newer one wins more."""
    with Store(folder) as store:
        bot, learner = store.add_player(BOT), store.add_player(MAIN)
        old, new = (store.add_player(snapshot(k, learner)) for k in (1, 2))
        store.record(
            match(f"learn-{k}", (learner, bot), (-1.0, 1.0) if k < 60 else (1.0, -1.0), learner=learner)
            for k in range(80)
        )
        store.record(match(f"past-{k}", (old, learner), (-1.0, 1.0), learner=learner) for k in range(3))
        store.record(match(f"a-{k}", (new, bot), (1.0, -1.0)) for k in range(9))
        store.record(match(f"b-{k}", (old, bot), (-1.0, 1.0)) for k in range(9))
        store.record([match("c", (new, bot), (0.0, 0.0)), match("d", (old, new), (0.0, 0.0), status="void")])


def test_lineage_ratings_and_what_was_learned(tmp_path: Path) -> None:
    league(tmp_path)
    with Store(tmp_path) as store:
        found = show.population(store)
    rows = {row["name"]: row for row in found["players"]}
    assert list(rows) == ["rusty", "main", "main-1", "main-2"] and found["rated"] == ["main-2", "rusty", "main-1"]
    assert [rows[name]["depth"] for name in rows] == [0, 0, 1, 1] and rows["main-2"]["parent"] == "main"
    assert rows["main-2"]["elo"] > rows["rusty"]["elo"] > rows["main-1"]["elo"] and "elo" not in rows["main"]
    assert rows["main-2"]["points"] == 9.5 and rows["main-2"]["games"] == 10
    assert rows["main"]["learned_from"] == 83 and rows["main"]["learning_points"] == pytest.approx(23 / 83)
    assert found["points"][0][1] == 9.5 and found["played"][0][2] == 0 and found["comparable"]


def test_rates_are_those_of_their_time_and_opponents(tmp_path: Path) -> None:
    league(tmp_path)
    with Store(tmp_path) as store:
        bots, past = show.rates(store)
    assert (bots.label, past.label) == ("main against bot", "main against past main")
    assert bots.matches[-1] == 80 and past.matches.tolist() == [83.0]
    assert (bots.rate[bots.matches <= 60] == 0).all() and (bots.rate[bots.matches > 60] == 1).all()
    assert (bots.low >= 0).all() and (bots.high <= 1).all() and (bots.low < bots.high).all()
    assert bots.low[-1] == pytest.approx(0.839, abs=1e-3)  # Wilson's interval of twenty wins in twenty games


def test_windows_hold_every_match_once() -> None:
    rng = np.random.default_rng(0)
    points = (rng.random(1000) < 0.7).astype(float)
    found = show.windows("x", np.arange(1, 1001), points)
    assert len(found.rate) == show.POINTS and found.rate.mean() == pytest.approx(points.mean())
    assert ((found.low < 0.7) & (found.high > 0.7)).mean() > 0.85


def test_the_table_and_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    league(tmp_path / "league")
    png, curves, file = tmp_path / "payoff.png", tmp_path / "rates.png", tmp_path / "all.json"
    words = [str(tmp_path / "league"), "--png", str(png), "--rates", str(curves), "--json", str(file)]
    assert main(["league", "show", *words]) == 0
    said = capsys.readouterr().out
    assert "  main-2" in said and "9.5/10" in said and "0.28 of 83" in said and "103 matches" in said
    for picture in (png, curves):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000
    told = json.loads(file.read_text())
    assert told["matches"] == 103 and told["win_rates"][0]["label"] == "main against bot"


def test_leagues_of_nobody_of_one_and_of_strangers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = ["--png", str(tmp_path / "a.png"), "--rates", str(tmp_path / "b.svg")]
    with Store(tmp_path / "league") as store:
        store.record([])
    (tmp_path / "league" / "journal.jsonl").touch()
    assert main(["league", "show", str(tmp_path / "league"), *pictures]) == 0
    said = capsys.readouterr().out
    assert "nobody has entered" in said and "no heat map" in said and "no win rates" in said
    assert not list(tmp_path.glob("*.png")) and not list(tmp_path.glob("*.svg"))
    with Store(tmp_path / "league") as store:
        store.add_player(BOT)
    assert main(["league", "show", str(tmp_path / "league"), *pictures]) == 0
    assert "rusty" in capsys.readouterr().out and (tmp_path / "a.png").exists()
    with Store(tmp_path / "league") as store:
        a, b, c, d = (store.add_player(replace(BOT, name=f"p{k}")) for k in range(4))
        store.record([match("a", (a, b), (1.0, 0.0)), match("b", (c, d), (1.0, 0.0))])
    assert main(["league", "show", str(tmp_path / "league")]) == 0
    said = capsys.readouterr().out
    assert "not comparable" in said and "island" in said and "circular" not in said


@pytest.mark.parametrize("words", [["nowhere"], ["nowhere", "--png", "a.gif"], ["nowhere", "--rates", "a.txt"], []])
def test_bad_input_is_one_line(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["league", "show", *(str(tmp_path / w) if w == "nowhere" else w for w in words)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_more_than_two_teams_have_a_skill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        a, b, c = (store.add_player(replace(BOT, name=name)) for name in "abc")
        store.record(match(f"{k}", (a, b, c), (3.0, 1.0, 2.0)) for k in range(20))
        found = {row["name"]: row["skill"] for row in standings(store)["players"]}
    assert found["a"]["mean"] > found["c"]["mean"] > found["b"]["mean"]
    assert all(skill["deviation"] < 25 / 3 for skill in found.values())
    assert main(["league", "show", str(tmp_path)]) == 0
    assert "skill" in capsys.readouterr().out


def test_what_says_nothing_of_skill_is_left_out() -> None:
    idle = [
        match("mirror", (1, 1, 1), (1.0, 0.0, 0.0)),
        match("void", (1, 2, 3), (0.0, 0.0, 0.0), status="void"),
        match("learned", (1, 2, 3), (1.0, 0.0, 0.0), learner=1),
    ]
    assert skills(idle) == {}
    several = skills([match("two seats", (1, 2, 2), (1.0, 0.0, 0.5))])
    alone = skills([match("one seat", (1, 2), (1.0, 0.25))])
    assert several == alone and several[1].mean > several[2].mean
    forfeit = skills([match("gave away", (1, 2), (1.0, -1.0), status="crash", offender=1)])
    assert forfeit[1].mean > forfeit[2].mean


def test_a_missing_league_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no league"):
        Store(tmp_path / "none", create=False)
