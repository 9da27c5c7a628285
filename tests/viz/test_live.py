"""Episodes that appear while somebody watches, without a screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from environments import replay
from environments.errors import RefusedFile
from tests.recording import record
from viz.live import Live
from viz.page import Pane
from viz.scene import Text
from viz.viewer import Viewer


def written(panes: list[Pane]) -> str:
    return " | ".join(shape.text for pane in panes for shape in pane.scene.shapes if isinstance(shape, Text))


def live(folder: Path) -> Live:
    return Live(
        "run", lambda: sorted(folder.glob("*.replay")), lambda path: Viewer(replay.load(path)), lambda: "step 7"
    )


def add(folder: Path, name: str, seed: int = 0) -> None:
    record("particle/spread", seed).save(folder / f"{name}.replay")


def watch_to_the_end(shown: Live) -> None:
    for _ in range(40):
        shown.advance(0.2)


def test_it_waits_for_the_first_episode(tmp_path: Path) -> None:
    shown = live(tmp_path)
    assert "no episode yet" in written(shown.page()) and "step 7" in written(shown.page()) and not shown.moving
    add(tmp_path, "a")
    assert not shown.advance(0.5) and shown.viewer is None
    assert shown.advance(0.6) and shown.viewer is not None and shown.moving
    assert "episode 1 of 1" in written(shown.page())


def test_a_new_episode_follows_when_the_last_was_watched(tmp_path: Path) -> None:
    add(tmp_path, "a")
    shown = live(tmp_path)
    shown.advance(0.1)
    add(tmp_path, "b", seed=1)
    shown.advance(1.1)
    assert shown.at == 0 and "1 newer" in written(shown.page())
    watch_to_the_end(shown)
    assert shown.at == 1 and shown.viewer is not None
    assert shown.viewer.replay.identity == record("particle/spread", 1).identity


def test_who_stopped_to_look_is_not_disturbed(tmp_path: Path) -> None:
    add(tmp_path, "a")
    shown = live(tmp_path)
    shown.advance(0.3)
    shown.press("space")
    add(tmp_path, "b")
    watch_to_the_end(shown)
    assert shown.at == 0 and "1 newer" in written(shown.page())
    shown.press(".")
    assert shown.at == 1 and "episode 2 of 2" in written(shown.page())
    shown.press(",")
    watch_to_the_end(shown)
    assert shown.at == 0


def test_a_file_that_cannot_be_shown_is_told(tmp_path: Path) -> None:
    add(tmp_path, "a")
    shown = live(tmp_path)
    (tmp_path / "b.replay").write_bytes(b"nonsense")
    with pytest.raises(RefusedFile):
        replay.load(tmp_path / "b.replay")
    watch_to_the_end(shown)
    assert shown.viewer is not None and "b.replay" in written(shown.page())
    shown.press("escape")
    assert shown.quit


def test_the_viewer_gets_keys_mouse_and_its_part_of_the_window(tmp_path: Path) -> None:
    add(tmp_path, "a")
    shown = live(tmp_path)
    shown.resize(1000, 700)
    viewer = shown.viewer
    assert viewer is not None and viewer.size == (1000, 672)
    shown.press("end")
    assert viewer.playback.frame == viewer.playback.last
    shown.press("h")
    assert viewer.help
    shown.mouse_down(500, 300)
    assert not viewer.help and not shown.mouse_down(500, 690)
    shown.mouse_up()
    assert not shown.wheel(1, 2000, 0) and shown.opened() is None
