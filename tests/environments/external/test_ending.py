"""Environments that do not come to an end are left behind, the others closed all the same."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

from environments.external import ending, named
from tests.environments.external.arenas import Endless


class Noted:
    def __init__(self, closed: list[str], what: Any = None) -> None:
        self.closed, self.what = closed, what

    def close(self) -> None:
        self.closed.append("closed")
        if self.what:
            self.what()


def fails() -> None:
    raise OSError("no more")


def stubborn() -> None:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(5)


def test_what_is_raised_is_its_own_affair() -> None:
    closed: list[str] = []
    ending.close([Noted(closed, fails), Noted(closed)])
    assert len(closed) == 2


def test_an_endless_close_is_left_and_the_clock_put_back() -> None:
    before, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    ending.close([Noted([], stubborn)], seconds=0.2)
    assert time.monotonic() - started < 4
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_batch_of_them_is_described_and_closed(monkeypatch: Any) -> None:
    monkeypatch.setattr(ending.close, "__defaults__", (0.2,))
    name, started = f"{Endless.__module__}:{Endless.__name__}", time.monotonic()
    env = named.make(name, 3)
    env.close()
    assert time.monotonic() - started < 30  # three of them, and the one that was looked at, forever each
