"""Somebody else's environments are closed, and whoever cannot come to an end is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

CLOSE_SECONDS = 3.0


class _TooLong(BaseException):
    """Not an Exception: an environment's own `except Exception` must not swallow it."""


def close(envs: Iterable[Any], seconds: float = CLOSE_SECONDS) -> None:
    """Close them all, one after the other, within so many seconds; what they raise then is their own affair.

    The clock is a signal. So there is a limit in a process's main thread only, and none to a call outside Python.
    """
    with contextlib.suppress(_TooLong), _limited(seconds):
        for env in envs:
            with contextlib.suppress(Exception):
                env.close()


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """_TooLong where what is inside lasts longer."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
