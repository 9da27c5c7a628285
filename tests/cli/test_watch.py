"""`marl watch` and `marl verify`, through the command line."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from environments.replay import Replay, load
from marl.cli import insight
from marl.cli.main import main
from marl.cli.watch import Watch, opened
from tests.recording import record
from tests.source import ROOT


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """A recorded episode of 70 steps: two chunks."""
    record("particle/spread", max_cycles=70).save(tmp_path / "episode.replay")
    return tmp_path / "episode.replay"


def test_exports(replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gif, png = tmp_path / "film.gif", tmp_path / "last.png"
    small = ["--height", "240"]
    assert (
        main(["watch", str(replay), "--gif", str(gif), "--png", "-1", "--out", str(png), "--speed", "4", *small]) == 0
    )
    assert capsys.readouterr().out.split() == [str(png), str(gif)]
    with Image.open(gif) as film, Image.open(png) as picture:
        assert film.n_frames == 71 and film.height == picture.height == 240  # type: ignore[attr-defined]
        last = np.asarray(picture).astype(int)
        film.seek(70)
        assert np.abs(last - np.asarray(film.convert("RGB"))).mean() < 3


def test_a_picture_without_a_name_gets_one(replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch", str(replay), "--png", "3", "--panel", "true"]) == 0
    assert main(["watch", str(replay), "--png", "-71"]) == 0
    assert (tmp_path / "episode-3.png").exists() and (tmp_path / "episode-0.png").exists()


def test_a_run_means_its_newest_replay(replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run" / "replays"
    folder.mkdir(parents=True)
    now = time.time()
    for age, name in ((50, "z.replay"), (10, "b.replay"), (30, "c.replay"), (0, ".tmp-1.replay"), (0, "other.txt")):
        (folder / name).write_bytes(replay.read_bytes())
        os.utime(folder / name, (now - age, now - age))
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith(str(folder / "b.replay") + ": exact: all 70 steps")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.replay"], "there is no file or run nothing.replay"),
        (["{replay}", "--png", "99"], "there is no frame 99: this replay has frames 0 to 70"),
        (["{replay}", "--png", "-72"], "there is no frame -72: this replay has frames 0 to 70"),
        (["{replay}", "--png", "1", "--out", "a.jpg"], "the file of --out ends with .png, and a.jpg does not"),
        (["{replay}", "--gif", "a"], "the file of --gif ends with .gif, and a does not"),
        (["{replay}", "--mp4", "a.gif"], "the file of --mp4 ends with .mp4, and a.gif does not"),
        (["{replay}", "--speed", "0"], "--speed must be"),
        (["{replay}", "--speed", "nan"], "--speed must be"),
        (["{replay}", "--height", "9"], "--height must be"),
        (["{replay}", "--out", "a.png"], "--png FRAME"),
        (["{folder}"], "there is no replay in"),
    ],
)
def test_bad_input_is_one_line_and_2(
    arguments: list[str], message: str, replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(replay=replay, folder=tmp_path / "empty") for word in arguments]
    assert main(["watch", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_without_a_screen_it_says_so(
    replay: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["watch", str(replay)]) == 2
    said = capsys.readouterr().err
    assert "no display" in said and "--gif" in said and said.count("\n") == 1


def test_a_damaged_file_plays_what_is_whole(replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replay.write_bytes(replay.read_bytes()[:-200])
    assert main(["watch", str(replay), "--png", "64", "--out", str(tmp_path / "a.png")]) == 0
    assert "playing the first 64 steps" in capsys.readouterr().out
    assert main(["verify", str(replay)]) == 3
    said = capsys.readouterr().out
    assert "exact: all 64 steps" in said and "only the first 64 steps were compared" in said


def test_a_foreign_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.replay").write_bytes(b"PK\x03\x04" * 100)
    for command in ("watch", "verify"):
        assert main([command, str(tmp_path / "a.replay")]) == 3
        said = capsys.readouterr().err
        assert "not a replay file" in said and said.count("\n") == 1


def test_verify_names_the_first_diverging_step(replay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = record("particle/spread", max_cycles=70)
    track = recorded.groups["agent"]
    action = track.action.copy()
    action[41, 0] = (action[41, 0] + 1) % 5
    replace(recorded, groups={"agent": track._replace(action=action)}).save(replay)
    assert main(["verify", str(replay)]) == 3
    assert "diverges at step 41" in capsys.readouterr().out


def test_verify_tells_rounding_from_corruption(replay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = record("particle/spread", max_cycles=70)
    positions = recorded.frames["agent_position"].copy()
    positions[30] = np.nextafter(positions[30], np.float32(9))
    header = {**recorded.header, "machine": {**recorded.header["machine"], "cpu": "another"}}
    replace(recorded, header=header, frames={**recorded.frames, "agent_position": positions}).save(replay)
    assert main(["verify", str(replay)]) == 0
    assert "last-bit difference between machines, not corruption" in capsys.readouterr().out


def without_thoughts(recorded: Replay) -> Replay:
    """The same episode, with the files of its policies, but nothing recorded of what they thought."""
    groups = {
        name: track._replace(probabilities=track.probabilities[..., :0], value=np.full_like(track.value, np.nan))
        for name, track in recorded.groups.items()
    }
    players = {
        name: {**said, "player": str(ROOT / said["player"])} for name, said in recorded.header["policies"].items()
    }
    return replace(recorded, groups=groups, header={**recorded.header, "policies": players})


def test_thoughts_that_were_not_recorded_are_asked_of_the_policies() -> None:
    path = ROOT / "marl" / "policies" / "tag.replay"
    recorded = load(path)
    asked = insight.of(path, without_thoughts(recorded))
    assert asked is not None
    asked.wait()
    for step in (0, 13, 24):
        told = asked.at(step)
        assert told is not None, asked.note
        for name, track in recorded.groups.items():
            here = told[name]
            assert here.probabilities is not None and here.value is not None
            np.testing.assert_allclose(here.probabilities, track.probabilities[step], atol=1e-3)
            np.testing.assert_allclose(here.value, track.value[step], rtol=1e-4, atol=1e-3)
    assert insight.thinker(path, recorded) is None  # it tells all itself


def test_a_policy_that_has_changed_since_is_not_asked() -> None:
    recorded = without_thoughts(load(ROOT / "marl" / "policies" / "tag.replay"))
    others = {name: {**said, "sha256": "00" * 32} for name, said in recorded.header["policies"].items()}
    changed = replace(recorded, header={**recorded.header, "policies": others})
    assert insight.thinker(Path("a.replay"), changed) is None


def test_two_replays_are_compared(replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other" / "episode.replay"
    other.parent.mkdir()
    record("particle/spread", seed=1, max_cycles=70).save(other)
    viewer = opened(replay, Watch(replay), other)
    assert [take.name for take in viewer.takes] == [f"{tmp_path.name}/episode", "other/episode"]
    record("particle/tag").save(other)
    assert main(["watch", str(replay), "--compare", str(other)]) == 2
    assert "only replays of one environment can be compared" in capsys.readouterr().err
    assert main(["watch", str(replay), "--compare", str(other), "--csv", "a.csv"]) == 2
    assert "--csv and --npz hold the numbers of one replay" in capsys.readouterr().err
