"""A person in a tournament: asked match after match, in whichever seat; the window is played by a test."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from environments.errors import UsageError
from league.store import Store
from marl.cli import person
from marl.cli.main import main
from marl.cli.plan import describe
from viz.scene import Text
from viz.table import AtTable

CUP = ["tournament", "board/tictactoe", "human", "bot:board/tictactoe/perfect"]


def written(shown: AtTable) -> str:
    return " | ".join(shape.text for pane in shown.page() for shape in pane.scene.shapes if isinstance(shape, Text))


class Robot:
    """Takes the first legal action of the list, goes on after every match, and notes what it was shown."""

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.sides: list[str | None] = []
        self.ends: list[str] = []
        self.titles: set[str] = set()

    def __call__(self, shown: Any, title: str) -> None:
        assert isinstance(shown, AtTable)
        self.titles.add(title)
        moves, until = 0, time.monotonic() + 60
        while not shown.quit and time.monotonic() < until:
            shown.advance(0.05)
            assert shown.page()
            if shown.table.resting:
                shown.look()
                self.ends.append(written(shown))
                shown.press("4")
                assert shown.table.resting, "a key too many is no consent"
                shown.press("return")
                while shown.table.resting:
                    time.sleep(0.001)
            elif shown.table.asked:
                self.sides.append(shown.table.human)
                self.titles.add(written(shown).split(" | ")[0])
                if moves == self.patience:
                    shown.escape()
                    return
                shown.press("tab")
                shown.press("return")
                shown.advance(0.05)
                moves += 1
            else:
                time.sleep(0.001)
        assert shown.quit


def window(monkeypatch: pytest.MonkeyPatch, robot: Robot) -> Robot:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("viz.screen.window.watch", robot)
    return robot


def test_a_person_meets_everybody_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = window(monkeypatch, Robot())
    folder, table = tmp_path / "cup", tmp_path / "table.json"
    words = ["--games", "2", "--record", "1", "--dir", str(folder), "--json", str(table)]
    assert main([*CUP, "random", *words]) == 0
    assert set(robot.sides) == {"player_0", "player_1"} and len(robot.ends) == 4
    assert all("return goes on" in end for end in robot.ends)
    rows = {row["name"]: row for row in json.loads(table.read_text())["players"]}
    assert rows["human"]["games"] == 4 and rows["human"]["forfeits"] == {}
    with Store(folder, create=False) as store:
        mine = next(number for number, player in store.players().items() if player.name == "human")
        games = [match for match in store.matches() if any(seat.player == mine for seat in match.seats)]
        assert len(games) == 4 and all(match.status == "normal" for match in games)
        for match in games:
            if match.replay is not None:
                assert main(["verify", str(folder / match.replay)]) == 0
    assert main([*CUP, "random", *words]) == 0, "all is played: nobody is asked again"
    assert len(robot.ends) == 4


def test_who_closes_the_window_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*CUP, "--games", "2", "--dir", str(tmp_path / "cup")]
    window(monkeypatch, Robot(patience=1))
    assert main(words) == 130
    with Store(tmp_path / "cup", create=False) as store:
        assert store.count() == 0
    robot = window(monkeypatch, Robot())
    assert main(words) == 0 and len(robot.ends) == 2


def test_the_window_names_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = window(monkeypatch, Robot(patience=1))
    assert main(["tournament", "board/hex-3", "human", "random", "--games", "2", "--dir", str(tmp_path / "cup")]) == 130
    assert robot.titles == {"board/hex-3", "board/hex-3 — player_0"}


def test_a_person_plays_one_agent() -> None:
    assert person.kinds(describe("board/tictactoe", {})) == ["player"]
    assert person.kinds(describe("particle/tag", {})) == ["good"], "of the pursuers there are three"
    with pytest.raises(UsageError, match="a person plays one agent, and every team of particle/spread has more"):
        person.kinds(describe("particle/spread", {}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*CUP, "--workers", "2"], "a person plays in one process"),
        ([*CUP, "me=human"], "are the same player"),
        (["tournament", "particle/spread", "human", "random", "--crossplay"], "human is a person"),
    ],
)
def test_what_a_person_cannot_do(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_without_a_display(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert main([*CUP, "--dir", str(tmp_path / "cup")]) == 2
    assert "no display" in capsys.readouterr().err
