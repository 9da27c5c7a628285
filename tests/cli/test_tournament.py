"""`marl tournament`: a table that can be repeated, goes on where it stopped, and refuses in one line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from environments.external import named
from league.store import Store
from marl import files
from marl.cli import plan
from marl.cli.main import main
from marl.cli.tournament import enter, identity
from marl.policy import Policy
from marl.policy_spec import PolicySpec

PLAYERS = str(Path(__file__).parents[1] / "league" / "players.py")
PERFECT = "bot:board/tictactoe/perfect"


def hold(tmp_path: Path, *words: str, to: str = "table.json") -> dict[str, Any]:
    assert main(["tournament", *words, "--json", str(tmp_path / to)]) == 0
    table: dict[str, Any] = json.loads((tmp_path / to).read_text())
    return table


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["tournament", *words]) == 2
    told = capsys.readouterr()
    assert len(told.err.strip().splitlines()) == 1 and not told.out
    return told.err


def test_the_table_is_written_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("board/tictactoe", "random", f"best={PERFECT}", f"first={PLAYERS}:FirstLegal", "--games", "6")
    files = ("--csv", str(tmp_path / "t.csv"), "--png", str(tmp_path / "t.png"), "--dir", str(tmp_path / "t"))
    table = hold(tmp_path, *words, *files, "--record", "2")
    told = capsys.readouterr().out
    assert all(word in told for word in ("best", "likeliest", str(tmp_path / "t"), "exploited", "equilibrium"))
    assert table["players"][0]["name"] == "best"
    assert sum(row["games"] for row in table["players"]) == 2 * 18
    assert table["comparable"] and table["voids"] == 0 and sum(table["nash"]) == pytest.approx(1.0)
    for row, points, games in zip(table["players"], table["points"], table["played"], strict=True):
        assert sum(points) == row["points"] and sum(games) == row["games"] == row["wins"] + row["draws"] + row["losses"]
        assert row["low"] < row["elo"] < row["high"]
    lines = list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
    assert [line[0] for line in lines[1:]] == [row["name"] for row in table["players"]]
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "t" / "replays").glob("*.replay"))) == 6


def test_the_same_command_goes_on_and_then_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("board/tictactoe", "random", PERFECT, "--games", "4", "--dir", str(tmp_path / "t"))
    first = hold(tmp_path, *words)
    told = capsys.readouterr().out
    assert "(return: mean outcome of 4 matches)" in told
    assert "exploited" not in told and "equilibrium" not in told, "these say nothing where two have met"
    log = (tmp_path / "t" / "journal.jsonl").read_bytes()
    assert hold(tmp_path, *words, to="again.json") == first
    assert (tmp_path / "t" / "journal.jsonl").read_bytes() == log


def test_a_killed_tournament_goes_on_to_the_same_log(tmp_path: Path) -> None:
    """kill -9 in the middle, with slow players; then the same command again."""
    names = [f"a={PLAYERS}:FirstLegal", f"b={PLAYERS}:SeededRandom", "random", PERFECT]
    words = [sys.executable, "-m", "marl.cli.main", "tournament", "board/tictactoe", *names, "--games", "12", "--dir"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen([*words, "cut"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    journal = tmp_path / "cut" / "journal.jsonl"
    for _ in range(600):
        time.sleep(0.1)
        if journal.exists() and b'"match"' in journal.read_bytes():
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with Store(tmp_path / "cut") as store:
        assert 0 < store.count() <= 72
    for folder in ("cut", "whole"):
        assert subprocess.run([*words, folder], cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    logs = []
    for folder in ("cut", "whole"):
        with Store(tmp_path / folder) as store:
            logs.append(list(store.matches()))
    assert logs[0] == logs[1] and len(logs[0]) == 72


def test_runs_and_policies_take_the_sides_that_they_can(tmp_path: Path) -> None:
    chasers, runners = (f"marl/policies/tag-{side}.safetensors" for side in ("adversary", "good"))
    table = hold(
        tmp_path, "particle/tag", chasers, runners, "random", "--games", "4", "--dir", str(tmp_path / "t"),
        "--format", "round-robin",
    )  # fmt: skip
    games = {row["name"]: row["games"] for row in table["players"]}
    assert games == {chasers: 8, runners: 8, "random": 8}
    with Store(tmp_path / "t") as store:
        players = {player.name: player for player in store.players().values()}
        assert players[chasers].roles == ("adversary",) and players["random"].roles == ("adversary", "good")
        assert len(list((tmp_path / "t" / "snapshots").iterdir())) == 2


@pytest.mark.parametrize(("words", "about"), [
    (["board/tictactoe", "random"], "at least two"),
    (["board/tictactoe", "random", "random"], "two players are called"),
    (["board/tictactoe", "a=random", "b=random", "--games", "2"], "the same player"),
    (["board/tictactoe", "random", "bot:board/tictactoe/perfekt"], "perfect"),
    (["board/tictactoe", "random", "nowhere.safetensors"], "unknown player"),
    (["board/tictactoe", "random", "no.such.module:Player"], "no.such"),
    (["board/tictactoe", "random", "cmd:./nothing"], "no program"),
    (["board/tictactoe", "random", PERFECT, "--games", "3"], "even"),
    (["board/tictactoe", "random", PERFECT, "--format", "knockout"], "format"),
    (["board/tictactoe", "random", PERFECT, "--workers", "0"], "workers"),
    (["board/tictactoe", "random", PERFECT, "--move-timeout", "0"], "--move-timeout"),
    (["board/connect_four", "random", PERFECT], "plays board/tictactoe"),
    (["board/tictactoe", "random", PERFECT, "--sprt", "35,0"], "the lower first"),
    (["board/tictactoe", "random", PERFECT, f"{PLAYERS}:FirstLegal", "--sprt", "0,35"], "two players"),
    (["board/tictactoe", "random", PERFECT, "--interval", "-3"], "above 0"),
    (["particle/spread", "random", "marl/policies/spread.safetensors"], "one team; a tournament is played between two"),
    (["board/tictactoe", "random", PERFECT, "--crossplay"], "--crossplay is for one"),
    (["particle/spread", "random", f"{PLAYERS}:FirstLegal", "--crossplay"], "is a program"),
    (["board/tiktaktoe", "random", PERFECT], "board/tictactoe"),
    (["board/tictactoe", "=random", PERFECT], "NAME=PLAYER"),
    (["board/tictactoe", "random", ""], "NAME=PLAYER"),
    (["board/tictactoe", "random", "cmd:./nothing --depth=4"], "no program './nothing'"),
    (["board/tictactoe", "random", "pyspiel:greenberg"], "plays roshambo/repeated"),
    (["board/tictactoe", "random", PERFECT, "--sprt", "0,200000"], "from -4000 to 4000"),
    (["board/tictactoe", "random", PERFECT, "--sprt", "0,35", "--interval", "20"], "no --interval"),
    (["board/tictactoe", "random", PERFECT, "--sprt", "0,35", "--format", "swiss"], "no other --format"),
    (["board/tictactoe", "random", PERFECT, "--interval", "nan"], "above 0"),
    (["particle/simple", "random", "a=random", "--crossplay"], "one agent"),
    (["particle/simple", "random", "a=random", "--focal", "1"], "one agent"),
])  # fmt: skip
def test_bad_input_is_one_line_and_starts_nothing(
    words: list[str], about: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert about in refused(capsys, *words, "--dir", str(tmp_path / "t"))
    assert not (tmp_path / "t" / "journal.jsonl").exists()


def test_a_sequential_test_and_an_interval_stop_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("board/tictactoe", PERFECT, "random")
    tested = hold(tmp_path, *words, "--sprt", "0,35", "--games", "1000", "--dir", str(tmp_path / "a"))
    assert tested["test"]["verdict"] == "stronger" and tested["players"][0]["games"] == 64
    assert f"{PERFECT} is stronger" in capsys.readouterr().out
    words = (*words, "--interval", "120", "--games", "20", "--most-games", "400")
    known = hold(tmp_path, *words, "--dir", str(tmp_path / "b"))
    best = known["players"][0]
    assert "120 were wanted\n" in capsys.readouterr().out
    assert 20 <= best["games"] < 400 and best["games"] % 20 == 0 and (best["high"] - best["low"]) / 2 <= 120


def test_crossplay_measures_what_strangers_lose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("particle/spread", "random", "marl/policies/spread.safetensors", "--crossplay", "--games", "100")
    table = hold(tmp_path, *words, "--dir", str(tmp_path / "t"), "--png", str(tmp_path / "t.png"))
    assert "with strangers" in capsys.readouterr().out
    (bad, mixed), (again, good) = table["means"]
    assert mixed == again and bad < mixed < good
    assert table["gap"] == pytest.approx((bad + good) / 2 - mixed) and table["low"] < table["gap"] < table["high"]
    with Store(tmp_path / "t") as store:
        for match in store.matches():
            played = sorted(agent for seat in match.seats for agent in seat.agents or ())
            assert played == ["agent_0", "agent_1", "agent_2"]
        assert store.count() == 300 and store.results().games.sum() == 0
    assert hold(tmp_path, *words, "--dir", str(tmp_path / "t"), to="b.json") == table


def test_a_folder_of_another_tournament_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold(tmp_path, "board/tictactoe", "random", PERFECT, "--games", "2", "--dir", str(tmp_path / "t"))
    capsys.readouterr()
    again = ("board/tictactoe", "random", PERFECT, "--games", "4", "--dir", str(tmp_path / "t"))
    assert "another tournament (games differ)" in refused(capsys, *again)


def test_a_class_that_was_edited_is_another_player(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its games and those of what it was are not one player's, nor are they put into one table."""
    code = tmp_path / "mine.py"
    code.write_text("class Mine:\n    def act(self, obs, mask):\n        return int(mask.argmax())\n")
    words = ("board/tictactoe", f"mine={code}:Mine", "random", "--games", "2")
    hold(tmp_path, *words, "--dir", str(tmp_path / "t"))
    capsys.readouterr()
    code.write_text(code.read_text().replace("argmax()", "argmin()"))
    assert "another tournament (code differ)" in refused(capsys, *words, "--dir", str(tmp_path / "t"))
    entered = enter(words[1:3], plan.describe("board/tictactoe", {}), programs_too=True)
    assert identity(entered["mine"]) == f"{code}:Mine {files.sha256(code)}"
    assert "is a file" in refused(capsys, *words, "--dir", str(code))


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("pettingzoo:pettingzoo.classic.tictactoe_v3", ["--workers", "2"]),
        ("tests.environments.external.arenas:Duel", [f"first={PLAYERS}:FirstLegal"]),
    ],
)
def test_somebody_elses_game(scenario: str, words: list[str], tmp_path: Path) -> None:
    Policy(PolicySpec.of(named.describe(scenario, {}), "player", hidden=(8,))).save(tmp_path / "net.safetensors")
    entered = [scenario, f"net={tmp_path / 'net.safetensors'}", "random", *words]
    table = hold(tmp_path, *entered, "--games", "6", "--dir", str(tmp_path / "t"))
    assert {"net", "random"} <= {row["name"] for row in table["players"]} and table["voids"] == 0
    with Store(tmp_path / "t") as store:
        matches = list(store.matches())
    pairs = len(table["players"]) * (len(table["players"]) - 1) // 2
    assert len(matches) == 6 * pairs and any(match.outcome[0] for match in matches)
    assert all(match.status == "normal" and match.outcome[0] == -match.outcome[1] for match in matches)
    first = [match.seats[0].player for match in matches]
    assert {first.count(player) for player in first} == {len(matches) // len(table["players"])}  # both sides alike
