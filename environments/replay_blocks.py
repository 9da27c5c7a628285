"""Blocks of a replay file: checksummed, compressed pieces, and the arrays in them. See `environments.replay_file`.

Nothing that a file says is believed: sizes are compared with caps and with what is there before memory is taken.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

MAX_BLOCK_BYTES = 16 * 2**20
MAX_TOTAL_BYTES = 512 * 2**20
MAX_ARRAYS = 512
MAX_DIMENSIONS = 8
DTYPES = frozenset(["|b1", "|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"])
LEVEL = 3
"""Of compression: more costs several times the time and saves a hundredth."""

_FIELDS = struct.Struct("<4sQIII")
_CRC = struct.Struct("<I")
HEAD = _FIELDS.size + _CRC.size

Array = NDArray[Any]
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


class Damaged(Exception):
    """A block that is not whole; the message says how."""


class Head(NamedTuple):
    """What a block says of itself."""

    tag: bytes
    first: int
    span: int
    packed: int
    raw: int
    checksum: int
    fields: int
    """CRC-32 of the fields before the checksum."""


def pack_block(tag: bytes, first: int, span: int, raw: bytes) -> bytes:
    """A whole block. ValueError where it would be too large to be read again."""
    if len(raw) > MAX_BLOCK_BYTES:
        raise ValueError(f"{len(raw)} bytes in one block, a replay block holds {MAX_BLOCK_BYTES}")
    packed = _deflate(raw)
    fields = _FIELDS.pack(tag, first, span, len(packed), len(raw))
    return fields + _CRC.pack(zlib.crc32(packed, zlib.crc32(fields))) + packed


def read_head(file: BinaryIO, at: int, size: int) -> Head:
    """The head of the block at `at` of a file of `size` bytes. Damaged where the file ends before the block does."""
    if at + HEAD > size:
        raise Damaged("the file ends")
    file.seek(at)
    data = file.read(HEAD)
    if len(data) != HEAD:
        raise Damaged("the file ends")
    tag, first, span, packed, raw = _FIELDS.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _FIELDS.size)
    head = Head(tag, first, span, packed, raw, checksum, zlib.crc32(data[: _FIELDS.size]))
    if head.packed > size - at - HEAD:
        raise Damaged("the file ends inside a block")
    return head


def read_raw(file: BinaryIO, at: int, head: Head, most: int) -> bytes:
    """A block's content, at most `most` bytes. Damaged where it is not what its head says."""
    if head.raw > min(MAX_BLOCK_BYTES, most):
        raise Damaged(f"a block claims {head.raw} bytes, more than its arrays need")
    if head.packed > zstandard_bound(head.raw):
        raise Damaged(f"a block claims {head.packed} packed bytes for {head.raw}")
    file.seek(at + HEAD)
    packed = file.read(head.packed)
    if zlib.crc32(packed, head.fields) != head.checksum:
        raise Damaged("a block is damaged (checksum)")
    return _inflate(packed, head.raw, "a block")


def _deflate(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(raw)


def _inflate(packed: bytes, size: int, what: str) -> bytes:
    """What was deflated, which must be exactly that long. Damaged where it is not."""
    try:
        # The decompressor believes the frame's own size before the limit it is given: compare them first.
        if zstandard.frame_content_size(packed) != size:
            raise Damaged(f"the sizes of {what} contradict one another")
        return zstandard.ZstdDecompressor(max_window_size=2**27).decompress(
            packed, max_output_size=size, allow_extra_data=False
        )
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damaged(f"{what} cannot be unpacked ({error})") from error


def zstandard_bound(raw: int) -> int:
    """No block of `raw` bytes is packed into more than this many."""
    return raw + raw // 128 + 1024


def portable(name: str, array: Array) -> Array:
    """The array, little-endian and contiguous. ValueError on a type that a replay file cannot hold."""
    little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    if little.dtype.str not in DTYPES:
        raise ValueError(f"replay array {name!r} has dtype {array.dtype}, which a replay file cannot hold")
    return little


def pack_arrays(arrays: Mapping[str, Array], planes: bool) -> bytes:
    """Arrays as a msgpack map from name to bytes; with `planes`, taken apart (`to_planes`) and each packed by itself.

    Numbers of different kinds, packed together, would share one table of how often each byte comes.
    """
    if sum(array.nbytes for array in arrays.values()) > MAX_BLOCK_BYTES:
        raise ValueError(f"arrays of more than {MAX_BLOCK_BYTES} bytes do not fit in one replay block")
    fields = {name: _deflate(to_planes(a)) if planes else a.tobytes() for name, a in arrays.items()}
    packed: bytes = msgpack.packb(fields)
    return packed


def unpack_arrays(raw: bytes, layout: Layout, planes: bool) -> dict[str, Array]:
    """What `pack_arrays` packed. Damaged where it is not exactly what the layout says."""
    if row_bytes(layout) > MAX_BLOCK_BYTES:
        raise Damaged(f"the arrays of one block take {row_bytes(layout)} bytes, at most {MAX_BLOCK_BYTES} are allowed")
    try:
        fields = msgpack.unpackb(raw, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise Damaged(f"a block cannot be unpacked ({error})") from error
    if not isinstance(fields, dict) or set(fields) != set(layout):
        raise Damaged("a block holds other arrays than the header says")
    arrays = {}
    for name, (dtype, shape) in layout.items():
        content, size = fields[name], row_bytes({name: (dtype, shape)})
        if planes and isinstance(content, bytes):
            content = _inflate(content, size, f"array {name!r}")
        if not isinstance(content, bytes) or len(content) != size:
            raise Damaged(f"array {name!r} has not the size that the header says")
        stored = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        array = from_planes(content, stored, shape) if planes else np.frombuffer(content, stored).reshape(shape)
        arrays[name] = array != 0 if dtype.kind == "b" else array
    return arrays


def room(layout: Layout) -> int:
    """Bytes that `pack_arrays` may need for arrays of that layout."""
    return zstandard_bound(row_bytes(layout)) + sum(len(name.encode()) + 64 for name in layout)


def to_planes(rows: Array) -> bytes:
    """The bytes of `[n, ...]` values: first the lowest byte of every value, and so on; within that by column, in time.

    What is alike (a sign and an exponent, the same number a step later) stands side by side: a third fewer bytes.
    """
    columns = rows.size // len(rows)
    octets = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), columns, rows.dtype.itemsize)
    return octets.transpose(2, 1, 0).tobytes()


def from_planes(content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The values that `to_planes` took apart."""
    columns = len(content) // (dtype.itemsize * shape[0])
    octets = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, columns, shape[0])
    return np.ascontiguousarray(octets.transpose(2, 1, 0)).view(dtype).reshape(shape)


def parse_layout(said: Mapping[str, Any], steps: int) -> tuple[Layout, Layout]:
    """Checked (start, tracks) of a layout, for at least so many steps. ValueError, TypeError or KeyError."""
    start = {str(name): _array_type(entry) for name, entry in dict(said["start"]).items()}
    tracks = {str(name): _array_type(entry) for name, entry in dict(said["tracks"]).items()}
    if not tracks or len(start) + len(tracks) > MAX_ARRAYS:
        raise ValueError(f"{len(start) + len(tracks)} arrays, at most {MAX_ARRAYS} are allowed")
    total = row_bytes(start) + steps * max(1, row_bytes(tracks))
    if total > MAX_TOTAL_BYTES:
        raise ValueError(f"{total} bytes of arrays, at most {MAX_TOTAL_BYTES} are allowed")
    return start, tracks


def _array_type(entry: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    dtype, shape = entry
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}")
    if len(shape) > MAX_DIMENSIONS or not all(is_natural(n) and n <= MAX_TOTAL_BYTES for n in shape):
        raise ValueError(f"shape {shape}")
    return np.dtype(dtype), tuple(shape)


def is_natural(number: Any) -> bool:
    """True for 0, 1, 2, ... and nothing that merely equals one."""
    return type(number) is int and number >= 0


def row_bytes(layout: Layout) -> int:
    """Bytes of one row of every array."""
    total = 0
    for dtype, shape in layout.values():
        size = dtype.itemsize
        for n in shape:  # Python integers: no overflow
            size *= n
        total += size
    return total
