"""What comes out of a replay: films and pictures of a range, written frame by frame, and numbers for other programs."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from environments.errors import UsageError
from environments.replay import Replay, load
from marl.cli.main import main
from tests.environments.external.test_pictures import watched
from tests.recording import record
from viz import numbers, video
from viz.drawings import draw
from viz.gif import LONGEST, GifWriter
from viz.page import FOOTER, HEADER, Pane
from viz.scene import Text
from viz.screen import raster
from viz.viewer import Viewer


def shades(*levels: int) -> list[np.ndarray]:
    """Grey pictures of 12 x 20 points with a square in the corner of the given shade."""
    pictures = []
    for level in levels:
        picture = np.full((12, 20, 3), 40, np.uint8)
        picture[8:, 15:] = level
        pictures.append(picture)
    return pictures


def written(pictures: list[np.ndarray], milliseconds: int = 50) -> bytes:
    """The GIF of some pictures."""
    palette = Image.fromarray(np.concatenate(pictures)).quantize(256)
    file = io.BytesIO()
    film = GifWriter(file, palette)
    for picture in pictures:
        film.add(picture, milliseconds)
    film.close()
    return file.getvalue()


def test_a_gif_is_what_was_written() -> None:
    pictures = shades(0, 200, 90, 40)
    with Image.open(io.BytesIO(written(pictures))) as film:
        assert film.n_frames == 4 and film.info["loop"] == 0  # type: ignore[attr-defined]
        for frame, picture in enumerate(pictures):
            film.seek(frame)
            assert film.info["duration"] == 50
            np.testing.assert_array_equal(np.asarray(film.convert("RGB")), picture)


def test_a_gif_waits_where_nothing_happens() -> None:
    with Image.open(io.BytesIO(written(shades(0, 200, 200, 200, 90)))) as film:
        times = []
        for frame in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(frame)
            times.append(film.info["duration"])
    assert times == [50, 150, 50]
    with Image.open(io.BytesIO(written(shades(*[7] * 30), LONGEST // 10))) as film:
        assert film.info["duration"] == LONGEST


def test_a_gif_holds_only_what_changed() -> None:
    noise = np.random.default_rng(0).integers(0, 4, (300, 300, 3), np.uint8) * 60
    pictures = [noise.copy() for _ in range(20)]
    for k, picture in enumerate(pictures):
        picture[10:14, 10 + k : 14 + k] = 250
    assert len(written(pictures)) < 1.3 * len(written(pictures[:1]))


def test_films_are_written_while_they_are_made(tmp_path: Path) -> None:
    """Nothing waits for the end: the file grows, so that a long film needs no more memory than a short one."""
    sizes: list[int] = []

    def watch(done: int) -> None:
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))

    viewer = Viewer(record("particle/spread", max_cycles=150))
    video.save_gif(viewer, tmp_path / "a.gif", height=240, frames=range(60), progress=watch)
    assert len(sizes) == 60 and sizes[0] == 0 < sizes[19] < sizes[39] < sizes[59]
    assert sizes[59] > 0.9 * (tmp_path / "a.gif").stat().st_size


def test_a_range_of_a_film(tmp_path: Path) -> None:
    viewer = Viewer(record("particle/spread"))
    video.save_gif(viewer, tmp_path / "a.gif", height=240, frames=range(5, 9))
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 4  # type: ignore[attr-defined]
        film.seek(3)
        assert film.info["duration"] == 1000
        last = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(last - video.image(viewer, 8, 240)).mean() < 2 < np.abs(last - video.image(viewer, 25, 240)).mean()
    paths = video.save_pngs(viewer, tmp_path / "frames", height=240, frames=range(24, 26))
    assert [path.name for path in paths] == ["frame-000024.png", "frame-000025.png"]
    assert sorted((tmp_path / "frames").iterdir()) == paths
    with Image.open(paths[1]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), video.image(viewer, 25, 240))
    for frames in (range(0), range(20, 27), range(-1, 3)):
        with pytest.raises(UsageError, match="frames 0 to 25"):
            video.save_pngs(viewer, tmp_path / "none", frames=frames)
    assert not (tmp_path / "none").exists()


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_numbers_as_csv(tmp_path: Path) -> None:
    recorded = record("particle/spread")
    said = {"player": "runs/a, the first/team.safetensors"}
    recorded = replace(recorded, header={**recorded.header, "policies": {"team": said}})
    seen: list[int] = []
    numbers.save_csv(recorded, tmp_path / "a.csv", range(4, 10), seen.append)
    rows, track = table(tmp_path / "a.csv"), recorded.groups["agent"]
    assert len(rows) == 6 * 3 and seen == [1, 2, 3, 4, 5, 6]
    for k, row in enumerate(rows):
        step, n = 4 + k // 3, k % 3
        assert (row["step"], row["agent"], row["team"]) == (str(step), f"agent_{n}", "team")
        assert row["policy"] == said["player"] and row["acting"] == "1"
        assert float(row["reward"]) == pytest.approx(float(track.reward[step, n]))
        assert float(row["return"]) == pytest.approx(float(track.reward[: step + 1, n].sum()), rel=1e-5)
        assert float(row["value"]) == float(track.value[step, n])
        found = [float(row[f"probability_{j}"]) for j in range(5)]
        assert found == track.probabilities[step, n].tolist()
    assert {row["action"] for row in rows} <= {"stay", "left", "right", "down", "up", "none"}


def test_cells_are_empty_where_nothing_is_known(tmp_path: Path) -> None:
    recorded = record("toy/noughts", traces=False)
    numbers.save_csv(recorded, tmp_path / "a.csv", range(recorded.steps))
    rows = table(tmp_path / "a.csv")
    assert {row["value"] for row in rows} == {""} and "probability_0" not in rows[0]
    assert all((row["action"] == "") == (row["acting"] == "0") for row in rows)
    assert sum(row["acting"] == "1" for row in rows) == recorded.steps


def test_numbers_as_npz(tmp_path: Path) -> None:
    recorded = record("particle/speaker_listener")
    numbers.save_npz(recorded, tmp_path / "a.npz", range(3, 8))
    with np.load(tmp_path / "a.npz") as found:
        assert found["step"].tolist() == [3, 4, 5, 6, 7]
        np.testing.assert_array_equal(found["action_listener"], recorded.groups["listener"].action[3:8])
        np.testing.assert_array_equal(found["frame_agent_position"], recorded.frames["agent_position"][3:9])
        assert found["agents_speaker"].tolist() == list(recorded.spec.group("speaker").agents)
        assert found["features_listener"].tolist() == list(recorded.spec.group("listener").features) != []
        assert found["digest"].dtype == np.uint64 and found["probabilities_speaker"].shape[0] == 5


def test_names_of_a_file_are_no_paths(tmp_path: Path) -> None:
    """An npz is a zip: whoever unpacks one must not find anything outside its folder."""
    recorded = record("particle/spread")
    frames = {"../../a": recorded.frames["agent_position"], ".. .. a": recorded.frames["agent_velocity"]}
    numbers.save_npz(replace(recorded, frames=frames), tmp_path / "a.npz", range(2))
    with np.load(tmp_path / "a.npz") as found:
        assert all(name.replace("_", "").isalnum() for name in found.files)
        np.testing.assert_array_equal(found["frame_a"], recorded.frames["agent_position"][:3])
        assert sum(name.startswith("frame_a") for name in found.files) == 2


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    record("particle/spread", max_cycles=70).save(tmp_path / "episode.replay")
    return tmp_path / "episode.replay"


def test_the_command_writes_all_of_it(replay: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--from", "10", "--to", "13", "--height", "240", "--panel", "true"]
    names = {"gif": "a.gif", "mp4": "a.mp4", "pngs": "frames", "csv": "a.csv", "npz": "a.npz"}
    for option, name in names.items():
        words += [f"--{option}", str(tmp_path / name)]
    assert main(["watch", str(replay), *words]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names.values()]
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 4 and film.size == video.frame_size(240, True)  # type: ignore[attr-defined]
    assert len(list((tmp_path / "frames").iterdir())) == 4 and len(table(tmp_path / "a.csv")) == 3 * 3
    with np.load(tmp_path / "a.npz") as found:
        assert found["step"].tolist() == [10, 11, 12]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "3", "--to", "2", "--gif", "a.gif"], "no frames from 3 to 2: this replay has frames 0 to 70"),
        (["--to", "71", "--csv", "a.csv"], "no frames from 0 to 71"),
        (["--from", "-72", "--npz", "a.npz"], "no frames from -72 to -1"),
        (["--from", "3"], "--from and --to belong to a film or numbers"),
        (["--csv", "a.txt"], "the file of --csv ends with .csv, and a.txt does not"),
        (["--npz", "a"], "the file of --npz ends with .npz, and a does not"),
        (["--from", "x", "--csv", "a.csv"], "--from"),
    ],
)
def test_wrong_ranges_are_one_line(words: list[str], message: str, replay: Path, capsys: Any) -> None:
    assert main(["watch", str(replay), *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_two_replays_side_by_side(replay: Path, tmp_path: Path, capsys: Any) -> None:
    """Both halves are what each replay alone looks like, and the shorter one rests on its end."""
    other = tmp_path / "shorter.replay"
    record("particle/spread", seed=1, max_cycles=30).save(other)
    words = ["watch", str(replay), "--compare", str(other), "--height", "240"]
    gif = ["--gif", str(tmp_path / "a.gif"), "--from", "68"]
    assert main([*words, *gif, "--png", "50", "--out", str(tmp_path / "a.png")]) == 0
    wide, high = video.frame_size(240, False, 2.0)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 3 and film.size == (wide, high)  # type: ignore[attr-defined]
    with Image.open(tmp_path / "a.png") as file:
        both = np.asarray(file).astype(int)
    boards = slice(HEADER, 240 - FOOTER)
    one, two = load(replay), load(other)
    view = Viewer(one, other=two).view
    for recorded, frame, half in ((one, 50, both[boards, : wide // 2]), (two, 30, both[boards, wide // 2 + 1 :])):
        alone = Viewer(recorded)
        moment = alone.moments[frame]
        scene = draw(moment, view)
        pane = Pane(0, 0, wide // 2, 240 - HEADER - FOOTER, scene)
        image = raster.picture([pane], wide // 2, 240 - HEADER - FOOTER, video.SMOOTHNESS)[:, -half.shape[1] :]
        np.testing.assert_array_equal(half, image)
    viewer = Viewer(one, other=two)
    texts = [s.text for pane in viewer.board_and_panel(50, 900, 480) for s in pane.scene.shapes if isinstance(s, Text)]
    assert "step 50 / 70" in texts and "step 0: they begin differently" in texts and texts.count("agent_0") == 2
    with pytest.raises(UsageError, match="frames 0 to 70"):
        video.image(viewer, 71)


def test_films_of_somebody_elses_environment(tmp_path: Path) -> None:
    recorded: Replay = watched({"length": 12})[0]
    video.save_gif(Viewer(recorded), tmp_path / "a.gif", height=240)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 13  # type: ignore[attr-defined]
    numbers.save_npz(recorded, tmp_path / "a.npz", range(12))
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["obs_agent"], recorded.views["agent"].obs)
    numbers.save_csv(recorded, tmp_path / "a.csv", range(12))
    assert table(tmp_path / "a.csv")[0]["action"] == str(recorded.groups["agent"].action[0, 0])


def test_what_a_killed_run_has_left_is_shown(replay: Path, tmp_path: Path, capsys: Any) -> None:
    data = replay.read_bytes()
    replay.unlink()
    (tmp_path / "episode.replay.part").write_bytes(data[: len(data) - 100])
    assert main(["watch", str(tmp_path), "--csv", str(tmp_path / "a.csv")]) == 0
    assert "playing the first 64 steps" in capsys.readouterr().out and len(table(tmp_path / "a.csv")) == 64 * 3
