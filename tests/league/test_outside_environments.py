"""Leagues in other people's environments: killed and resumed, mixed teams, and one that does not repeat itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from league.store import Store
from marl.cli.main import main
from tests.league.leagues import Killed, config, killing, play, remembered, workshop
from tests.league.ropes import KNOT, ROPE
from tests.source import ROOT

TINY = [
    *("--num-envs", "4", "--rollout-length", "12", "--hidden", "8", "--threads", "1", "--epochs", "1"),
    *("--slice-steps", "48", "--snapshot-steps", "96", "--games", "2"),
]


def test_a_league_in_somebody_elses_environment_goes_on_as_if_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = workshop(ROPE, length=5)
    settings = config("fictitious", turns=6, mixed_teams=0.5, games=2)
    play(tmp_path / "whole", settings, shop)
    for after in (7, 4):
        with killing(monkeypatch, after), pytest.raises(Killed):
            play(tmp_path / "killed", settings, shop)
    play(tmp_path / "killed", settings, shop)
    assert remembered(tmp_path / "killed") == remembered(tmp_path / "whole")
    with Store(tmp_path / "whole") as store:
        matches = list(store.matches())
    assert {match.length for match in matches} == {5} and {match.environment for match in matches} == {ROPE}
    assert any(seat.agents for match in matches for seat in match.seats)
    assert any(match.learner is None for match in matches)


def test_what_cannot_be_saved_in_the_middle_begins_anew_with_others(tmp_path: Path) -> None:
    """Episodes that were broken off at the end of a turn are no matches, and those after them have their own length."""
    shop = workshop(KNOT, length=5)
    assert not shop.spec.can_capture
    play(tmp_path, config("fictitious", turns=6, games=0, slice_steps=96), shop)
    with Store(tmp_path) as store:
        matches = list(store.matches())
    assert len(matches) > 60 and {match.length for match in matches} == {5}
    assert len({match.id for match in matches}) == len(matches)


def test_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    folder, snapshot = tmp_path / "league", f"league:{tmp_path / 'league'}/red.main-0"
    words = ["league", "run", ROPE, *TINY, "--env.length", "3", "--total-steps", "192", "--dir", str(folder)]
    assert main([*words, "--player", "wild=random"]) == 0
    assert "teams     red: red_0 red_1; blue: blue_0 blue_1" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["options"] == {"length": 3}
    assert main(["league", "resume", str(folder), "--total-steps", "288"]) == 0
    assert main(["league", "show", str(folder)]) == 0
    assert "red.main-2" in capsys.readouterr().out
    with Store(folder) as store:
        assert {match.length for match in store.matches()} == {3}
    exploit = ["league", "exploit", snapshot, "--budget", "96", "--games", "4", *TINY[:10], "--dir"]
    assert main([*exploit, str(tmp_path / "refused")]) == 3  # a policy's file does not choose what is run
    assert f"names code to run, {ROPE}" in capsys.readouterr().err
    assert main([*exploit, str(tmp_path / "exploiter"), "--environment", ROPE]) == 0
    capsys.readouterr()
    measured = json.loads((tmp_path / "exploiter" / "exploit.json").read_text())
    assert measured["kind"] == "blue" and measured["games"] == 4
    for wrong, told in (
        (["--teams", "nobody=x"], "nobody"),
        (["--env.width", "3"], "width"),
        (["--teams", "one"], "one team"),
    ):
        assert main([*words[:3], *wrong, "--dir", str(tmp_path / "none")]) == 2
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1 and not (tmp_path / "none").exists()
