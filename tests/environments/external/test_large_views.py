"""Replays of environments that show images: what agents saw is streamed, found at any step, never all in memory."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import replay as replays
from environments import replay_file, replay_record
from environments.errors import RefusedFile
from environments.external import named
from environments.replay import Recorder, Replay
from environments.replay_file import VIEW
from environments.replay_stream import Index, Packer
from tests.contracts.play import random_actions
from tests.environments.external.drawn import picture
from tests.environments.external.test_pictures import DRAWN, watched
from viz import numbers
from viz.drawings import view_of
from viz.take import Take

SIDE = 64
IMAGE_BYTES = 2 * SIDE * (SIDE + 8) * 3


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """100 steps of two agents that see images, and pictures too."""
    return watched({"sees": SIDE}, tmp_path_factory.mktemp("replays") / "a.replay")[0]


def bytes_of(film: Replay) -> bytes:
    assert film.large_views is not None
    film.large_views.stream.file.seek(0)
    return film.large_views.stream.file.read()


def test_images_are_found_at_every_step(film: Replay, tmp_path: Path) -> None:
    film.save(tmp_path / "again.replay")
    for recorded in (film, replays.load(tmp_path / "again.replay")):
        assert recorded.damage is None and recorded.steps == 100 and not recorded.views
        assert "no_observations" not in recorded.header and recorded.header == film.header
        assert recorded.large_views is not None and len(recorded.large_views.stream) == 100
        for step in (0, 99, 63, 64, 65, 1):
            (shown,) = recorded.seen(step).values()
            np.testing.assert_array_equal(shown.obs, [picture(step + n, SIDE) for n in range(2)])
            assert shown.action_mask.shape == (2, 0)
        assert recorded.seen(-1) == recorded.seen(100) == {}
        assert recorded.pictures is not None and np.array_equal(recorded.pictures.at(77), picture(77))
    assert len(bytes_of(film)) < 100 * IMAGE_BYTES / 10


@pytest.mark.parametrize("name", ["Arena", "Rooms", "Duel"])
def test_a_stream_holds_what_tracks_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several groups, other types, masks."""
    tracks = recorded(f"tests.environments.external.arenas:{name}")
    monkeypatch.setattr(replay_record, "SMALL_BYTES", 0)
    stream = recorded(f"tests.environments.external.arenas:{name}")
    assert tracks.views and not stream.views and tracks.large_views is None and stream.large_views is not None
    assert stream.identity == tracks.identity and stream.digests.tobytes() == tracks.digests.tobytes()
    for step in range(tracks.steps):
        one, two = tracks.seen(step), stream.seen(step)
        assert one.keys() == two.keys() == tracks.groups.keys()
        for group in one:
            assert two[group].obs.dtype == one[group].obs.dtype and two[group].action_mask.dtype == np.bool_
            np.testing.assert_array_equal(two[group].obs, one[group].obs)
            np.testing.assert_array_equal(two[group].action_mask, one[group].action_mask)


def recorded(name: str) -> Replay:
    env = named.make(name, 1, seed=3)
    recorder, rng = Recorder(env, 0), np.random.default_rng(0)
    while True:
        actions = random_actions(env, rng)
        if recorder.add(actions, env.step(actions)):
            return recorder.finish()


def test_they_are_verified_shown_and_exported(film: Replay, tmp_path: Path) -> None:
    assert replays.verify(replace(film, vouched=DRAWN)).exact
    shown = Take(film, view_of(film)).insight(42)
    assert shown is not None and shown["agent"].action_mask is None
    np.testing.assert_array_equal(shown["agent"].obs[1], picture(43, SIDE))
    assert Take(film, view_of(film)).insight(100) is None
    numbers.save_npz(film, tmp_path / "a.npz", range(10, 13))
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["obs_agent"][:, 0], [picture(step, SIDE) for step in range(10, 13)])
        assert found["mask_agent"].shape == (3, 2, 0) and found["action_agent"].shape == (3, 2)


def test_a_changed_view_is_found(film: Replay) -> None:
    """What the file shows at a step is compared, not only what its digest says."""

    class Lies:
        def at(self, step: int) -> Any:
            (own,) = film.seen(step).values()
            return {"agent": own._replace(obs=own.obs + np.uint8(step == 7))}

    verdict = replays.verify(replace(film, vouched=DRAWN, large_views=Lies()))  # type: ignore[arg-type]
    assert verdict.step == 6 and verdict.what == "what is seen of group 'agent'"


def test_views_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_record, "STREAM_BYTES", 20_000)
    few, _ = watched({"sees": SIDE})
    assert few.large_views is not None and 1 <= few.large_views.stream.last < 60 and few.steps == 100
    assert "of views are enough" in few.header["no_observations"] and few.damage is None
    assert few.seen(0) and not few.seen(99) and "MiB of views" in Take(few, view_of(few)).unseen
    monkeypatch.setattr(replay_record, "MAX_BLOCK_BYTES", IMAGE_BYTES - 1)
    none, _ = watched({"sees": SIDE, "length": 3})
    assert none.large_views is None and not none.seen(0)
    assert none.header["no_observations"] == f"{IMAGE_BYTES} bytes before one step are too many"


def test_recording_and_looking_keep_few_of_them_in_memory(tmp_path: Path) -> None:
    env = named.make(DRAWN, options={"sees": 300, "length": 60})
    recorder, rng = Recorder(env, 0, {}, tmp_path / "a.replay"), np.random.default_rng(0)
    one = env.buffers.groups[0].obs.nbytes
    tracemalloc.start()
    while True:
        actions = random_actions(env, rng)
        if recorder.add(actions, env.step(actions)):
            break
    found = recorder.finish()
    for step in range(found.steps):
        assert found.seen(step)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15 * one < 60 * one / 2


def test_what_a_killed_run_leaves_behind(tmp_path: Path) -> None:
    env: Any = named.make(DRAWN, options={"sees": SIDE})
    recorder, rng = Recorder(env, 0, {}, tmp_path / "a.replay"), np.random.default_rng(0)
    for _ in range(70):
        actions = random_actions(env, rng)
        recorder.add(actions, env.step(actions))
    left = replays.load(tmp_path / "a.replay.part")
    assert left.steps == 64 and left.damage == "the file ends after step 64"
    assert left.seen(63) and not left.seen(64)


def test_cuts_and_edits_never_show_what_was_not_seen(film: Replay) -> None:
    data, rng = bytes_of(film), np.random.default_rng(8)
    shown = 0
    for number in range(120):
        changed = bytearray(data)
        if number % 2:
            changed[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        else:
            del changed[rng.integers(len(data)) :]
        try:
            loaded = replays.load(io.BytesIO(changed))
        except RefusedFile:
            continue
        for step in range(0, loaded.steps, 9):
            for view in loaded.seen(step).values():
                np.testing.assert_array_equal(view.obs, [picture(step + n, SIDE) for n in range(2)])
                shown += 1
    assert shown > 300


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "9", 2**24 + 1, 2**60])
def test_impossible_sizes_are_refused(film: Replay, size: Any) -> None:
    with pytest.raises(RefusedFile, match="header cannot be understood"):
        replays.load(io.BytesIO(resized(bytes_of(film), size)))


def test_sizes_of_other_groups_are_refused() -> None:
    small = watched({"length": 3})[0]
    assert small.pictures is not None
    small.pictures.stream.file.seek(0)
    data = resized(small.pictures.stream.file.read(), 12)
    at = data.index(b"PICT")
    data = data[:at] + replay_file.pack_block(VIEW, 0, 0, bytes(12)) + data[at:]
    with pytest.raises(RefusedFile, match=r"contradicts itself .*views of 12 bytes, where the groups need 24"):
        replays.load(io.BytesIO(data))


def resized(data: bytes, size: Any) -> bytes:
    """The file with another size of views in its header."""
    schema, length = struct.unpack_from("<II", data, 8)
    header = json.loads(data[20 : 20 + length])
    header["layout"]["views"] = size
    text = json.dumps(header).encode()
    return struct.pack("<8sIII", replay_file.MAGIC, schema, len(text), zlib.crc32(text)) + text + data[20 + length :]


@pytest.mark.parametrize(("frame", "span", "size"), [(0, 0, 0), (900, 0, 0), (2, 1, 0), (1, 0, -1), (2, 3, 0)])
def test_views_where_they_do_not_belong_are_not_taken(film: Replay, frame: int, span: int, size: int) -> None:
    """A second view of a frame, one from the future, one made from none, one of another size, one from before."""
    data = bytes_of(film)
    start = data.index(VIEW)
    first = b"" if span else replay_file.pack_block(VIEW, 0, 0, bytes(IMAGE_BYTES))
    bad = replay_file.pack_block(VIEW, frame, span, bytes(IMAGE_BYTES + size))
    with pytest.raises(RefusedFile, match="a view is not where it belongs"):
        replays.load(io.BytesIO(data[:start] + first + bad + data[start:]))


def test_places_are_small() -> None:
    """A file may hold a million of them."""
    block = Packer(VIEW, 1).block(0, np.zeros(1, np.uint8))
    index, head = Index(1), replay_file.read_head(io.BytesIO(block), 0, len(block))
    tracemalloc.start()
    for frame in range(20_000):
        assert index.note(head._replace(first=frame), frame)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 20_000 * 50 and index.place(19_999) == 19_999 and index.place(20_000) is None
