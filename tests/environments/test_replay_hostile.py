"""Files made to hurt: through the whole reader, in a process of its own whose memory and time are measured."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard

from environments import replay, replay_blocks, replay_file
from environments.replay_blocks import pack_block
from tests.environments.test_replay_file import VERSION_1, block, block_borders, in_memory
from tests.recording import record

MOST_MEGABYTES = 300

READ = """
import json, resource, sys, time
from pathlib import Path
from environments import replay
from environments.errors import RefusedFile

told = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    began = time.perf_counter()
    try:
        loaded = replay.load(path)
        if loaded.pictures is not None:
            shown = [loaded.pictures.at(frame) is not None for frame in (0, 1, loaded.steps)]
        told[path.name] = f"plays {loaded.steps} steps; {loaded.damage}"
        del loaded
    except RefusedFile as error:
        told[path.name] = f"refused: {error}"
    told[path.name] += f" ({time.perf_counter() - began:.1f} s)"
status = Path("/proc/self/status")
if status.exists():  # `ru_maxrss` of a new process is at least what the process that started it held
    peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"told": told, "peak": peak, "heavy": [m for m in ("torch", "numba") if m in sys.modules]}))
"""


@pytest.fixture(scope="module")
def small() -> bytes:
    """A file of four steps."""
    return in_memory(record("toy/meet"))


def edited(data: bytes, edit: Callable[[dict[str, Any]], None], blocks: bytes | None = None) -> bytes:
    """The file with an edited header and, if given, other blocks."""
    schema, length = struct.unpack_from("<II", data, 8)
    header = json.loads(data[20 : 20 + length])
    edit(header)
    text = json.dumps(header).encode()
    start = struct.pack("<8sIII", replay_file.MAGIC, schema, len(text), zlib.crc32(text)) + text
    return start + (data[20 + length :] if blocks is None else blocks)


def tracks_of(data: bytes, **changes: Any) -> bytes:
    """The file with other layouts of some per-step arrays."""
    return edited(data, lambda header: header["layout"]["tracks"].update(changes))


def step(first: int, count: int, layout: Mapping[str, tuple[str, list[int]]]) -> bytes:
    """A STEP block of zeros, packed as small as it goes."""
    packer = zstandard.ZstdCompressor(level=3)
    sizes = {name: np.dtype(dtype).itemsize * count * int(np.prod(shape)) for name, (dtype, shape) in layout.items()}
    raw = msgpack.packb({name: packer.compress(bytes(size)) for name, size in sizes.items()})
    return pack_block(b"STEP", first, count, raw)


def many_steps(data: bytes, row: int, blocks: int) -> bytes:
    """A file with `row` more bytes in every step than it needs, and that many blocks of 64 steps."""
    changed = tracks_of(data, filler=["|u1", [row]])
    length = struct.unpack_from("<I", changed, 12)[0]
    layout = json.loads(changed[20 : 20 + length])["layout"]["tracks"]
    start = changed[: 20 + length] + data[slice(*block_borders(data)[:2])]
    return start + b"".join(step(64 * k, 64, layout) for k in range(blocks))


def hostile(small: bytes) -> dict[str, bytes]:
    """Files by name."""
    first, init, *_ = block_borders(small)
    huge = zstandard.ZstdCompressor().compress(bytes(2**28))
    pictures = edited(small, lambda header: header["layout"].update(pictures=[2048, 2048]))
    cut = struct.unpack_from("<I", pictures, 12)[0] + 20
    seen = pack_block(b"PICT", 0, 0, bytes(2048 * 2048 * 3)) + pack_block(b"PICT", 1, 1, bytes(2048 * 2048 * 3))
    heads = b"".join(struct.pack("<4sQIIII", b"PICT", k, 0, 0, 2048 * 2048 * 3, 0) for k in range(2**18))
    return {
        "terabytes in a track": tracks_of(small, digest=["<u8", [2**40]]),
        "terabytes in the start": edited(small, lambda h: h["layout"]["start"].update({"state/x": ["<f8", [2**40]]})),
        "half a gigabyte a block": tracks_of(small, filler=["|u1", [2**22]]),
        "a bomb for the start": small[:first] + block(b"INIT", 0, huge, 2**28) + small[init:],
        "a bomb for the steps": small[:init] + block(b"STEP", 4, huge, 2**24),
        "deep header": struct.pack("<8sIII", replay_file.MAGIC, 2, 65_536, zlib.crc32(b"[" * 65_536)) + b"[" * 65_536,
        "deep header in version 1": struct.pack("<8sIII", replay_file.MAGIC, 1, 9, zlib.crc32(b"[" * 9)) + b"[" * 9,
        "deep about": edited(
            small, lambda header: header["about"].update(environment=json.loads("[" * 900 + "]" * 900))
        ),
        "all that is read": many_steps(small, 2**14, 80),
        "more than is read": many_steps(small, 2**15, 80),
        "many steps": many_steps(small, 0, 1000),
        "large pictures": pictures[:cut] + small[first:init] + seen + small[init:],
        "a million heads of pictures": pictures[:cut] + small[first:init] + heads,
        "version 1, huge": edited(VERSION_1.read_bytes(), lambda header: header["layout"].update(steps=2**50)),
        "names that are paths": edited(small, lambda h: h["layout"]["tracks"].update({"frame/../../x": ["<f4", [1]]})),
    }


def test_files_made_to_hurt(small: bytes, tmp_path: Path) -> None:
    files = hostile(small)
    (tmp_path / "files").mkdir()
    for name, data in files.items():
        (tmp_path / "files" / name).write_bytes(data)
    with open(tmp_path / "files" / "a large hole", "wb") as file:  # takes no room on the disk
        file.write(small)
        file.truncate(500 * 2**20)
    (tmp_path / "empty").mkdir()
    words = [sys.executable, "-c", READ, str(tmp_path / "files")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    told = said["told"]
    assert said["peak"] < MOST_MEGABYTES and not said["heavy"]
    plays = {name for name, what in told.items() if what.startswith("plays")}
    assert plays == {"all that is read", "more than is read", "many steps", "large pictures", "a large hole"}
    assert "more is not read at once" in told["more than is read"] and "plays 64000 steps" in told["many steps"]
    assert told.keys() == {*files, "a large hole"} and not list((tmp_path / "empty").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"files", "empty"}, "nothing was written outside"


def test_numbers_that_are_none_are_read(small: bytes) -> None:
    """NaN and infinity in every number that may be one: it is for those who look to cope."""
    recorded = record("toy/meet")
    wild = recorded.tracks()
    for name, array in wild.items():
        if array.dtype.kind == "f":
            wild[name] = np.resize(np.array([np.nan, np.inf, -np.inf], array.dtype), array.shape)
    writer = replay_file.Writer(
        None, recorded.header, recorded.start(), {name: (array.dtype, array.shape[1:]) for name, array in wild.items()}
    )
    writer.add_steps(wild)
    file = writer.end({"outcome": ["nan"] * recorded.spec.num_teams})
    assert isinstance(file, io.BytesIO)
    loaded = replay.load(file)
    assert loaded.damage is None and np.isnan(loaded.outcome).all()
    assert not np.isfinite(loaded.groups[recorded.spec.groups[0].name].reward).any()


def test_the_caps_fit_into_the_memory_that_is_promised() -> None:
    """Arrays are in memory twice while they are put together; a block, packed and unpacked; pictures in threes."""
    largest = 2 * replay_file.MAX_READ_BYTES + 3 * replay_blocks.MAX_BLOCK_BYTES
    assert largest < (MOST_MEGABYTES - 60) * 2**20
