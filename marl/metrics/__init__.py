"""Where measurements go: always and first to `metrics.jsonl`; then to people and to services that may be absent.

A sink other than the file can neither stop nor hold up a run: `Sinks` gives up on one that raises, with one warning.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from environments.errors import StorageFailure


class Sink(Protocol):
    """Takes one row of measurements after the other."""

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Take the measurements of one iteration; `step` counts environment steps and never falls."""
        ...

    def close(self) -> None:
        """No more rows will come."""
        ...


class JsonLines:
    """One JSON object per line, flushed line by line: what a killed run measured is on disk."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise StorageFailure(f"cannot write {path}: {error.strerror}") from error
        self._path = path

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Append a row; NaN and infinities become null. StorageFailure where the disk does not take it."""
        plain = {name: _plain(value) for name, value in row.items()}
        try:
            self._file.write(json.dumps({"step": step, **plain}, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise StorageFailure(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise StorageFailure(f"cannot write {self._path}: {error.strerror}") from error


class Sinks:
    """The file, then all others; one that raises is left out from then on."""

    def __init__(self, first: JsonLines, others: Sequence[Sink]) -> None:
        self._first = first
        self._others = list(others)

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Give a row to all."""
        self._first.write(step, row)
        for sink in list(self._others):
            try:
                sink.write(step, row)
            except Exception as error:
                self._others.remove(sink)
                warn(f"{type(sink).__name__} is left out from here on: {error}")

    def others(self, ability: str) -> list[Any]:
        """The sinks besides the file that have a method of that name."""
        return [sink for sink in self._others if hasattr(sink, ability)]

    def close(self) -> None:
        """Close all."""
        try:
            self._first.close()
        finally:
            for sink in self._others:
                try:
                    sink.close()
                except Exception as error:
                    warn(f"{type(sink).__name__} did not end well: {error}")


def warn(line: str) -> None:
    """One line for people, beside the progress display; nothing where nobody listens any more (`2>&1 | head`)."""
    with contextlib.suppress(OSError):
        print(f"warning: {' '.join(line.split())[:300]}", file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number
