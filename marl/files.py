"""Files that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

Imports neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environments.errors import RefusedFile, StorageFailure

TEMPORARY = ".tmp-"
"""Beginning of every temporary name; no reader looks at such names."""
LARGEST_JSON = 64 * 2**20
"""Bytes of the largest JSON file that is read."""


@contextmanager
def storage(path: Path | str) -> Iterator[None]:
    """Turn what the operating system says against writing `path` into a StorageFailure of one line."""
    try:
        yield
    except OSError as error:
        raise StorageFailure(f"cannot write {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make names created or replaced in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary(path: Path) -> Path:
    """A name beside `path` that no reader looks at."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it; OSError where it cannot be done."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: at every moment it holds all of the old or all of the new.

    Makes missing folders. StorageFailure where it cannot be done; the old file is then as it was.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = temporary(path)
        try:
            write_synced(beside, data)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of readable JSON. ValueError on NaN and infinity, which JSON does not have."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """What a JSON file holds. RefusedFile where it is missing, too large or not JSON."""
    try:
        size = path.stat().st_size
        if size > largest:
            raise RefusedFile(f"{path} is too large to be what it should be ({size} bytes)")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RefusedFile(f"there is no file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedFile(f"{path} cannot be read as JSON ({' '.join(str(error).split())[:120]})") from None


def sha256(path: Path) -> str:
    """Hex digest of a file's content; OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temporaries(folder: Path) -> None:
    """Delete what writers that were killed have left in `folder`. Only for a folder with no other writer."""
    for left in folder.glob(f"{TEMPORARY}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
