"""Replays of somebody else's environment: what it drew and what agents saw, recorded while it happens."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import replay as replays
from environments import replay_file, replay_record
from environments.errors import RefusedFile
from environments.external import named
from environments.external.film import Film
from environments.replay import Recorder, Replay
from environments.replay_pictures import KEPT_PIXELS, TAG, fitted
from environments.replay_stream import Packer
from tests.contracts.play import random_actions
from tests.environments.external.drawn import picture

DRAWN = f"{Path(__file__).parent / 'drawn.py'}:Drawn"


def watched(
    options: Mapping[str, Any], path: Path | None = None, filmed: int = 1, workers: int = 0, copy: int = 0
) -> tuple[Replay, list[dict[str, Any]]]:
    """A recorded episode, and what was seen, done and paid in each of its steps."""
    env = named.batch(DRAWN, copy + 1, 0, 0, dict(options), workers, filmed=filmed)
    try:
        rng = np.random.default_rng(0)
        recorder = Recorder(env, copy, {"policies": {"agent": "random"}}, path)
        seen: list[dict[str, Any]] = []
        over = False
        while not over:
            actions = random_actions(env, rng)
            obs = env.buffers.groups[0].obs[copy].copy()
            out = env.step(actions)
            seen.append({"obs": obs, "action": actions["agent"][copy], "reward": out.groups[0].reward[copy].copy()})
            over = recorder.add(actions, out)
        return recorder.finish(), seen
    finally:
        env.close()


@pytest.fixture(scope="module")
def film() -> Replay:
    """100 steps with 101 pictures."""
    return watched({})[0]


def file_of(film: Replay) -> bytes:
    """The bytes of a replay that was recorded in memory."""
    assert film.pictures is not None
    file = film.pictures.stream.file
    file.seek(0)
    return file.read()


def test_pictures_views_and_numbers_are_recorded(tmp_path: Path) -> None:
    recorded, seen = watched({}, tmp_path / "a.replay")
    assert [path.name for path in tmp_path.iterdir()] == ["a.replay"]
    assert recorded.steps == len(seen) == 100 and recorded.damage is None
    pictures = recorded.pictures
    assert pictures is not None and len(pictures) == 101 and pictures.size == (40, 48) and pictures.last == 100
    for frame in (0, 100, 64, 65, 1, 99):  # the last one too, which the batch never shows
        np.testing.assert_array_equal(pictures.at(frame), picture(frame))
    assert pictures.at(101) is None and pictures.at(-1) is None
    for name, found in (("obs", recorded.views["agent"].obs), ("action", recorded.groups["agent"].action)):
        np.testing.assert_array_equal(found, [step[name] for step in seen])
    np.testing.assert_array_equal(recorded.groups["agent"].reward, [step["reward"] for step in seen])
    assert recorded.views["agent"].action_mask.shape == (100, 2, 0) and recorded.groups["agent"].acting.all()
    assert recorded.outcome.tolist() == [np.sum([step["reward"] for step in seen])]
    assert recorded.spec.step_seconds == pytest.approx(0.05) and not recorded.frames
    assert "no_pictures" not in recorded.header and len(np.unique(recorded.digests)) == 101


def test_a_workers_pictures_are_the_same(film: Replay) -> None:
    other, _ = watched({}, filmed=2, workers=2, copy=1)
    assert other.pictures is not None and len(other.pictures) == 101
    np.testing.assert_array_equal(other.pictures.at(77), picture(77))
    first, _ = watched({}, workers=1)
    assert first.pictures is not None and film.pictures is not None
    assert first.identity == film.identity
    assert all(np.array_equal(first.pictures.at(k), film.pictures.at(k)) for k in (0, 50, 100))


@pytest.mark.parametrize(
    ("options", "filmed", "count", "why"),
    [
        ({"trouble": "blind"}, 1, 0, "has no render mode rgb_array"),
        ({"trouble": "late"}, 1, 5, "it cannot be drawn: OSError: the lamp is broken"),
        ({"trouble": "grows"}, 1, 5, "after step 5: the picture's size changed"),
        ({}, 0, 0, "none were asked for"),
    ],
)
def test_without_pictures_the_rest_is_recorded(options: dict[str, Any], filmed: int, count: int, why: str) -> None:
    recorded, seen = watched({"length": 20, **options}, filmed=filmed)
    assert recorded.steps == len(seen) == 20 and recorded.damage is None
    assert (0 if recorded.pictures is None else len(recorded.pictures)) == count
    assert why in recorded.header["no_pictures"]


def test_a_factory_that_does_not_know_render_mode_is_recorded(tmp_path: Path) -> None:
    text = "from tests.environments.external.drawn import Drawn\ndef plain(length=9):\n    return Drawn(length)\n"
    (tmp_path / "plain.py").write_text(text)
    env = named.make(f"{tmp_path / 'plain.py'}:plain", filmed=1)
    found, why, _ = env.pictures(0)  # type: ignore[attr-defined]
    assert not found and "plain takes no render_mode" in why


def test_agents_see_what_is_only_drawn_for_somebody(tmp_path: Path) -> None:
    """Trained on, measured and recorded it is the same environment; where it cannot be told to draw, it is as it is."""
    options = {"trouble": "dark", "sees": 40}
    for filmed, workers in ((0, 0), (1, 0), (0, 2)):
        env = named.batch(DRAWN, 2, 0, 0, options, workers, filmed=filmed)
        np.testing.assert_array_equal(env.buffers.groups[0].obs[1], [picture(0), picture(1)])
        env.close()
    asked = named.make(DRAWN, options={**options, "render_mode": None})
    assert not asked.buffers.groups[0].obs.any()
    text = (
        "from tests.environments.external.drawn import Drawn\ndef plain():\n    return Drawn(trouble='dark', sees=40)\n"
    )
    (tmp_path / "dark.py").write_text(text)
    assert not named.make(f"{tmp_path / 'dark.py'}:plain").buffers.groups[0].obs.any()
    pong = named.make("pettingzoo:butterfly.cooperative_pong_v6")
    assert pong.buffers.groups[0].obs.any(), "PettingZoo 1.27 draws it black without a render mode"
    pong.close()


def test_nobody_has_to_fetch_pictures() -> None:
    env: Any = named.make(DRAWN, 2, options={"length": 5}, filmed=1)
    for _ in range(30):
        env.step(random_actions(env, np.random.default_rng(0)))
    assert len(env.pictures(0)[0]) == 2 and env.pictures(1)[0] == []


def test_pictures_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_record, "STREAM_BYTES", 20_000)
    recorded, _ = watched({})
    assert recorded.pictures is not None and 3 < len(recorded.pictures) < 100 and recorded.steps == 100
    assert len(file_of(recorded)) < 30_000 and "are enough" in recorded.header["no_pictures"]


def test_a_background_that_stands_still_costs_little(film: Replay) -> None:
    assert len(file_of(film)) < 101 * picture(0).nbytes / 10


def test_a_large_picture_becomes_smaller() -> None:
    large = np.zeros((2001, 1500, 3), np.uint8)
    large[:1000] = 100
    small = fitted(large)
    assert small.shape == (1000, 750, 3) and small.shape[0] * small.shape[1] <= KEPT_PIXELS
    assert (small[:500] == 100).all() and not small[500:].any()
    assert fitted(picture(3)) is not None and np.array_equal(fitted(picture(3)), picture(3))


def test_noise_is_packed_whole() -> None:
    """A difference from another picture is no smaller where nothing is alike: it is not worth a second block."""
    rng, packer = np.random.default_rng(0), Packer(TAG, 2700)
    blocks = [packer.block(k, rng.integers(0, 256, 2700, np.uint8)) for k in range(4)]
    assert all(block[12:16] == bytes(4) for block in blocks)


def test_a_replay_with_pictures_can_be_saved_again(film: Replay, tmp_path: Path) -> None:
    film.save(tmp_path / "b.replay")
    again = replays.load(tmp_path / "b.replay")
    assert again.damage is None and again.pictures is not None and film.pictures is not None
    assert all(np.array_equal(again.pictures.at(k), film.pictures.at(k)) for k in range(101))
    assert again.header == film.header and again.digests.tobytes() == film.digests.tobytes()
    assert again.views["agent"].obs.tobytes() == film.views["agent"].obs.tobytes()


def test_what_a_killed_run_leaves_behind(tmp_path: Path) -> None:
    env: Any = named.make(DRAWN, filmed=1)
    recorder, rng = Recorder(env, 0, {}, tmp_path / "a.replay"), np.random.default_rng(0)
    for _ in range(70):
        actions = random_actions(env, rng)
        recorder.add(actions, env.step(actions))
    left = replays.load(tmp_path / "a.replay.part")
    assert left.steps == 64 and left.damage == "the file ends after step 64" and np.isnan(left.outcome).all()
    assert left.pictures is not None and len(left.pictures) == 65
    np.testing.assert_array_equal(left.pictures.at(64), picture(64))


def shown(data: bytes, film: Replay) -> bool:
    """Refused (False), or every number that is there is true, and every picture true or missing."""
    try:
        loaded = replays.load(io.BytesIO(data))
    except RefusedFile:
        return False
    assert loaded.groups["agent"].reward.tobytes() == film.groups["agent"].reward[: loaded.steps].tobytes()
    pictures = [loaded.pictures.at(k) for k in range(0, 101, 9)] if loaded.pictures is not None else []
    for frame, found in zip(range(0, 101, 9), pictures, strict=bool(pictures)):
        assert found is None or np.array_equal(found, picture(frame))
    return True


def test_cuts_and_edits_of_a_film(film: Replay) -> None:
    data = file_of(film)
    rng = np.random.default_rng(8)
    assert shown(data, film)
    assert 0 < sum(shown(data[: rng.integers(len(data))], film) for _ in range(100)) < 100
    played = 0
    for _ in range(200):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        played += shown(bytes(changed), film)
    assert played > 100


def test_pictures_where_they_do_not_belong_are_not_taken(film: Replay) -> None:
    """A second picture of a frame, one from the future, one made from none, one of another size."""
    data = file_of(film)
    wrong = [(0, 0, 5760), (900, 0, 5760), (2, 1, 5760), (1, 0, 5759)]
    for frame, span, size in wrong:
        start = data.index(b"PICT")
        first = replay_file.pack_block(b"PICT", 0, 0, bytes(5760)) if frame != 2 else b""
        bad = data[:start] + first + replay_file.pack_block(b"PICT", frame, span, bytes(size)) + data[start:]
        with pytest.raises(RefusedFile, match="a picture is not where it belongs"):
            replays.load(io.BytesIO(bad))


def test_drawing_counts_as_recording() -> None:
    """A step that is drawn for 10 ms, in the environment's own process, is a recorder's 10 ms."""
    env = named.batch(DRAWN, 1, 0, 0, {"length": 20, "trouble": "slow"}, 1, filmed=1)
    recorder, rng = Recorder(env, 0), np.random.default_rng(0)
    while True:
        actions = random_actions(env, rng)
        if recorder.add(actions, env.step(actions)):
            break
    env.close()
    assert recorder.seconds > 20 * 0.01


def test_an_episode_that_a_fault_ends_says_so() -> None:
    env = named.make("tests.environments.external.arenas:Faulty", options={"every": 1})
    recorder, rng = Recorder(env, 0), np.random.default_rng(0)
    while True:
        actions = random_actions(env, rng)
        if recorder.add(actions, env.step(actions)):
            break
    recorded = recorder.finish()
    assert recorded.steps == 4 and recorded.header["fault"].endswith("step 3: RuntimeError: the roof fell in")
    assert any(track.truncated[-1].any() for track in recorded.groups.values()) and recorded.damage is None


@pytest.mark.parametrize(("display", "chosen", "seen"), [("", "", "egl"), (":7", "", None), ("", "osmesa", "osmesa")])
def test_mujoco_draws_into_memory_where_there_is_no_display(
    display: str, chosen: str, seen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while it draws: where EGL does not work, MuJoCo could otherwise not be imported by a worker."""
    for name, value in (("DISPLAY", display), ("WAYLAND_DISPLAY", ""), ("MUJOCO_GL", chosen)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    told: list[str | None] = []

    class Env:
        def render(self) -> np.ndarray:
            told.append(os.environ.get("MUJOCO_GL"))
            raise OSError("no screen")

    film = Film(1)
    film.take(0, Env())
    assert told == [seen] and film.missing == "it cannot be drawn: OSError: no screen"
    assert os.environ.get("MUJOCO_GL", "") == chosen
