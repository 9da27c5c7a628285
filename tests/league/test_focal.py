"""Focal and background populations: who fills which slots, and what is counted for whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from league import focal
from league.contest import Game
from league.records import Match, Seat
from league.store import Store
from marl.cli.main import main

GOOD = "good=marl/policies/spread.safetensors"


@pytest.mark.parametrize(("count", "own"), [(2, 1), (3, 1), (5, 3)])
def test_every_slot_is_focal_equally_often(count: int, own: int) -> None:
    filled = np.array([focal.lineup(count, own, turn) for turn in range(count)])
    assert ((filled == 0).sum(0) == own).all() and ((filled == 0).sum(1) == own).all()
    assert len({tuple(row) for row in filled.tolist()}) == count


def test_outcomes_go_to_those_who_earned_them() -> None:
    seats = tuple(Seat(team=team, role="side", player=1) for team in range(3))
    match = Match(id="a", environment="x", digest="d", key=1, seats=seats, outcome=(6.0, 1.0, 2.0), length=1)
    assert focal.means(Game("a", 1, (0, 1, 1)), match) == (6.0, 1.5)
    assert focal.means(Game("a", 1, (1, 0, 0)), match) == (1.5, 6.0)
    assert focal.means(Game("a", 1, (0, 0, 0)), match) == (3.0, 3.0)


def test_the_summary_by_hand() -> None:
    scores = np.zeros((2, 2, 2, 4))
    scores[0, 1, 0], scores[0, 1, 1], scores[0, 0] = [1, 3, 1, 3], 7.0, 100.0
    found = focal.summary(scores, np.eye(2, dtype=bool))
    row = found["rows"][0]
    assert row["focal"] == 2.0 and row["background"] == 7.0 and found["focal_means"][0] == [100.0, 2.0]
    assert row["high"] - row["focal"] == pytest.approx(1.96 * np.std([1, 3, 1, 3], ddof=1) / 2, rel=1e-4)


def test_teams_with_a_stranger_among_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tournament", "particle/spread", "random", GOOD, "--focal", "1", "--games", "100"]
    files = ["--dir", str(tmp_path / "t"), "--csv", str(tmp_path / "t.csv"), "--png", str(tmp_path / "t.png")]
    assert main([*words, *files, "--json", str(tmp_path / "a.json")]) == 0
    assert "among random" in capsys.readouterr().out and (tmp_path / "t.png").stat().st_size > 5000
    table = json.loads((tmp_path / "a.json").read_text())
    bad, good = table["focal_means"]
    assert bad[0] < min(bad[1], good[0]) and max(bad[1], good[0]) < good[1]
    assert bad[1] > good[0] + 3  # one who errs among two who do not, or the other way round
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == "name,focal,low,high,background,random,good"
    with Store(tmp_path / "t") as store:
        alone = [seat.agents for match in store.matches() for seat in match.seats if len(seat.agents or ()) == 1]
        assert store.count() == 400 and {agents for agents in alone if agents} == {(f"agent_{k}",) for k in range(3)}
    assert main([*words, *files, "--json", str(tmp_path / "b.json")]) == 0
    assert json.loads((tmp_path / "b.json").read_text()) == table


def test_teams_are_slots_too(tmp_path: Path) -> None:
    words = ["tournament", "board/tictactoe", "random", "bot:board/tictactoe/perfect", "--focal", "1", "--games", "20"]
    assert main([*words, "--dir", str(tmp_path / "t"), "--json", str(tmp_path / "t.json")]) == 0
    table = json.loads((tmp_path / "t.json").read_text())
    random, perfect = table["players"]
    assert perfect["focal"] > 0.5 and perfect["background"] == -perfect["focal"] and random["focal"] < 0
    assert table["focal_means"][0][0] == 0.0  # both sides are one's own


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--focal", "3"], "--focal is 1 to 2"),
        (["--focal", "-1"], "--focal is 1 to 2"),
        (["--background", "good"], "needs --focal"),
        (["--focal", "1", "--background", "gooood"], "did you mean 'good'"),
        (["--focal", "1", "--background", "good", "--background", "random"], "nobody is measured"),
        (["--focal", "1", "--crossplay"], "no --crossplay"),
        (["cmd:true", "--focal", "1"], "is a program"),
    ],
)
def test_bad_input_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert main(["tournament", "particle/spread", "random", GOOD, *words, "--dir", str(tmp_path / "t")]) == 2
    said = capsys.readouterr().err
    assert why in said and len(said.strip().splitlines()) == 1 and not (tmp_path / "t").exists()
