"""The bytes of a replay file: a small header, then checksummed, compressed blocks, each written when it is known.

    prelude   8 bytes magic · u32 schema · u32 header length · u32 CRC-32 of the header
    header    JSON, at most 64 KiB: `layout` (name -> [dtype, shape] of every array, sizes of pictures and of large
              views) and `about`
    INIT      one block: arrays of the start
    PICT ...  one block for every recorded picture, before the STEP block of the step that led to it
    VIEW ...  one block for all that agents saw before a step, before its STEP block; only where that is large
    STEP ...  blocks of 64 steps (the last one fewer): every per-step array of those steps
    LAST      one block: the number of steps, and what is known only at the end

A block is `4s tag · u64 first · u32 span · u32 packed bytes · u32 raw bytes · u32 CRC-32 (of these fields and of the
payload)`, then the payload, packed with zstd. `docs/replay-format.md` says the rest, and what schema 1 was.

Files travel, so nothing in one is believed: every declared size is compared with a cap and with the bytes that are
there *before* memory is taken, decompression has a hard limit, nothing is unpickled, no name becomes a path. A file
that was cut or damaged in its steps, or is still being written, is read up to the first block that is not whole; a
damaged prelude, header or INIT block is refused. Every single-byte change is noticed (CRC-32; that of a picture when
it is looked at).
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from environments.errors import RefusedFile, StorageFailure
from environments.replay_blocks import (
    HEAD,
    MAX_BLOCK_BYTES,
    MAX_TOTAL_BYTES,
    Array,
    Damaged,
    Layout,
    is_natural,
    pack_arrays,
    pack_block,
    parse_layout,
    portable,
    read_head,
    read_raw,
    room,
    row_bytes,
    unpack_arrays,
)
from environments.replay_pictures import TAG, Pictures, check_size, octets_of, picture_bytes
from environments.replay_stream import Index, Octets, Packer, Stream

MAGIC = b"\x89MREPLAY"
SCHEMA = 3
VIEW = b"VIEW"
CHUNK_STEPS = 64
MAX_HEADER_BYTES = 64 * 1024
MAX_STEPS = 2**20
MAX_READ_BYTES = 80 * 2**20
"""Arrays that are read of one file: a reader never needs more than 300 MB of memory."""
PART = ".part"
"""What the name of a file ends with while it is being written."""

_PRELUDE = struct.Struct("<8sIII")
_TRAILER = struct.Struct("<Q8s")
_END_OF_SCHEMA_1 = b"REPLAY\r\n"


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    about: Mapping[str, Any]
    """The caller's header: plain JSON data, with what was known only at the end where that is there."""
    start: Mapping[str, Array]
    """Arrays of the start."""
    tracks: Mapping[str, Array]
    """Per-step arrays `[T, ...]`."""
    damage: str | None = None
    """What is missing or broken, or None."""
    pictures: Pictures | None = None
    """What the environment drew, before every step and at the end; None where nothing was recorded."""
    views: Stream | None = None
    """What agents saw before every step, where it is too large for a track."""


class Writer:
    """Writes one file, block by block: whatever happens, it can be read up to its last whole block.

    It is written beside its place, as `NAME.part`, and gets its name in `end`. StorageFailure where it cannot be
    written.
    """

    def __init__(
        self,
        path: Path | None,
        about: Mapping[str, Any],
        start: Mapping[str, Array],
        tracks: Layout,
        picture: tuple[int, int] | None = None,
        views: int | None = None,
    ) -> None:
        """`tracks`: type and shape of one step of every per-step array; `picture`: height and width of pictures;
        `views`: bytes of what agents see before one step, where that is no track.

        Without a path it is written into memory. ValueError on what a replay file cannot hold.
        """
        start = {name: portable(name, array) for name, array in start.items()}
        layout = {
            "start": {name: [array.dtype.str, list(array.shape)] for name, array in start.items()},
            "tracks": {name: [dtype.newbyteorder("<").str, list(shape)] for name, (dtype, shape) in tracks.items()},
            "pictures": None if picture is None else list(picture),
            "views": views,
        }
        header = json.dumps({"layout": layout, "about": about}, allow_nan=False, separators=(",", ":")).encode()
        if len(header) > MAX_HEADER_BYTES:
            raise ValueError(f"replay header is {len(header)} bytes, at most {MAX_HEADER_BYTES} are allowed")
        self.tracks = parse_layout(layout, 1)[1]  # what could not be read again is not written either
        self.steps = 0
        self.bytes = 0
        self._path = path
        self._picture = (0, 0) if picture is None else picture
        self._packers = {tag: Packer(tag, size) for tag, size in _streams(layout).items()}
        parts = [_PRELUDE.pack(MAGIC, SCHEMA, len(header), zlib.crc32(header)), header]
        parts.append(pack_block(b"INIT", 0, 0, pack_arrays(start, planes=False)))
        self._file = self._open()
        self._put(b"".join(parts))

    @property
    def part(self) -> Path | None:
        """The file that is being written; None in memory."""
        return None if self._path is None else self._path.with_name(self._path.name + PART)

    def add_picture(self, frame: int, pixels: Array) -> None:
        """Append what was to be seen after `frame` steps, `[H, W, 3]` uint8."""
        self._put(self._packers[TAG].block(frame, octets_of(self._picture, pixels)))

    def add_views(self, frame: int, octets: Octets) -> None:
        """Append what agents saw after `frame` steps, all in one row."""
        self._put(self._packers[VIEW].block(frame, octets))

    def add_steps(self, rows: Mapping[str, Array]) -> None:
        """Append the next steps, `CHUNK_STEPS` of them, or fewer where they are the last."""
        count = len(next(iter(rows.values())))
        rows = {name: portable(name, array) for name, array in rows.items()}
        self._put(pack_block(b"STEP", self.steps, count, pack_arrays(rows, planes=True)))
        self.steps += count

    def end(self, about: Mapping[str, Any]) -> io.BytesIO | None:
        """Append what is known only now, and give the file its name; where it is in memory, its bytes."""
        text = json.dumps({"steps": self.steps, "about": about}, allow_nan=False).encode()
        if len(text) > MAX_HEADER_BYTES:
            raise ValueError(f"{len(text)} bytes at a replay's end, at most {MAX_HEADER_BYTES} are allowed")
        self._put(pack_block(b"LAST", self.steps, 0, text))
        if self._path is None:
            assert isinstance(self._file, io.BytesIO)
            return self._file
        part = self.part
        assert part is not None
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(part, self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise _unwritten(self._path, error) from error
        return None

    def close(self) -> None:
        """Stop writing; what is there so far can be read."""
        self._file.close()

    def discard(self) -> None:
        """Stop writing, and leave nothing behind."""
        self._file.close()
        if self.part is not None:
            with suppress(OSError):
                self.part.unlink()

    def _open(self) -> BinaryIO:
        part = self.part
        if self._path is None or part is None:
            return io.BytesIO()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            return open(part, "wb", buffering=0)
        except OSError as error:
            raise _unwritten(self._path, error) from error

    def _put(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            assert self._path is not None
            raise _unwritten(self._path, error) from error
        self.bytes += len(data)


def _streams(layout: Mapping[str, Any]) -> dict[bytes, int]:
    """Tag -> bytes of what a file has one of for each frame. ValueError, TypeError or KeyError."""
    sizes = {}
    if layout["pictures"] is not None:
        sizes[TAG] = picture_bytes(tuple(layout["pictures"]))
    if (views := layout.get("views")) is not None:
        if not is_natural(views) or not 0 < views <= MAX_BLOCK_BYTES:
            raise ValueError(f"views of {views} bytes")
        sizes[VIEW] = views
    return sizes


def _unwritten(path: Path, error: OSError) -> StorageFailure:
    return StorageFailure(f"cannot write {path}: {error.strerror}; nothing was replaced")


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write(
    path: Path,
    about: Mapping[str, Any],
    start: Mapping[str, Array],
    tracks: Mapping[str, Array],
    pictures: Pictures | None = None,
    views: Stream | None = None,
) -> None:
    """Write a whole replay file, or none. StorageFailure, ValueError on what cannot be held."""
    lengths = {len(array) for array in tracks.values()}
    if len(lengths) != 1:
        raise ValueError(f"per-step arrays of a replay must have one length, not {sorted(lengths)}")
    steps = lengths.pop()
    tracks = {name: portable(name, array) for name, array in tracks.items()}
    layout = {name: (array.dtype, array.shape[1:]) for name, array in tracks.items()}
    sizes = None if pictures is None else pictures.size, None if views is None else views.size
    writer = Writer(path, about, start, layout, *sizes)
    try:
        for first in range(0, steps, CHUNK_STEPS):
            last = min(first + CHUNK_STEPS, steps)
            for frame in range(first, last + 1):
                pixels = None if pictures is None or 0 < first == frame else pictures.at(frame)
                octets = None if views is None or frame == last else views.at(frame)
                if pixels is not None:
                    writer.add_picture(frame, pixels)
                if octets is not None:
                    writer.add_views(frame, octets)
            writer.add_steps({name: array[first:last] for name, array in tracks.items()})
        writer.end({})
    except BaseException:
        writer.discard()
        raise


def is_replay(path: Path | str) -> bool:
    """True for a file that begins as a replay does, whatever its name."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(source: Path | BinaryIO) -> Contents:
    """Read a replay file, as far as it is whole. RefusedFile where nothing of it can be shown.

    A file that holds pictures or large views stays open as long as they are in use.
    """
    if not isinstance(source, Path):
        return _read(source, "the replay")
    with ExitStack() as closing:
        try:
            file = closing.enter_context(open(source, "rb"))
        except OSError as error:
            raise RefusedFile(f"cannot read {source}: {error.strerror}") from error
        contents = _read(file, str(source))
        if contents.pictures is not None or contents.views is not None:
            closing.pop_all()
        return contents


def _read(file: BinaryIO, name: str) -> Contents:
    try:
        size = file.seek(0, os.SEEK_END)
        if size > MAX_TOTAL_BYTES:
            raise RefusedFile(f"{name}: {size} bytes, a replay has at most {MAX_TOTAL_BYTES}")
        return _Reader(file, size).contents()
    except OSError as error:
        raise RefusedFile(f"cannot read {name}: {error.strerror}") from error
    except Damaged as error:
        raise RefusedFile(f"{name}: {error}; nothing of it can be shown") from error


class _Reader:
    """Reads one file from its beginning."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.schema, header, self.at = self._header()
        said = header["layout"]
        steps = said["steps"] if self.schema == 1 else 1
        if not is_natural(steps) or steps == 0:
            raise Damaged(f"the header cannot be understood ({steps} steps)")
        self.planned: int | None = steps if self.schema == 1 else None
        try:
            self.start, self.tracks = parse_layout(said, steps)
            self.picture: Any = said["pictures"] if self.schema > 1 else None
            self.streams = {tag: Index(size) for tag, size in _streams(said).items()} if self.schema > 1 else {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"the header cannot be understood ({type(error).__name__}: {error})") from error
        self.about: dict[str, Any] = header["about"]
        self.done = 0
        self.pieces: list[dict[str, Array]] = []
        self.offsets: list[int] = []

    def contents(self) -> Contents:
        """Everything that is whole."""
        start = self._arrays(b"INIT", self.start, planes=False)
        try:
            self._steps()
            damage = self._rest_of_schema_1() if self.schema == 1 else self._ending()
        except Damaged as error:
            of = "" if self.planned is None else f" of {self.planned}"
            damage = f"{error} after step {self.done}{of}"
        if self.done == 0:
            raise Damaged(damage or "it holds no steps")
        tracks = {}
        for name in self.tracks:  # one by one, so that nothing is in memory twice for long
            tracks[name] = np.concatenate([piece.pop(name) for piece in self.pieces])
        found = {tag: index.found(self.file, self.done) for tag, index in self.streams.items()}
        drawn = found.get(TAG)
        pictures = None if drawn is None else Pictures(drawn, check_size(tuple(self.picture)))
        return Contents(self.about, start, tracks, damage, pictures, found.get(VIEW))

    def _header(self) -> tuple[int, dict[str, Any], int]:
        """(schema, header, offset of the first block)."""
        self.file.seek(0)
        prelude = self.file.read(_PRELUDE.size)
        if len(prelude) < _PRELUDE.size or prelude[: len(MAGIC)] != MAGIC:
            raise Damaged("this is not a replay file")
        _, schema, length, checksum = _PRELUDE.unpack(prelude)
        if not 1 <= schema <= SCHEMA:
            raise Damaged(f"replay schema {schema} is unknown, this version reads 1 to {SCHEMA}")
        if length > MAX_HEADER_BYTES:
            raise Damaged(f"the header claims {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
        text = self.file.read(length)
        if len(text) != length or zlib.crc32(text) != checksum:
            raise Damaged("the header is cut or damaged")
        header = _json(text, "the header")
        if not isinstance(header.get("layout"), dict) or not isinstance(header.get("about"), dict):
            raise Damaged("the header cannot be understood")
        return schema, header, _PRELUDE.size + length

    def _steps(self) -> None:
        """Read STEP blocks, and note where streams are, up to something else. Damaged where one is not whole."""
        most = MAX_READ_BYTES // max(1, row_bytes(self.tracks))
        while self.done != self.planned:
            head = read_head(self.file, self.at, self.size)
            if head.tag == b"LAST" and self.schema > 1:
                return
            if head.tag in self.streams:
                near = self.done <= head.first <= self.done + CHUNK_STEPS
                if not near or not self.streams[head.tag].note(head, self.at):
                    raise Damaged(f"a {'picture' if head.tag == TAG else 'view'} is not where it belongs")
                self.at += HEAD + head.packed
                continue
            count = head.span if self.planned is None else min(CHUNK_STEPS, self.planned - self.done)
            if (head.tag, head.first, head.span) != (b"STEP", self.done, count) or not 0 < count <= CHUNK_STEPS:
                raise Damaged(f"a block is not the expected one ({head.tag!r} {head.first} {head.span})")
            if self.done + count > min(most, MAX_STEPS):
                raise Damaged("more is not read at once")
            rows = {name: (dtype, (count, *shape)) for name, (dtype, shape) in self.tracks.items()}
            self.offsets.append(self.at)
            self.pieces.append(self._arrays(b"STEP", rows, planes=self.schema > 1))
            self.done += count

    def _arrays(self, tag: bytes, layout: Layout, planes: bool) -> dict[str, Array]:
        """The arrays of the block here, which must have that tag; moves on behind it."""
        head = read_head(self.file, self.at, self.size)
        raw = read_raw(self.file, self.at, head, room(layout))
        if head.tag != tag:
            raise Damaged(f"a block is not the expected one ({head.tag!r} {head.first} {head.span})")
        arrays = unpack_arrays(raw, layout, planes)
        self.at += HEAD + head.packed
        return arrays

    def _ending(self) -> str | None:
        """Read what was known only at the end; what is wrong behind it, or None."""
        head = read_head(self.file, self.at, self.size)
        said = _json(read_raw(self.file, self.at, head, MAX_HEADER_BYTES), "the end")
        if said.get("steps") != self.done or not isinstance(said.get("about"), dict):
            raise Damaged("the end is not that of these steps")
        self.about = {**self.about, **said["about"]}
        after = self.at + HEAD + head.packed
        return None if after == self.size else f"all {self.done} steps are whole, but there is something behind them"

    def _rest_of_schema_1(self) -> str | None:
        """What is wrong with the index and the mark behind the last step, or None."""
        at, steps = self.at, self.done
        try:
            index = self._arrays(b"INDX", {"offsets": (np.dtype("<u8"), (len(self.offsets),))}, planes=False)
        except Damaged as error:
            return f"all {steps} steps are whole, but the index is not: {error}"
        self.file.seek(self.at)
        end = self.file.read(_TRAILER.size + 1)
        if index["offsets"].tolist() != self.offsets or end != _TRAILER.pack(at, _END_OF_SCHEMA_1):
            return f"all {steps} steps are whole, but the end of the file is not"
        return None


def _json(text: bytes, what: str) -> dict[str, Any]:
    """JSON that is an object. Damaged where it is none."""
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{what} cannot be understood ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise Damaged(f"{what} cannot be understood")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
