"""What people who wait are told while learners' functions are compiled; nothing where all that is needed is cached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event


@contextmanager
def told() -> Iterator[None]:
    """Say so, once, if compiled functions of learners have to be made in the meantime."""
    with event.install_listener("numba:compile", _Once()):
        yield


class _Once(event.Listener):  # type: ignore[misc]
    """Prints a line at the first function of the engine that the disk cache does not hold for the types at hand."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("marl.engine."):
            self.said = True
            print("compiling the learners' functions, once for this machine: about 20 s", flush=True)

    def on_end(self, event: Any) -> None:
        pass
