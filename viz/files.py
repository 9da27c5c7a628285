"""Pictures and films are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from environments.errors import StorageFailure


def replaced(path: Path, save: Callable[[Path], object]) -> None:
    """Have `save` write under a temporary name, then rename: an export that fails leaves the old file as it was.

    Makes missing folders. StorageFailure where it cannot be done.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(temporary)
        temporary.replace(path)
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split())[:120]
        raise StorageFailure(f"cannot write {path}: {reason}; nothing was replaced") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
