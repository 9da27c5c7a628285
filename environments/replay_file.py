"""The bytes of a replay file: a small header, then checksummed, compressed blocks of named arrays.

    prelude   8 bytes magic · u32 schema · u32 header length · u32 CRC-32 of the header
    header    JSON, at most 64 KiB: `layout` (name -> [dtype, shape] of every array, number of steps) and `about`
    INIT      one block: arrays of the start
    STEP ...  blocks of 64 steps: every per-step array of those steps
    INDX      one block: where each STEP block begins
    trailer   u64 offset of INDX · 8 bytes end mark

A block is `4s tag · u64 first step · u32 steps · u32 packed bytes · u32 raw bytes · u32 CRC-32 (of these fields and of
the payload)`, then the payload: zstd over msgpack `{name: bytes}`, little-endian.

Files travel, so nothing in one is believed: every declared size is compared with a cap and with the bytes that are
there *before* memory is taken, decompression has a hard limit, nothing is unpickled, no name becomes a path. A file
that was cut or damaged in its steps is read up to the first block that is not whole; a damaged prelude, header or
INIT block is refused. Every single-byte change is noticed (CRC-32).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from environments.errors import RefusedFile, StorageFailure

MAGIC = b"\x89MREPLAY"
END = b"REPLAY\r\n"
SCHEMA = 1
CHUNK_STEPS = 64
MAX_HEADER_BYTES = 64 * 1024
MAX_BLOCK_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 512 * 2**20
MAX_ARRAYS = 512
MAX_DIMENSIONS = 8
DTYPES = frozenset(["|b1", "|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"])

_PRELUDE = struct.Struct("<8sIII")
_BLOCK = struct.Struct("<4sQIII")
_CRC = struct.Struct("<I")
_TRAILER = struct.Struct("<Q8s")

Array = NDArray[Any]
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    about: Mapping[str, Any]
    """The caller's header: plain JSON data."""
    start: Mapping[str, Array]
    """Arrays of the start."""
    tracks: Mapping[str, Array]
    """Per-step arrays `[T, ...]`."""
    damage: str | None = None
    """What is missing or broken, or None."""


class _Damaged(Exception):
    """A block that is not whole; the message says how."""


def write(path: Path, about: Mapping[str, Any], start: Mapping[str, Array], tracks: Mapping[str, Array]) -> None:
    """Write a replay file: to a temporary name, synced, renamed. StorageFailure, ValueError on what cannot be held."""
    steps = _common_length(tracks)
    start = {name: _portable(name, array) for name, array in start.items()}
    tracks = {name: _portable(name, array) for name, array in tracks.items()}
    layout = {
        "steps": steps,
        "start": {name: [array.dtype.str, list(array.shape)] for name, array in start.items()},
        "tracks": {name: [array.dtype.str, list(array.shape[1:])] for name, array in tracks.items()},
    }
    header = json.dumps({"layout": layout, "about": about}, allow_nan=False, separators=(",", ":")).encode()
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"replay header is {len(header)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    _parse_layout(layout)  # what could not be read again is not written either
    parts = [_PRELUDE.pack(MAGIC, SCHEMA, len(header), zlib.crc32(header)), header, _block(b"INIT", 0, 0, start)]
    offset = sum(map(len, parts))
    index = []
    for first in range(0, steps, CHUNK_STEPS):
        rows = {name: array[first : first + CHUNK_STEPS] for name, array in tracks.items()}
        parts.append(_block(b"STEP", first, min(CHUNK_STEPS, steps - first), rows))
        index.append(offset)
        offset += len(parts[-1])
    parts.append(_block(b"INDX", 0, steps, {"offsets": np.asarray(index, "<u8")}))
    parts.append(_TRAILER.pack(offset, END))
    _replace(path, b"".join(parts))


def _replace(path: Path, data: bytes) -> None:
    """Write, sync, rename: the name shows either the old file or the whole new one."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StorageFailure(f"cannot write {path}: {error.strerror}; nothing was replaced") from error


def _portable(name: str, array: Array) -> Array:
    little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    if little.dtype.str not in DTYPES:
        raise ValueError(f"replay array {name!r} has dtype {array.dtype}, which a replay file cannot hold")
    return little


def _common_length(tracks: Mapping[str, Array]) -> int:
    lengths = {len(array) for array in tracks.values()}
    if len(lengths) != 1:
        raise ValueError(f"per-step arrays of a replay must have one length, not {sorted(lengths)}")
    return lengths.pop()


def _block(tag: bytes, first: int, steps: int, arrays: Mapping[str, Array]) -> bytes:
    raw = msgpack.packb({name: array.tobytes() for name, array in arrays.items()})
    if len(raw) > MAX_BLOCK_BYTES:
        raise ValueError(f"{CHUNK_STEPS} steps take {len(raw)} bytes, a replay block holds {MAX_BLOCK_BYTES}")
    packed = zstandard.ZstdCompressor(level=3).compress(raw)
    fields = _BLOCK.pack(tag, first, steps, len(packed), len(raw))
    return fields + _CRC.pack(zlib.crc32(packed, zlib.crc32(fields))) + packed


def read(path: Path) -> Contents:
    """Read a replay file, as far as it is whole. RefusedFile where nothing of it can be shown."""
    try:
        size = path.stat().st_size
        if size > MAX_TOTAL_BYTES:
            raise RefusedFile(f"{path}: {size} bytes, a replay has at most {MAX_TOTAL_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise RefusedFile(f"cannot read {path}: {error.strerror}") from error
    try:
        return _decode(data)
    except _Damaged as error:
        raise RefusedFile(f"{path}: {error}; nothing of it can be shown") from error


def _decode(data: bytes) -> Contents:
    about, start_layout, track_layout, steps, offset = _read_header(data)
    start, offset = _read_block(data, offset, b"INIT", 0, 0, start_layout)
    pieces: list[dict[str, Array]] = []
    offsets: list[int] = []
    damage = None
    done = 0
    try:
        while done < steps:
            count = min(CHUNK_STEPS, steps - done)
            rows = {name: (dtype, (count, *shape)) for name, (dtype, shape) in track_layout.items()}
            piece, after = _read_block(data, offset, b"STEP", done, count, rows)
            pieces.append(piece)
            offsets.append(offset)
            offset = after
            done += count
    except _Damaged as error:
        damage = f"{error} after step {done} of {steps}"
    if done == 0:
        raise _Damaged(damage or "it holds no steps")
    if damage is None:
        damage = _index_damage(data, offset, offsets, steps)
    tracks = {name: np.concatenate([piece[name] for piece in pieces]) for name in track_layout}
    return Contents(about, start, tracks, damage)


def _read_header(data: bytes) -> tuple[Mapping[str, Any], Layout, Layout, int, int]:
    """(about, start layout, track layout, steps, offset of the first block)."""
    if len(data) < _PRELUDE.size or data[: len(MAGIC)] != MAGIC:
        raise _Damaged("this is not a replay file")
    _, schema, length, checksum = _PRELUDE.unpack_from(data)
    if schema != SCHEMA:
        raise _Damaged(f"replay schema {schema} is unknown, this version reads {SCHEMA}")
    if length > MAX_HEADER_BYTES:
        raise _Damaged(f"the header claims {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
    text = data[_PRELUDE.size : _PRELUDE.size + length]
    if len(text) != length or zlib.crc32(text) != checksum:
        raise _Damaged("the header is cut or damaged")
    try:
        header = json.loads(text, parse_constant=_no_constant)
        layout, about = header["layout"], header["about"]
        start, tracks, steps = _parse_layout(layout)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _Damaged(f"the header cannot be understood ({type(error).__name__}: {error})") from error
    if not isinstance(about, dict):
        raise _Damaged("the header cannot be understood")
    return about, start, tracks, steps, _PRELUDE.size + length


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_layout(layout: Mapping[str, Any]) -> tuple[Layout, Layout, int]:
    """Checked (start, tracks, steps) of a layout. ValueError, TypeError or KeyError where it is impossible."""
    steps = layout["steps"]
    if not _natural(steps) or steps == 0:
        raise ValueError(f"{steps} steps")
    start = {str(name): _array_type(entry) for name, entry in dict(layout["start"]).items()}
    tracks = {str(name): _array_type(entry) for name, entry in dict(layout["tracks"]).items()}
    if not tracks or len(start) + len(tracks) > MAX_ARRAYS:
        raise ValueError(f"{len(start) + len(tracks)} arrays, at most {MAX_ARRAYS} are allowed")
    total = _row_bytes(start) + steps * max(1, _row_bytes(tracks))
    if total > MAX_TOTAL_BYTES:
        raise ValueError(f"{total} bytes of arrays, at most {MAX_TOTAL_BYTES} are allowed")
    return start, tracks, steps


def _array_type(entry: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    dtype, shape = entry
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}")
    if len(shape) > MAX_DIMENSIONS or not all(_natural(n) and n <= MAX_TOTAL_BYTES for n in shape):
        raise ValueError(f"shape {shape}")
    return np.dtype(dtype), tuple(shape)


def _natural(number: Any) -> bool:
    return type(number) is int and number >= 0


def _row_bytes(layout: Layout) -> int:
    total = 0
    for dtype, shape in layout.values():
        size = dtype.itemsize
        for n in shape:  # Python integers: no overflow
            size *= n
        total += size
    return total


def _read_block(
    data: bytes, offset: int, tag: bytes, first: int, steps: int, layout: Layout
) -> tuple[dict[str, Array], int]:
    """The arrays of the block at `offset`, which must be exactly the expected one, and the offset after it."""
    payload_at = offset + _BLOCK.size + _CRC.size
    if payload_at > len(data):
        raise _Damaged("the file ends")
    found, found_first, found_steps, packed_size, raw_size = _BLOCK.unpack_from(data, offset)
    (checksum,) = _CRC.unpack_from(data, offset + _BLOCK.size)
    if packed_size > len(data) - payload_at:
        raise _Damaged("the file ends inside a block")
    packed = data[payload_at : payload_at + packed_size]
    if zlib.crc32(packed, zlib.crc32(data[offset : offset + _BLOCK.size])) != checksum:
        raise _Damaged("a block is damaged (checksum)")
    if (found, found_first, found_steps) != (tag, first, steps):
        raise _Damaged(f"a block is not the expected one ({found!r} {found_first} {found_steps})")
    return _unpack(packed, raw_size, layout), payload_at + packed_size


def _unpack(packed: bytes, raw_size: int, layout: Layout) -> dict[str, Array]:
    names_and_marks = sum(len(name.encode()) + 16 for name in layout) + 16
    if raw_size > min(MAX_BLOCK_BYTES, _row_bytes(layout) + names_and_marks):
        raise _Damaged(f"a block claims {raw_size} bytes, more than its arrays need")
    try:
        # The decompressor believes the frame's own size before the limit it is given: compare them first.
        if zstandard.frame_content_size(packed) != raw_size:
            raise _Damaged("a block's sizes contradict one another")
        raw = zstandard.ZstdDecompressor(max_window_size=2**27).decompress(
            packed, max_output_size=raw_size, allow_extra_data=False
        )
        fields = msgpack.unpackb(raw, raw=False, strict_map_key=True)
    except (zstandard.ZstdError, ValueError, msgpack.UnpackException, MemoryError) as error:
        raise _Damaged(f"a block cannot be unpacked ({error})") from error
    if not isinstance(fields, dict) or set(fields) != set(layout):
        raise _Damaged("a block holds other arrays than the header says")
    arrays = {}
    for name, (dtype, shape) in layout.items():
        content = fields[name]
        if not isinstance(content, bytes) or len(content) != _row_bytes({name: (dtype, shape)}):
            raise _Damaged(f"array {name!r} has not the size that the header says")
        array = np.frombuffer(content, np.uint8) != 0 if dtype.kind == "b" else np.frombuffer(content, dtype)
        arrays[name] = array.reshape(shape)
    return arrays


def _index_damage(data: bytes, offset: int, offsets: list[int], steps: int) -> str | None:
    """What is wrong behind the last step, or None. All steps are there at this point."""
    layout: Layout = {"offsets": (np.dtype("<u8"), (len(offsets),))}
    try:
        index, after = _read_block(data, offset, b"INDX", 0, steps, layout)
    except _Damaged as error:
        return f"all {steps} steps are whole, but the index is not: {error}"
    if index["offsets"].tolist() != offsets or data[after:] != _TRAILER.pack(offset, END):
        return f"all {steps} steps are whole, but the end of the file is not"
    return None
