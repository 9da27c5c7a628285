"""`bot:NAME` wherever a player may be named: in training, in evaluations, in one seat of two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import replay
from environments.bots import BOTS
from marl import runs
from marl.cli.main import main

PERFECT = "bot:board/tictactoe/perfect"
SMALL = ["--num-envs", "4", "--rollout-length", "18", "--hidden", "8", "--threads", "1", "--total-steps", "144"]


def measure(*words: str, to: Path) -> dict[str, Any]:
    assert main(["evaluate", *words, "--episodes", "60", "--threads", "1", "--json", str(to)]) == 0
    result: dict[str, Any] = json.loads(to.read_text())
    return result


def test_bots_are_measured(tmp_path: Path) -> None:
    found = measure("board/tictactoe", "--team", f"player={PERFECT}", "--record", "1", to=tmp_path / "a.json")
    assert found["teams"]["player_0"]["mean"] == 0 and found["metrics"]["first_wins"]["mean"] == 0
    assert found["players"] == {"player": {"player": PERFECT}}
    recorded = replay.load(found["replays"][0])
    assert recorded.header["policies"] == {"player": {"player": PERFECT}}
    assert main(["verify", found["replays"][0]]) == 0


@pytest.mark.parametrize(("seat", "metric"), [(0, "first_wins"), (1, "second_wins")])
def test_the_teams_of_a_kind_may_have_different_players(seat: int, metric: str, tmp_path: Path) -> None:
    found = measure("board/tictactoe", "--team", f"player_{seat}={PERFECT}", to=tmp_path / "a.json")
    assert found["teams"][f"player_{seat}"]["mean"] > 0.5
    assert found["metrics"][metric]["mean"] > 0.5
    assert found["players"] == {f"player_{seat}": {"player": PERFECT}, f"player_{1 - seat}": {"player": "random"}}
    both = [f"player_{seat}={PERFECT}", "player=random"]  # the last that is said of a seat counts
    again = measure("board/tictactoe", "--team", both[0], "--team", both[1], to=tmp_path / "b.json")
    assert again["players"] == {"player": {"player": "random"}}


def test_bots_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "bots"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1 + len(BOTS) and all(len(line.split()) > 1 for line in told[1:])
    assert any(line.startswith(PERFECT) and "best result that can be forced" in line for line in told)


def opposite(obs: np.ndarray, mask: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
    """A bot for these tests: the side of the coin that it did not show last."""
    return np.argmin(obs[:, :2], 1).astype(np.int32)


def test_a_bot_is_trained_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOTS, "matrix/matching_pennies/opposite", f"{__name__}:opposite")
    folder = tmp_path / "run"
    words = ["--env.memory", "true", "--team", "odd=bot:matrix/matching_pennies/opposite", "--run-dir", str(folder)]
    assert main(["train", "ippo", "matrix/matching_pennies", *SMALL, *words]) == 0
    run = runs.open_run(folder)
    assert run.config["teams"]["odd"] == {"player": "bot:matrix/matching_pennies/opposite"}
    assert [path.stem for path in (folder / "policies").iterdir()] == ["even"] and not (folder / "players").exists()
    assert main(["resume", str(folder), "--total-steps", "288"]) == 0
    assert measure(str(folder), to=tmp_path / "a.json")["players"]["odd"] == {
        "player": "bot:matrix/matching_pennies/opposite"
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["board/tictactoe", "--team", "player=bot:board/tictactoe/perfct"], "did you mean 'board/tictactoe/perfect'?"),
        (
            ["board/connect_four", "--team", f"player={PERFECT}"],
            "bot:board/tictactoe/perfect plays board/tictactoe, not board/connect_four",
        ),
        (["board/tictactoe", "--team", "player_2=random"], "board/tictactoe has no team 'player_2'"),
    ],
)
def test_what_cannot_play_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wide", r"its actions are not Discrete\(9\)"),
        ("short", r"its actions are not Discrete\(9\)"),
        ("reads", "reads observations of 84 columns"),
    ],
)
def test_a_bot_of_other_spaces_is_refused(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "environments.games.board.bots:depth_1" if name == "reads" else f"{__name__}:{name}"
    monkeypatch.setitem(BOTS, "board/tictactoe/odd", place)
    assert main(["train", "ippo", "board/tictactoe", "--team", "player=bot:board/tictactoe/odd"]) == 2
    said = capsys.readouterr().err
    assert "every team is a fixed player" in said and said.count("\n") == 1
    assert main(["evaluate", "board/tictactoe", "--team", "player_1=bot:board/tictactoe/odd"]) == 2
    said = capsys.readouterr().err
    assert told.replace("\\", "") in said and said.count("\n") == 1


def wide(obs: np.ndarray, mask: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
    """Answers with an action that there is not."""
    return np.full(len(obs), 9, np.int32)


def short(obs: np.ndarray, mask: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
    """Answers with two numbers."""
    return np.zeros((len(obs), 2), np.int32)
