"""Ctrl-C, SIGTERM and a terminal that is gone: the first asks the work to stop and save, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

PATIENCE = 8.0
"""Seconds that an iteration may still take once it was asked to stop; saving has two more."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGHUP: 75}


class Interrupted(BaseException):
    """The iteration under way took longer than `PATIENCE`."""


@contextlib.contextmanager
def going_on(command: str) -> Iterator[None]:
    """Let whoever interrupts the block before anything in it handles signals be told the command that goes on."""
    try:
        yield
    except BaseException as end:
        if not isinstance(end, Exception):  # KeyboardInterrupt, or SIGTERM's of `marl.cli.main`, which tells its notes
            end.add_note(f"go on with {command}")
        raise


class Stop:
    """Remembers that the work was asked to stop."""

    def __init__(self) -> None:
        self.code: int | None = None
        """Exit code of a work that was asked to stop: 130 or 75; None while nobody asked."""

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Handle these signals inside the block; `Interrupted` is raised in it where the work does not stop in time."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # whoever said so means it
        handled = [number for number in CODES if number != signal.SIGHUP or not nohup]
        before = {number: signal.signal(number, self._ask) for number in handled}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._give_up)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number)]
        if self.code is not None:
            os._exit(code)
        self.code = code
        with contextlib.suppress(OSError):  # whoever read the lines may be gone
            print("\nstopping: saving first (once more to stop at once)", file=sys.stderr, flush=True)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        raise Interrupted

    def in_time(self) -> None:
        """The work has come to a place where it can save: it will not be interrupted any more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
