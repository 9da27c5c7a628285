"""Replay files: cut, flipped, forged and blown up. Never a crash, never wrong data in silence, never much memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard

from environments import replay, replay_file
from environments.errors import RefusedFile, StorageFailure
from tests.recording import record

STEPS = 150
ABOUT = {"who": "a test"}
START = {"key": np.asarray(7, np.uint64), "empty": np.zeros((0, 3), np.float32)}
TRACKS = {
    "reward": np.linspace(-1, 1, STEPS * 3, dtype=np.float32).reshape(STEPS, 3),
    "flag": np.arange(STEPS) % 3 == 0,
    "action": np.arange(STEPS * 2, dtype=np.int32).reshape(STEPS, 2, 1),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole file of three chunks."""
    replay_file.write(tmp_path / "a.replay", ABOUT, START, TRACKS)
    return tmp_path / "a.replay"


def assert_prefix(contents: replay_file.Contents, steps: int) -> None:
    """Exactly the first `steps` steps that were written."""
    assert contents.about == ABOUT
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in contents.start.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in START.items()
    }
    for name, array in TRACKS.items():
        assert contents.tracks[name].dtype == array.dtype
        np.testing.assert_array_equal(contents.tracks[name], array[:steps])


def block_borders(data: bytes) -> list[int]:
    """Where the header ends and where each block ends."""
    length = struct.unpack_from("<I", data, 12)[0]
    borders = [20 + length]
    while data[borders[-1] : borders[-1] + 4] in (b"INIT", b"STEP", b"INDX"):
        packed = struct.unpack_from("<I", data, borders[-1] + 16)[0]
        borders.append(borders[-1] + 28 + packed)
    return borders


def test_round_trip(path: Path) -> None:
    contents = replay_file.read(path)
    assert contents.damage is None
    assert_prefix(contents, STEPS)
    assert [p.name for p in path.parent.iterdir()] == ["a.replay"]  # no temporary name is left


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 128])
def test_every_number_of_chunks(steps: int, tmp_path: Path) -> None:
    replay_file.write(tmp_path / "a", ABOUT, START, {n: a[:steps] for n, a in TRACKS.items()})
    contents = replay_file.read(tmp_path / "a")
    assert contents.damage is None
    assert_prefix(contents, steps)


def test_cut_at_every_border_and_beside_it(path: Path) -> None:
    data = path.read_bytes()
    header, init, first, second, third, index = block_borders(data)
    assert index == len(data) - 16
    whole = {first: 64, second: 128, third: 150, index: 150}
    for border in (header, init, first, second, third, index):
        for cut in (border - 1, border, border + 1, border + 20):
            path.write_bytes(data[:cut])
            expected = max((steps for end, steps in whole.items() if end <= cut), default=0)
            if expected == 0:
                with pytest.raises(RefusedFile):
                    replay_file.read(path)
            elif cut < len(data):
                contents = replay_file.read(path)
                assert contents.damage
                assert_prefix(contents, expected)


def test_cut_anywhere(path: Path) -> None:
    data = path.read_bytes()
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        try:
            contents = replay_file.read(path)
        except RefusedFile:
            continue
        assert contents.damage
        assert_prefix(contents, len(contents.tracks["reward"]))


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            contents = replay_file.read(path)
        except RefusedFile:
            refused += 1
            continue
        assert contents.damage, f"byte {place}"
        assert_prefix(contents, len(contents.tracks["reward"]))
    assert 0 < refused < len(data)


def test_bytes_after_the_end_are_noticed(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    contents = replay_file.read(path)
    assert contents.damage is not None and "end of the file" in contents.damage
    assert_prefix(contents, STEPS)


@pytest.mark.parametrize("data", [b"", b"\x89MREPLAY", b"PK\x03\x04" + bytes(100), bytes(1000), b"x" * 5000])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(RefusedFile):
        replay_file.read(tmp_path / "a")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RefusedFile, match="cannot read"):
            replay_file.read(path)


def test_another_schema_is_refused(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 2)
    path.write_bytes(data)
    with pytest.raises(RefusedFile, match="schema 2"):
        replay_file.read(path)


def forge(path: Path, edit: Callable[[dict[str, Any]], None], blocks: bytes = b"") -> None:
    """Write a file with an edited header (and a correct checksum), followed by `blocks` or what was there."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[20 : 20 + length])
    edit(header)
    text = json.dumps(header).encode()
    prelude = struct.pack("<8sIII", replay_file.MAGIC, replay_file.SCHEMA, len(text), zlib.crc32(text))
    path.write_bytes(prelude + text + (blocks or data[20 + length :]))


def block(tag: bytes, steps: int, payload: bytes, raw_size: int) -> bytes:
    """A block with a correct checksum around any payload."""
    fields = struct.pack("<4sQIII", tag, 0, steps, len(payload), raw_size)
    return fields + struct.pack("<I", zlib.crc32(payload, zlib.crc32(fields))) + payload


def refused_cheaply(path: Path) -> str:
    """The refusal's message; reading must not have taken more than a few megabytes."""
    tracemalloc.start()
    try:
        with pytest.raises(RefusedFile) as refusal:
            replay_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20 + 4 * path.stat().st_size
    finally:
        tracemalloc.stop()
    return str(refusal.value)


HUGE = [
    ("steps", 10**15),
    ("steps", 2**62),
    ("steps", -1),
    ("steps", 0),
    ("steps", 1.5),
    ("steps", True),
    ("tracks", {"reward": ["<f4", [10**12]]}),
    ("tracks", {"reward": ["<f4", [2**31, 2**31, 2**31]]}),
    ("tracks", {"reward": ["<f4", [-1]]}),
    ("tracks", {"reward": ["<f4", [1] * 40]}),
    ("tracks", {"reward": ["|O", [3]]}),
    ("tracks", {"reward": [["<f4"], [3]]}),
    ("tracks", {f"x{i}": ["<f4", []] for i in range(1000)}),
    ("tracks", {}),
    ("tracks", ["reward"]),
    ("start", {"key": ["<u8", [10**9]]}),
]


@pytest.mark.parametrize(("name", "value"), HUGE, ids=[f"{n}-{i}" for i, (n, _) in enumerate(HUGE)])
def test_impossible_layouts_are_refused(path: Path, name: str, value: Any) -> None:
    forge(path, lambda header: header["layout"].update({name: value}))
    refused_cheaply(path)


@pytest.mark.parametrize("text", ["[" * 60_000, '{"layout": NaN, "about": {}}', "5", "{}", '"\\ud800"', "\xff"])
def test_headers_that_are_no_headers_are_refused(path: Path, text: str) -> None:
    data = text.encode("latin-1")
    path.write_bytes(struct.pack("<8sIII", replay_file.MAGIC, replay_file.SCHEMA, len(data), zlib.crc32(data)) + data)
    refused_cheaply(path)


def test_a_header_of_any_length_is_not_believed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[12:16] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    assert "at most 65536" in refused_cheaply(path)


def bomb(megabytes: int, content_size: bool = True) -> bytes:
    """Zeros, compressed about 10,000 times."""
    packer = zstandard.ZstdCompressor(level=3, write_content_size=content_size)
    return packer.compress(bytes(megabytes * 2**20))


@pytest.mark.parametrize("claimed", [100, 256 * 2**20, 2**32 - 1])
@pytest.mark.parametrize("content_size", [True, False])
def test_compressed_bombs_are_refused(path: Path, claimed: int, content_size: bool) -> None:
    """Whatever the block claims, and whether or not the frame tells its own size."""
    forge(path, lambda header: None, block(b"INIT", 0, bomb(256, content_size), claimed))
    refused_cheaply(path)


def test_a_frame_that_unpacks_to_more_than_its_block_says_is_refused(path: Path) -> None:
    """The block's size fits the layout; the frame has another, which the decompressor would believe."""
    for content_size in (True, False):
        forge(
            path,
            lambda header: header["layout"]["start"].update({"key": ["<u8", [1000]]}),
            block(b"INIT", 0, bomb(64, content_size), 8030),
        )
        assert "contradict" in refused_cheaply(path)


def pack(fields: Any) -> tuple[bytes, int]:
    """Compressed msgpack and its raw size."""
    raw = msgpack.packb(fields)
    return zstandard.ZstdCompressor().compress(raw), len(raw)


@pytest.mark.parametrize(
    "fields",
    [
        {"key": bytes(8)},
        {"key": bytes(9), "empty": b""},
        {"key": 7, "empty": b""},
        {"key": "12345678", "empty": b""},
        {"other": bytes(8), "empty": b""},
        [1, 2],
        7,
        {"key": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]], "empty": b""},
    ],
)
def test_blocks_that_hold_other_things_are_refused(path: Path, fields: Any) -> None:
    payload, size = pack(fields)
    forge(path, lambda header: None, block(b"INIT", 0, payload, size))
    refused_cheaply(path)


def test_blocks_in_the_wrong_order_are_not_taken(path: Path) -> None:
    """Two chunks changed places: each is whole, but not the expected one."""
    data = path.read_bytes()
    _, init, first, second, third, _ = block_borders(data)
    path.write_bytes(data[:init] + data[first:second] + data[init:first] + data[second:])
    with pytest.raises(RefusedFile, match="not the expected one"):
        replay_file.read(path)
    path.write_bytes(data[:first] + data[second:third] + data[first:second] + data[third:])
    contents = replay_file.read(path)
    assert contents.damage
    assert_prefix(contents, 64)


def test_what_cannot_be_held_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype"):
        replay_file.write(tmp_path / "a", {}, {}, {"names": np.asarray(["x"], object)})
    with pytest.raises(ValueError, match="one length"):
        replay_file.write(tmp_path / "a", {}, {}, {"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(ValueError, match="65536"):
        replay_file.write(tmp_path / "a", {"long": "x" * 70_000}, {}, {"a": np.zeros(2)})
    with pytest.raises(ValueError, match="JSON"):
        replay_file.write(tmp_path / "a", {"bad": float("nan")}, {}, {"a": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replay_file.os, "fsync", full)
    with pytest.raises(StorageFailure, match="No space left"):
        replay_file.write(path, {"who": "another"}, START, TRACKS)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["a.replay"]


def test_a_cut_replay_plays_its_whole_chunks_and_verifies(tmp_path: Path) -> None:
    recorded = record("particle/spread", max_cycles=150)
    recorded.save(tmp_path / "a.replay")
    data = (tmp_path / "a.replay").read_bytes()
    third = block_borders(data)[3]
    (tmp_path / "a.replay").write_bytes(data[: third + 100])
    loaded = replay.load(tmp_path / "a.replay")
    assert loaded.steps == 128 and loaded.damage is not None and "step 128 of 150" in loaded.damage
    np.testing.assert_array_equal(loaded.frames["agent_position"], recorded.frames["agent_position"][:129])
    assert replay.verify(loaded).exact


def test_flipped_bytes_of_a_real_replay(tmp_path: Path) -> None:
    """Through the whole reader: refused, or damaged with true data."""
    recorded = record("toy/siege")
    recorded.save(tmp_path / "a.replay")
    data = (tmp_path / "a.replay").read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] ^= int(rng.integers(1, 256))
        if bytes(changed) == data:
            continue
        (tmp_path / "a.replay").write_bytes(changed)
        try:
            loaded = replay.load(tmp_path / "a.replay")
        except RefusedFile:
            continue
        assert loaded.damage
        np.testing.assert_array_equal(loaded.groups["guard"].action, recorded.groups["guard"].action[: loaded.steps])
