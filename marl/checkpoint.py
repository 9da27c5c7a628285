"""Checkpoints: the complete state of a run, so that a run that was stopped goes on bit for bit.

    checkpoints/
      index.json                 which checkpoints are complete, and the sha256 of every file
      000000000131072/           environment steps
        tree.json                the state's structure and all that is not an array
        arrays.safetensors       arrays and tensors
        entry.json               this checkpoint's part of the index, should the index be lost
      segments/                  parts of states that change seldom, each named by the sha256 of its content

A state is a tree: dicts (keys str or int), lists and tuples over tensors, numpy arrays, numbers, strings and None.
A `Segment` among them stands in a file of its own, written once for all checkpoints that hold the same, and deleted
with the last of them. Nothing is pickled. A checkpoint is written under a temporary name, synced, renamed, and only
then named in the index, which is replaced the same way; older ones are deleted last, once the new one has been read
back. So whatever happens at whatever moment, what the index names is whole; what is damaged later is noticed and an
older one taken.

torch is imported only where a tree holds tensors: a checkpoint can be checked without it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import MarlError, RefusedFile, StorageFailure
from marl import array_files, files
from marl.array_files import DTYPES, Part

SCHEMA = 1
KEEP = 3
"""Checkpoints that stay on disk."""
INDEX, ENTRY, TREE, ARRAYS = "index.json", "entry.json", "tree.json", "arrays.safetensors"
SEGMENTS = "segments"
Say = Callable[[str], None]


class Segment(dict[str | int, Any]):
    """A part of a state that is mostly the same from one checkpoint to the next, so that it is not written again."""


@dataclass(frozen=True)
class Entry:
    """A complete checkpoint, as the index describes it."""

    folder: Path
    step: int
    files: Mapping[str, Mapping[str, Any]]
    """File name -> {"sha256", "bytes"}."""
    segments: Mapping[str, int]
    """sha256 of each segment -> bytes."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the place."""
        own = {name: dict(stated) for name, stated in self.files.items()}
        return {"name": self.folder.name, "step": self.step, "files": own, "segments": dict(self.segments)}

    def damage(self) -> str | None:
        """What is wrong with the files, or None where every byte is as it was written."""
        return self.own_damage() or _first(
            _damage(segment_file(self.folder.parent, name), name, size) for name, size in self.segments.items()
        )

    def own_damage(self) -> str | None:
        """`damage`, of what no other checkpoint shares."""
        return _first(_damage(self.folder / name, each["sha256"], each["bytes"]) for name, each in self.files.items())


@dataclass
class _Aside:
    """What of a state does not stand in its tree."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    segments: dict[str, list[Part]] = field(default_factory=dict)
    """sha256 -> the file's pieces."""


def segment_file(folder: Path, name: str) -> Path:
    """Where a segment of the checkpoints in `folder` is."""
    return folder / SEGMENTS / f"{name}.safetensors"


def shout(line: str) -> None:
    """Say something that must not be missed."""
    print(f"WARNING: {line}", file=sys.stderr, flush=True)


def save(folder: Path, step: int, tree: Mapping[str, Any]) -> Entry:
    """Write a checkpoint and make it the latest one; keeps the newest `KEEP`. Those of that step or later are replaced:
    they are of work that is done again.

    StorageFailure where it cannot be written; what was there before is then untouched. TypeError on a tree that holds
    anything else than the module's page says.
    """
    aside = _Aside()
    text = json.dumps({"schema": SCHEMA, "step": step, "tree": _encode(tree, "", aside)}, allow_nan=False)
    before = _listed(folder)[0]
    try:
        return _save(folder, step, text.encode(), aside, before)
    except (OSError, StorageFailure) as error:
        reason = getattr(error, "strerror", None) or error
        safe = f"; the checkpoint of step {before[-1].step} is safe" if before else ""
        raise StorageFailure(f"cannot write a checkpoint to {folder}: {reason}{safe}") from error


def find(folder: Path, step: int | None = None, say: Say = shout) -> Entry:
    """The newest intact checkpoint (or that of `step`); everything wrong with newer ones is said aloud.

    RefusedFile where there is none. Imports no torch and reads no array.
    """
    entries, complaint = _listed(folder)
    if complaint is not None:
        say(complaint)
    if step is not None:
        entries = [entry for entry in entries if entry.step == step]
    damage: str | None = complaint
    for entry in reversed(entries):
        damage = entry.damage()
        if damage is None:
            return entry
        say(f"the checkpoint of step {entry.step} is damaged ({damage}); an older one is taken")
    wanted = "" if step is None else f" of step {step}"
    raise RefusedFile(f"{folder} holds no checkpoint{wanted} that can be read" + (f" ({damage})" if damage else ""))


def load(folder: Path, step: int | None = None, say: Say = shout) -> tuple[int, dict[str, Any]]:
    """Environment steps and state of the newest intact checkpoint (or that of `step`). RefusedFile as in `find`."""
    entry = find(folder, step, say)
    return entry.step, read(entry)


def read(entry: Entry) -> dict[str, Any]:
    """The state of a checkpoint. RefusedFile where its parts do not fit each other."""
    document = files.read_json(entry.folder / TREE)
    try:
        if document["schema"] != SCHEMA:
            raise RefusedFile(
                f"{entry.folder} was written with schema {document['schema']}; this version reads {SCHEMA}"
            )
        arrays = array_files.read(entry.folder / ARRAYS)
        tree = _decode(document["tree"], arrays, entry)
    except MarlError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise RefusedFile(f"{entry.folder} is not a checkpoint that can be read ({_short(error)})") from None
    if not isinstance(tree, dict):
        raise RefusedFile(f"{entry.folder} holds no state")
    return tree


def non_finite(tree: Any, path: str = "") -> str | None:
    """Where a tree holds NaN or infinity first, or None."""
    parts: Iterable[tuple[Any, Any]]
    if isinstance(tree, Mapping):
        parts = tree.items()
    elif isinstance(tree, list | tuple):
        parts = enumerate(tree)
    else:
        if isinstance(tree, float):
            bad = not math.isfinite(tree)
        elif _is_tensor(tree) and tree.is_floating_point():
            bad = not bool(tree.isfinite().all())
        else:
            bad = isinstance(tree, np.ndarray) and tree.dtype.kind == "f" and not bool(np.isfinite(tree).all())
        return path if bad else None
    for key, value in parts:
        found = non_finite(value, f"{path}/{key}" if path else str(key))
        if found is not None:
            return found
    return None


def _save(folder: Path, step: int, tree: bytes, aside: _Aside, before: list[Entry]) -> Entry:
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_temporaries(folder)
    final = _free_name(folder, step)
    beside = files.temporary(final)
    arrays = array_files.parts(aside.arrays)
    stated = {
        TREE: {"sha256": hashlib.sha256(tree).hexdigest(), "bytes": len(tree)},
        ARRAYS: {"sha256": array_files.sha256(arrays), "bytes": array_files.size(arrays)},
    }
    entry = Entry(final, step, stated, {name: array_files.size(pieces) for name, pieces in aside.segments.items()})
    try:
        _write_segments(folder, aside.segments)
        beside.mkdir()
        files.write_synced(beside / TREE, tree)
        array_files.write(beside / ARRAYS, arrays)
        files.write_synced(beside / ENTRY, _sealed({"schema": SCHEMA, "checkpoint": entry.to_json()}))
        files.sync_folder(beside)
        os.rename(beside, final)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        _drop_segments(folder, before)
        raise
    files.sync_folder(folder)
    damage = entry.own_damage()
    if damage is not None:
        raise OSError(None, f"read back other than written: {damage}")
    kept = [*(each for each in before if each.step < step), entry][-KEEP:]
    listed = {"schema": SCHEMA, "latest": final.name, "checkpoints": [each.to_json() for each in kept]}
    files.write_atomic(folder / INDEX, _sealed(listed))
    names = {each.folder.name for each in kept}
    for old in folder.iterdir():
        if old.is_dir() and old.name not in names and old.name != SEGMENTS:
            shutil.rmtree(old, ignore_errors=True)
    _drop_segments(folder, kept)
    return entry


def _write_segments(folder: Path, segments: Mapping[str, list[Part]]) -> None:
    """Write the segments that are not there whole already, each read back."""
    if not segments:
        return
    (folder / SEGMENTS).mkdir(exist_ok=True)
    for name, pieces in segments.items():
        path = segment_file(folder, name)
        if path.exists() and files.sha256(path) == name:
            continue
        beside = files.temporary(path)
        array_files.write(beside, pieces)
        os.replace(beside, path)
        if files.sha256(path) != name:
            raise OSError(None, f"{path} reads back other than written")
    files.sync_folder(folder / SEGMENTS)


def _drop_segments(folder: Path, kept: Iterable[Entry]) -> None:
    """Delete what none of these checkpoints holds, and what writers that were killed have left."""
    names = {segment_file(folder, name).name for entry in kept for name in entry.segments}
    for path in (folder / SEGMENTS).glob("*"):
        if path.name not in names:
            path.unlink(missing_ok=True)


def _damage(path: Path, sha256: str, size: int) -> str | None:
    """What is wrong with a file."""
    try:
        if path.stat().st_size != size:
            return f"{path} has {path.stat().st_size} bytes instead of {size}"
        if files.sha256(path) != sha256:
            return f"the content of {path} has changed since it was written"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _first(told: Iterable[str | None]) -> str | None:
    return next((each for each in told if each is not None), None)


def _free_name(folder: Path, step: int) -> Path:
    """`folder/<step>`, numbered where a checkpoint of that step is there already: nothing is written over."""
    name, number = f"{step:015d}", 1
    while (folder / name).exists():
        number += 1
        name = f"{step:015d}-{number}"
    return folder / name


def _listed(folder: Path) -> tuple[list[Entry], str | None]:
    """Complete checkpoints, oldest first, and what is wrong with the index, if anything."""
    index = folder / INDEX
    if not index.exists():
        found = _unlisted(folder)
        return found, f"{index} is missing; its checkpoints were found without it" if found else None
    try:
        listed = _unsealed(index)
        return [_entry(folder, each) for each in listed["checkpoints"]], None
    except _OtherSchemaError as error:
        raise RefusedFile(str(error)) from None
    except (RefusedFile, KeyError, TypeError, ValueError) as error:
        return _unlisted(folder), f"{index} is damaged ({_short(error)}); the checkpoints' own entries are taken"


def _unlisted(folder: Path) -> list[Entry]:
    """Checkpoints that describe themselves, oldest first."""
    found = []
    for path in sorted(folder.glob(f"*/{ENTRY}")):
        if not path.parent.name.startswith(files.TEMPORARY):
            try:
                found.append(_entry(folder, _unsealed(path)["checkpoint"]))
            except (RefusedFile, KeyError, TypeError, ValueError):
                continue
    return sorted(found, key=lambda entry: (entry.step, len(entry.folder.name), entry.folder.name))


def _entry(folder: Path, data: Mapping[str, Any]) -> Entry:
    name, step = data["name"], data["step"]
    if not isinstance(step, int) or not isinstance(name, str) or set(data["files"]) != {TREE, ARRAYS}:
        raise ValueError("an entry is not complete")
    if Path(name).name != name or name in (".", ".."):
        raise ValueError(f"{name!r} is not the name of a checkpoint")
    stated = {file: {"sha256": str(f["sha256"]), "bytes": int(f["bytes"])} for file, f in data["files"].items()}
    segments = {segment: int(size) for segment, size in data.get("segments", {}).items()}
    if not all(re.fullmatch("[0-9a-f]{64}", segment) for segment in segments):
        raise ValueError("a segment's name is no sha256")
    return Entry(folder / name, step, stated, segments)


class _OtherSchemaError(ValueError):
    """Written by another version."""


def _sealed(value: Mapping[str, Any]) -> bytes:
    """JSON that carries the sha256 of its own content."""
    return (json.dumps({**value, "sha256": _seal(value)}, indent=1) + "\n").encode()


def _unsealed(path: Path) -> dict[str, Any]:
    value = files.read_json(path)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    seal = value.pop("sha256", None)
    if seal != _seal(value):
        raise ValueError("its checksum does not match")
    if value.get("schema") != SCHEMA:
        raise _OtherSchemaError(f"{path} was written with schema {value.get('schema')}; this version reads {SCHEMA}")
    return value


def _seal(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _encode(value: Any, path: str, aside: _Aside) -> Any:
    """JSON node of a value; arrays are put aside under their path, segments under their content."""
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if isinstance(value, np.generic):
        return {"scalar": _put(np.asarray(value), path, aside)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Segment):
        own = _Aside(segments=aside.segments)
        node = [[_key(key), _encode(item, f"/{key}", own)] for key, item in value.items()]
        pieces = array_files.parts(own.arrays)
        name = array_files.sha256(pieces)
        aside.segments[name] = pieces
        return {"segment": [name, node]}
    if isinstance(value, Mapping):
        return {"dict": [[_key(key), _encode(item, f"{path}/{key}", aside)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}/{i}", aside) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, np.ndarray):
        return {"array": _put(value, path, aside)}
    if _is_tensor(value):
        return _encode_tensor(value, path, aside)
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} at {path}")


def _encode_tensor(tensor: Any, path: str, aside: _Aside) -> dict[str, Any]:
    plain = tensor.detach().cpu().contiguous()
    dtype = str(plain.dtype).removeprefix("torch.")
    if dtype == "bfloat16":
        import torch

        plain = plain.view(torch.int16)
    return {"tensor": _put(plain.numpy(), path, aside), "dtype": dtype}


def _key(key: Any) -> str | int:
    if isinstance(key, str) or type(key) is int:
        return key
    raise TypeError(f"a checkpoint cannot hold a dict with the key {key!r}")


def _put(array: NDArray[Any], path: str, aside: _Aside) -> dict[str, Any]:
    if array.dtype.name not in DTYPES:
        raise TypeError(f"a checkpoint cannot hold an array of {array.dtype} at {path}")
    name = f"{len(aside.arrays)}{path}"
    aside.arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}


def _decode(node: Any, arrays: Mapping[str, NDArray[Any]], entry: Entry) -> Any:
    if isinstance(node, list):
        return [_decode(item, arrays, entry) for item in node]
    if not isinstance(node, dict):
        return node
    if "segment" in node:
        name, items = node["segment"]
        if name not in entry.segments:
            raise ValueError("its tree names a segment that its entry does not")
        own = array_files.read(segment_file(entry.folder.parent, name))
        return Segment({_key(key): _decode(item, own, entry) for key, item in items})
    if "dict" in node:
        return {_key(key): _decode(item, arrays, entry) for key, item in node["dict"]}
    if "tuple" in node:
        return tuple(_decode(item, arrays, entry) for item in node["tuple"])
    if "float" in node:
        return float(node["float"])
    if "array" in node:
        return _take(node["array"], arrays)
    if "scalar" in node:
        return _take(node["scalar"], arrays)[()]
    return _decode_tensor(_take(node["tensor"], arrays), node["dtype"])


def _decode_tensor(array: NDArray[Any], dtype: str) -> Any:
    import torch

    tensor = torch.from_numpy(array)
    if dtype == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    if str(tensor.dtype) != f"torch.{dtype}":
        raise ValueError(f"a tensor of {dtype} is stored as {array.dtype}")
    return tensor


def _take(stated: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    array = arrays[stated["name"]]
    if list(array.shape) != stated["shape"] or array.dtype.name != stated["dtype"]:
        raise ValueError(f"array {stated['name']} is {array.dtype}{list(array.shape)}, not as its tree says")
    return array


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
