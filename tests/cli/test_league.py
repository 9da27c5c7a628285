"""`marl league` from the command line: from beginning to end, killed and resumed, exploited; mistakes in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from league.store import Store
from marl.cli.main import main
from tests.league.leagues import Killed, remembered

TINY = [
    *("--num-envs", "8", "--rollout-length", "12", "--hidden", "8", "--threads", "1", "--epochs", "1"),
    *("--slice-steps", "96", "--snapshot-steps", "192", "--games", "2"),
]
BOARD, CONNECT = "board/tictactoe", "board/connect_four"


def league(folder: Path, *words: str, scenario: str = BOARD) -> int:
    return main(["league", "run", scenario, *TINY, "--dir", str(folder), *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leagues") / "done"
    assert league(folder, "--total-steps", "960", "--player", "perfect=bot:board/tictactoe/perfect") == 0
    return folder


def test_a_league_holds_snapshots_matches_and_given_players(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(finished) as store:
        players = {p.name: p for p in store.players().values()}
        games = store.results().games
    assert list(players) == ["perfect", "main", *(f"main-{k}" for k in range(6))]
    assert players["perfect"].kind == "bot" and players["main-5"].steps == 960
    order = list(players)
    assert games[order.index("main-0"), order.index("main-5")] == 2 and games[0, order.index("main-3")] == 2
    assert games[order.index("main")].sum() == 0  # what learns is not rated
    assert main(["league", "run", BOARD, "--dir", str(finished)]) == 2
    assert f"to go on with it: marl league resume {finished}" in capsys.readouterr().err
    assert main(["league", "resume", str(finished)]) == 0
    said = capsys.readouterr().out
    assert f"{finished} is finished: 960 of 960 steps" in said and "6 snapshots" in said
    for option, value, told in (("total-steps", "0", "at least 1"), ("device", "tpu", "cpu, cuda or cuda:N")):
        assert main(["league", "resume", str(finished), f"--{option}", value]) == 2
        assert capsys.readouterr().err.startswith(f"marl: --{option} must be {told}, not")
    for command in ("evaluate", "league show", "watch", "league resume"):
        assert f"marl {command} {finished}" in said
    assert main(["evaluate", str(finished), "--episodes", "4", "--threads", "1"]) == 0
    newest = ["--team", f"player_1=league:{finished}/main"]
    assert main(["evaluate", f"league:{finished}/main-0", *newest, "--episodes", "4", "--threads", "1"]) == 0
    assert main(["league", "show", str(finished)]) == 0
    shown = capsys.readouterr().out
    assert "main-5" in shown and "equilibrium: " in shown


def test_a_longer_league_is_the_shorter_one_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "parts"
    assert league(folder, "--total-steps", "192", "--plan", "pfsp") == 0
    assert main(["league", "show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "main-1" in shown and "equilibrium" not in shown, "of two, whoever is better"
    assert main(["league", "resume", str(folder), "--total-steps", "576"]) == 0
    with Store(folder) as store:
        assert [p.name for p in store.players().values()] == ["main", *(f"main-{k}" for k in range(4))]
    rows = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == [96 * k for k in range(1, 7)]


def test_kill_and_resume_end_where_nobody_was_killed(tmp_path: Path) -> None:
    words = ["--plan", "alphastar", "--total-steps", str(96 * 9), "--dir"]
    command = [sys.executable, "-m", "marl.cli.main", "league", "run", BOARD, *TINY, *words, str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(["league", "resume", str(tmp_path / "killed")]) == 0
    assert main(["league", "run", BOARD, *TINY, *words, str(tmp_path / "whole")]) == 0
    assert remembered(tmp_path / "killed") == remembered(tmp_path / "whole")


def test_an_exploiter_is_trained_and_its_gain_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "exploit"
    words = ["--budget", "2000", "--games", "100", "--dir", str(folder), "--num-envs", "8", "--threads", "1"]
    small = ["--rollout-length", "12", "--hidden", "8"]
    assert main(["league", "exploit", "bot:board/tictactoe/perfect", *words, *small]) == 0
    said = capsys.readouterr().out
    assert "budget    2" in said and "gain " in said and "mirror" in said
    found = json.loads((folder / "exploit.json").read_text())
    assert found["games"] == 100 and found["mirror"][0] == 0.0 and found["gain"] == found["value"]
    assert found["gain"][2] < 0  # nobody beats perfect play
    with Store(folder) as store:
        target = next(number for number, p in store.players().items() if p.name == "target")
        trained_on = [match for match in store.matches() if match.learner is not None]
        assert trained_on and all(target in {seat.player for seat in match.seats} for match in trained_on)


def test_one_team_is_a_league_of_mixed_teams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "together"
    words = ["--plan", "fictitious", "--mixed-teams", "0.9", "--env.max-cycles", "4", "--total-steps", "192"]
    assert league(folder, *words, scenario="particle/spread") == 0
    assert main(["league", "show", str(folder), "--rates", str(tmp_path / "rates.png")]) == 0
    said = capsys.readouterr().out
    assert "main-1" in said and "nobody has learned from a match of whole teams" in said
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row["main/mixed"] > 0 and row["main/mixed_outcome"] < 0 for row in rows)


def test_a_snapshot_that_was_tampered_with_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "league"
    assert league(folder, "--total-steps", "192") == 0
    for snapshot in (folder / "snapshots").iterdir():
        snapshot.write_bytes(snapshot.read_bytes()[:-1] + b"x")
    assert main(["evaluate", f"league:{folder}/main-0"]) == 3
    assert "its content was changed" in capsys.readouterr().err
    assert main(["league", "resume", str(folder), "--total-steps", "960"]) == 3
    assert "its content was changed" in capsys.readouterr().err


def test_a_league_that_was_killed_before_its_players_were_copied_does_not_go_on_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "league"
    with monkeypatch.context() as patch:
        patch.setattr("marl.cli.league_work._copied", nobody_is_left)
        with pytest.raises(Killed):
            league(folder, "--total-steps", "192", "--player", "random")
    assert main(["league", "resume", str(folder)]) == 3
    assert "it has no given players" in capsys.readouterr().err


def nobody_is_left(*_: object) -> str:
    raise Killed


def test_a_damaged_database_is_made_again_with_equal_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "league"
    assert league(folder, "--total-steps", "192") == 0
    with Store(folder) as store:
        before = store.count(), store.results().games.tolist()
    (folder / "league.db").write_bytes(b"not a database at all" * 100)
    assert main(["league", "resume", str(folder), "--total-steps", "288"]) == 0
    assert "was damaged" in capsys.readouterr().out
    with Store(folder) as store:
        assert store.count() >= before[0]
        played = [match for match in store.matches() if match.learner is None]
        assert len(played) >= sum(map(sum, before[1])) // 2
    assert list(folder.glob("league.db.damaged-*"))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["league"], 2, ""),
        (["league", "walk"], 2, "unknown subcommand 'walk'"),
        (["league", "run"], 2, "league run needs SCENARIO first"),
        (["league", "run", "particle/spread"], 2, "has one team, which meets nobody: marl train, or --plan fictitious"),
        (
            ["league", "run", "particle/spread", "--mixed-teams", "1", "--plan", "pfsp"],
            2,
            "pfsp goes by who beats whom",
        ),
        (["league", "run", "particle/spread", "--mixed-teams", "1", "--latest", "1"], 2, "nobody but the learner"),
        (["league", "run", BOARD, "--mixed-teams", "0.5"], 2, "teams of board/tictactoe have one agent"),
        (["league", "run", "particle/tag", "--mixed-teams", "0.5", "--plan", "psro"], 2, "or take --plan fictitious"),
        (["league", "run", BOARD, "--plan", "psr"], 2, "--plan cannot be 'psr'; did you mean psro?"),
        (["league", "run", BOARD, "--latest", "2"], 2, "--latest must be 0 to 1, not 2"),
        (["league", "run", BOARD, "--games", "3"], 2, "--games must be even"),
        (["league", "run", BOARD, "--algorithm", "ipo"], 2, "did you mean 'ippo'?"),
        (["league", "run", BOARD, "--player", "bot:board/tictactoe/perfectt"], 2, "unknown bot"),
        (["league", "run", BOARD, "--player", "cmd:true"], 2, "leagues train with policies and bots"),
        (["league", "run", BOARD, "--team", "player=random"], 2, "--team takes NAME=ALGORITHM here"),
        (["league", "run", "matrix/matching_pennies", "--plan", "psro", "--meta", "alpha-rank"], 2, "for one kind"),
        (
            ["league", "run", BOARD, "--player", "main-7=random"],
            2,
            "the learner 'main' and its snapshots are called so",
        ),
        (["league", "run", BOARD, "--bot-share", "0.5"], 2, "--bot-share is of players given by --player"),
        (["league", "run", BOARD, "--plan", "psro", "--bot-share", "0.5"], 2, "leave --bot-share out"),
        (["league", "resume", "nowhere"], 2, "there is no run at nowhere"),
        (["league", "exploit"], 2, "league exploit needs PLAYER first"),
        (["league", "exploit", "nobody"], 2, "there is no run, policy or scenario 'nobody'"),
        (["league", "exploit", "bot:foraging/nearest"], 2, "unknown"),
        (["evaluate", "league:nowhere/main"], 2, "there is no league in nowhere; write league:DIR/ID"),
    ],
)
def test_mistakes_are_one_line(words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    said = capsys.readouterr().err
    assert told in said and said.count("\n") <= 1 and "bug" not in said


def test_a_player_that_does_not_fit_is_named_with_both_spaces(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["league", "run", CONNECT, "--player", f"league:{finished}/main", "--dir", str(tmp_path / "x")]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert (
        f"league:{finished}/main cannot play 'player'" in said and said.count("space is") == 1 and "'s is Box" in said
    )
    assert main(["evaluate", CONNECT, "--team", f"player_0=league:{finished}/nobody"]) == 2
    assert "has no player 'nobody'" in capsys.readouterr().err
    assert main(["resume", str(finished)]) == 2
    assert "is a league: marl league resume" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        ([], "run"),
        (["run"], "--plan alphastar"),
        (["run", BOARD], "--snapshot-steps"),
        (["resume"], "--total-steps"),
        (["exploit"], "lower bound"),
        (["exploit", "random"], "--budget"),
    ):
        assert main(["league", *words, "--help"]) == 0
        assert told in capsys.readouterr().out
