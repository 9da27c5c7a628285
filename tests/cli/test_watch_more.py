"""`marl watch` beyond one file: runs that are followed, leagues that are looked through, and what if."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from environments import replay
from environments.errors import UsageError
from environments.replay import verify
from league.store import Store
from marl import runs
from marl.cli import browse, live, what_if
from marl.cli.main import main
from tests.recording import record
from viz.live import Live
from viz.menu import Menu
from viz.playing import Playing
from viz.ready import GETTING_READY, Ready
from viz.viewer import Viewer


@pytest.fixture
def tournament(tmp_path: Path) -> Path:
    """Three players who met; one game of each pairing was recorded."""
    words = ["random", "bot:board/tictactoe/perfect", "other=bot:board/tictactoe/perfect"][:2]
    folder = tmp_path / "cup"
    assert main(["tournament", "board/tictactoe", *words, "--games", "2", "--record", "1", "--dir", str(folder)]) == 0
    return folder


def open_file(path: Path) -> Viewer:
    return Viewer(replay.load(path))


def choose(menu: Menu, title: str, detail: str = "") -> Any:
    menu.at = next(i for i, entry in enumerate(menu.entries) if entry[:2] == (title, detail or entry.detail))
    menu.press("return")
    while not menu.quit and menu.note.startswith(GETTING_READY):
        menu.advance(0.01)
    assert not menu.note, menu.note
    return menu.opened()


def ask(viewer: Viewer) -> Menu:
    """What w opens, once it is ready."""
    assert viewer.press("w")
    ready = viewer.opened()
    assert isinstance(ready, Ready)
    while not ready.quit:
        ready.advance(0.01)
        assert not ready.error
    menu = ready.opened()
    assert isinstance(menu, Menu)
    return menu


def test_a_league_is_looked_through(tournament: Path) -> None:
    assert browse.is_league(tournament) and not browse.is_league(tournament.parent)
    with Store(tournament, create=False) as store:
        menu = browse.Browser(store, open_file).menu()
        titles = [entry.title for entry in menu.entries]
        assert titles[1:3] == ["bot:board/tictactoe/perfect", "random"] and len(titles) == 5
        assert "2 matches, 1 with replays" in menu.hint and "Elo" in menu.entries[1].detail
        shown = choose(menu, titles[4])
        assert isinstance(shown, Viewer) and shown.replay.spec.name == "board/tictactoe"
        matches = choose(menu, "random")
        assert isinstance(matches, Menu) and len(matches.entries) == 2
        assert sum(entry.open is not None for entry in matches.entries) == 1
        for path in (tournament / "replays").iterdir():
            path.unlink()
        menu.at = 4
        menu.press("return")
        assert "cannot read" in menu.note and menu.opened() is None


def test_without_a_display_a_league_is_listed(
    tournament: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    capsys.readouterr()
    assert main(["watch", str(tournament)]) == 0
    said = capsys.readouterr().out
    assert "random" in said and "2 matches, 1 with replays" in said and "--gif" in said
    (kept,) = (tournament / "replays").iterdir()
    assert str(kept) in said


def run_folder(folder: Path) -> runs.Run:
    train = {"seed": 0, "total_steps": 100_000, "eval_every": 100}
    config = {"scenario": "particle/spread", "algorithm": "ippo", "teams": {}, "train": train}
    return runs.create(folder, config, ["marl"])


def test_a_run_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_folder(tmp_path / "run")
    with pytest.raises(UsageError, match="there is no replay"):
        live.follow(run.folder, open_file)
    lock = runs.Lock(run)
    shown = live.follow(run.folder, open_file)
    assert shown.viewer is None and live.status(run).startswith("training: no step yet")
    run.metrics.write_text(json.dumps({"step": 12000, "eval/return": -3.5}) + '\n{"step": 13')
    assert live.status(run) == "training: step 12,000, return -3.50"
    record("particle/spread").save(run.replays / "step-1.replay")
    shown.advance(1.1)
    assert shown.viewer is not None
    lock.release()
    assert live.status(run).startswith("not training")
    seen: list[Live] = []
    monkeypatch.setattr("viz.screen.window.watch", lambda shown, title: seen.append(shown))
    assert main(["watch", str(run.folder)]) == 0
    assert [path.name for path in seen[0].files] == ["step-1.replay"]
    assert seen[0].viewer is not None and seen[0].viewer.press("w"), "what if is a key of every viewer"


@pytest.fixture
def viewer(tmp_path: Path) -> Viewer:
    """A recorded game of which two steps have been watched."""
    assert main(["evaluate", "board/tictactoe", "--episodes", "1", "--record", "1", "--out", str(tmp_path)]) == 0
    path = tmp_path / "evaluation-0-0.replay"
    recorded = replay.load(path)
    viewer = Viewer(recorded, extras=[what_if.extra(path, recorded)])
    viewer.playback.pause()
    viewer.playback.seek(2)
    return viewer


def test_what_if_others_had_gone_on(viewer: Viewer, tmp_path: Path) -> None:
    menu = ask(viewer)
    assert "from step 2" in menu.title
    shown = choose(menu, "player is played by", "bot:board/tictactoe/perfect")
    assert isinstance(shown, Viewer) and menu.quit and shown.playback.frame == 2 and len(shown.takes) == 2
    fork = replay.load(tmp_path / "forks" / "evaluation-0-0-fork-2.replay")
    assert verify(fork).exact and fork.parent == (viewer.replay.identity, 2)
    again = ask(shown)
    assert "evaluation-0-0-fork-2-fork-2.replay" in again.hint


def test_what_if_luck_had_been_another(viewer: Viewer) -> None:
    shown = choose(ask(viewer), "the same players, other luck")
    assert shown.replay.identity != viewer.replay.identity and shown.replay.parent.step == 2


def test_what_if_i_had_played(viewer: Viewer, tmp_path: Path) -> None:
    viewer.select(1)
    menu = ask(viewer)
    assert menu.entries[menu.at].title == "player_1", "the selected agent comes first"
    playing = choose(menu, "player_0")
    assert isinstance(playing, Playing) and playing.moment().step == 2
    while not playing.session.over:
        playing.press("tab")
        playing.press("return")
        playing.advance(1.0)
    fork = replay.load(tmp_path / "forks" / "evaluation-0-0-fork-2.replay")
    assert fork.policies["player_0"].name == "human" and verify(fork).exact


def test_what_if_at_the_end_says_why_not(viewer: Viewer) -> None:
    viewer.press("end")
    menu = ask(viewer)
    menu.press("return")
    while not menu.advance(0.01):
        pass
    assert "can be forked at 0 to" in menu.note and not menu.quit


def test_who_is_not_to_be_had_is_told(viewer: Viewer, tmp_path: Path) -> None:
    said = {"player_0": {"player": str(tmp_path / "gone.safetensors")}, "player_1": {"player": "random"}}
    told = replace(viewer.replay, header={**viewer.replay.header, "policies": said})
    menu = what_if.menu(tmp_path / "a.replay", told, (), 2)
    assert "player_0: at random, who played is not to be had" in menu.hint and "player_1" not in menu.hint
    playing = choose(menu, "player_1")
    assert isinstance(playing, Playing) and playing.session.human == "player_1"
    somebody = replace(told, spec=replace(told.spec, name="somebody:else"))
    menu = what_if.menu(tmp_path / "a.replay", somebody, (), 2)
    assert "names code to run" in menu.entries[0].title


def test_who_may_be_chosen(tmp_path: Path) -> None:
    recorded = record("board/tictactoe")
    found = partial(what_if.candidates, tmp_path / "replays" / "a.replay", recorded, "player")
    assert found([]) == ["bot:board/tictactoe/perfect", "random"]
    assert found(["x.safetensors", "player=y", "nobody=z"])[:2] == ["x.safetensors", "y"]
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "player.safetensors").touch()
    assert found([])[0] == str(tmp_path)
