"""Replay files: cut, flipped, forged and blown up. Never a crash, never wrong data in silence, never much memory."""

from __future__ import annotations

import io
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

from environments import replay, replay_blocks, replay_file
from environments.errors import RefusedFile, StorageFailure
from tests.recording import record

VERSION_1 = Path(__file__).parent / "replays" / "version-1.replay"
"""Written by the first version of the format: two groups, 70 steps, what policies thought."""
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


def in_memory(recorded: replay.Replay) -> bytes:
    """A replay's file, which is written nowhere."""
    tracks = recorded.tracks()
    layout = {name: (array.dtype, array.shape[1:]) for name, array in tracks.items()}
    writer = replay_file.Writer(None, recorded.header, recorded.start(), layout)
    for first in range(0, recorded.steps, 64):
        writer.add_steps({name: array[first : first + 64] for name, array in tracks.items()})
    file = writer.end({})
    assert file is not None
    return file.getvalue()


def block_borders(data: bytes) -> list[int]:
    """Where the header ends and where each block ends."""
    length = struct.unpack_from("<I", data, 12)[0]
    borders = [20 + length]
    while data[borders[-1] : borders[-1] + 4] in (b"INIT", b"STEP", b"LAST"):
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
    header, init, first, second, third, last = block_borders(data)
    assert last == len(data)
    whole = {first: 64, second: 128, third: 150}
    for border in (header, init, first, second, third, last):
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
        try:
            contents = replay_file.read(io.BytesIO(data[:cut]))
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
        try:
            contents = replay_file.read(io.BytesIO(changed))
        except RefusedFile:
            refused += 1
            continue
        assert contents.damage, f"byte {place}"
        assert_prefix(contents, len(contents.tracks["reward"]))
    assert 0 < refused < len(data)


def test_bytes_after_the_end_are_noticed(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    contents = replay_file.read(path)
    assert contents.damage is not None and "something behind" in contents.damage
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
    for schema in (0, replay_file.SCHEMA + 1, 2**32 - 1):
        data[8:12] = struct.pack("<I", schema)
        path.write_bytes(data)
        with pytest.raises(RefusedFile, match=f"schema {schema} is unknown"):
            replay_file.read(path)


def forge(path: Path, edit: Callable[[dict[str, Any]], None], blocks: bytes = b"") -> None:
    """Write a file with an edited header (and a correct checksum), followed by `blocks` or what was there."""
    data = path.read_bytes()
    schema, length = struct.unpack_from("<II", data, 8)
    header = json.loads(data[20 : 20 + length])
    edit(header)
    text = json.dumps(header).encode()
    prelude = struct.pack("<8sIII", replay_file.MAGIC, schema, len(text), zlib.crc32(text))
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
    ("pictures", [10**6, 10**6]),
    ("pictures", [4000, 4000]),
    ("pictures", [0, 4]),
    ("pictures", [-4, 4]),
    ("pictures", [4.0, 4]),
    ("pictures", [True, 4]),
    ("pictures", [4]),
    ("pictures", 7),
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


@pytest.mark.parametrize("steps", [10**15, 2**62, -1, 0, 1.5, True, None, "7"])
def test_impossible_lengths_of_schema_1_are_refused(tmp_path: Path, steps: Any) -> None:
    (tmp_path / "a.replay").write_bytes(VERSION_1.read_bytes())
    forge(tmp_path / "a.replay", lambda header: header["layout"].update({"steps": steps}))
    refused_cheaply(tmp_path / "a.replay")


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


@pytest.mark.parametrize(("row", "claimed"), [(2**18, None), (2**16, None), (64, 2**30), (64, 100)])
def test_bombs_inside_a_block_are_refused(path: Path, row: int, claimed: int | None) -> None:
    """An array of zeros that unpacks to 64 times `row` float32, as the layout says, or to something else."""
    packer = zstandard.ZstdCompressor()
    payload, size = pack({"reward": packer.compress(bytes(claimed or 64 * 4 * row))})
    head, init, *_ = block_borders(path.read_bytes())
    start = path.read_bytes()[head:init]
    forge(path, lambda header: header["layout"].update(tracks={"reward": ["<f4", [row]]}), start)
    path.write_bytes(path.read_bytes() + block(b"STEP", 64, payload, size))
    if claimed is None and 64 * 4 * row <= replay_blocks.MAX_BLOCK_BYTES:
        assert not replay_file.read(path).tracks["reward"].any()
    else:
        refused_cheaply(path)


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
    assert loaded.steps == 128 and loaded.damage is not None and "after step 128" in loaded.damage
    np.testing.assert_array_equal(loaded.frames["agent_position"], recorded.frames["agent_position"][:129])
    assert replay.verify(loaded).exact


def test_version_1_is_read() -> None:
    loaded = replay.load(VERSION_1)
    assert loaded.damage is None and loaded.steps == 70 and loaded.spec.name == "particle/speaker_listener"
    assert loaded.outcome == pytest.approx([-749.87854])
    assert loaded.digests[[0, -1]].tolist() == [7896064541889989332, 7056904721672080292]
    speaker, listener = loaded.groups["speaker"], loaded.groups["listener"]
    assert (speaker.action.sum(), listener.action.sum()) == (65, 129)
    assert listener.value[69, 0] == pytest.approx(0.664492011)
    np.testing.assert_allclose(listener.probabilities[69, 0], [0.1653, 0.1713, 0.2019, 0.0868, 0.3748], atol=1e-4)
    assert loaded.frames["agent_position"].shape == (71, 2, 2)
    assert loaded.policies == {"team": ("random", None, None)} and loaded.pictures is None and not loaded.views


def test_version_1_is_written_as_the_present_one(tmp_path: Path) -> None:
    old = replay.load(VERSION_1)
    old.save(tmp_path / "a.replay")
    new = replay.load(tmp_path / "a.replay")
    assert (tmp_path / "a.replay").read_bytes()[8:12] == struct.pack("<I", replay_file.SCHEMA)
    assert new.header == old.header and new.damage is None
    for name, track in old.groups.items():
        assert all(x.tobytes() == y.tobytes() for x, y in zip(track, new.groups[name], strict=True))
    assert all(old.frames[name].tobytes() == new.frames[name].tobytes() for name in old.frames)


def test_a_cut_file_of_version_1_plays_its_whole_chunks() -> None:
    data = VERSION_1.read_bytes()
    for cut, said in ((len(data) - 5, "the end of the file is not"), (len(data) - 60, "the index is not")):
        contents = replay_file.read(io.BytesIO(data[:cut]))
        assert len(contents.tracks["digest"]) == 70 and contents.damage is not None and said in contents.damage
    contents = replay_file.read(io.BytesIO(data[: len(data) - 300]))
    assert len(contents.tracks["digest"]) == 64 and contents.damage is not None
    assert "after step 64 of 70" in contents.damage


@pytest.mark.parametrize("dtype", sorted(replay_blocks.DTYPES))
@pytest.mark.parametrize("shape", [(1,), (64, 3), (5, 2, 0), (7, 1, 2, 3)])
def test_planes_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, (*shape, 8), np.uint8)
    rows = array[..., : np.dtype(dtype).itemsize].copy().view(dtype).reshape(shape)
    back = replay_blocks.from_planes(replay_blocks.to_planes(rows), np.dtype(dtype), shape)
    assert back.dtype == rows.dtype and back.shape == rows.shape and back.tobytes() == rows.tobytes()


def test_ten_agents_and_500_steps_take_150_kilobytes() -> None:
    """Noise in every number that can be noise: actions, probabilities, values, and where random play leads."""
    recorded = record("particle/spread", N=10, max_cycles=500)
    assert recorded.groups["agent"].probabilities.shape == (500, 10, 5)
    assert len(np.unique(recorded.groups["agent"].value)) > 1000
    assert len(in_memory(recorded)) <= 150_000


def test_a_file_that_is_being_written_plays_its_whole_chunks(tmp_path: Path) -> None:
    """As somebody finds it who looks while, or after, it was written by a process that was killed."""
    layout = {name: (array.dtype, array.shape[1:]) for name, array in TRACKS.items()}
    writer = replay_file.Writer(tmp_path / "a.replay", ABOUT, START, layout)
    part = tmp_path / "a.replay.part"
    with pytest.raises(RefusedFile, match="the file ends after step 0"):
        replay_file.read(part)
    for first in (0, 64):
        writer.add_steps({name: array[first : first + 64] for name, array in TRACKS.items()})
        contents = replay_file.read(part)
        assert contents.damage == f"the file ends after step {first + 64}"
        assert_prefix(contents, first + 64)
    assert not (tmp_path / "a.replay").exists()
    writer.add_steps({name: array[128:] for name, array in TRACKS.items()})
    writer.end({"end": [1]})
    assert replay_file.read(tmp_path / "a.replay").about == {**ABOUT, "end": [1]} and not part.exists()


def test_more_than_fits_in_memory_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = sum(array[0].nbytes for array in TRACKS.values())
    monkeypatch.setattr(replay_file, "MAX_READ_BYTES", 130 * row)
    contents = replay_file.read(path)
    assert contents.damage == "more is not read at once after step 128"
    assert_prefix(contents, 128)


@pytest.fixture(scope="module")
def real() -> tuple[replay.Replay, bytes]:
    """A replay of two chunks, and its file."""
    recorded = record("particle/tag", max_cycles=100)
    return recorded, in_memory(recorded)


def same_or_refused(recorded: replay.Replay, data: bytes) -> bool:
    """Through the whole reader: refused (False), or true data, and damage told where some is missing."""
    try:
        loaded = replay.load(io.BytesIO(data))
    except RefusedFile:
        return False
    assert loaded.damage
    for name, track in loaded.groups.items():
        for mine, theirs in zip(track, recorded.groups[name], strict=True):
            assert mine.tobytes() == theirs[: loaded.steps].tobytes()
    for name, array in loaded.frames.items():
        assert array.tobytes() == recorded.frames[name][: loaded.steps + 1].tobytes()
    return True


def test_500_cuts_of_a_real_replay(real: tuple[replay.Replay, bytes]) -> None:
    recorded, data = real
    cuts = np.random.default_rng(4).integers(0, len(data), 500)
    assert 0 < sum(same_or_refused(recorded, data[:cut]) for cut in cuts) < 500


def test_500_edits_of_a_real_replay(real: tuple[replay.Replay, bytes]) -> None:
    recorded, data = real
    rng = np.random.default_rng(5)
    played = 0
    for _ in range(500):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] ^= int(rng.integers(1, 256))
        played += bytes(changed) != data and same_or_refused(recorded, bytes(changed))
    assert 0 < played < 500
