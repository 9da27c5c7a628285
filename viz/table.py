"""A person in matches that another thread plays: it asks here what the person's agent does.

That thread calls `Table.ask` and waits; the window, in the main thread, shows an `AtTable`, whose keys and clicks
answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from environments.spec import EnvSpec
from environments.vector import Array, VectorEnv
from viz.controls import Controls
from viz.moment import TRAIL_FRAMES, Moment, live_moment
from viz.playing import Playing


class Left(Exception):
    """The person has closed the window."""


class Table:
    """Where two threads meet: one asks, the other answers. A `viz.playing.Seat`."""

    over = False
    """Never: who plays the matches says when they end (`closed`)."""

    def __init__(self, moment: Moment, human: str) -> None:
        """What is shown before anybody asks, and whose agent is whose."""
        self.human: str | None = human
        self.mask: Array | None = None
        self.resting = False
        """True while the end of a match is looked at."""
        self.number = 0
        """Matches begun."""
        self.closed = False
        """True once there is nothing left to play."""
        self._moment = moment
        self._past: deque[Mapping[str, Array]] = deque(maxlen=TRAIL_FRAMES)
        self._change = threading.Condition()
        self._asking = self._left = False
        self._answer: Array | None = None

    @property
    def spec(self) -> EnvSpec:
        """What is played."""
        return self._moment.spec

    @property
    def asked(self) -> bool:
        """True while the other thread waits for an answer."""
        return self._asking

    def moment(self) -> Moment:
        """What was shown with the last question."""
        return self._moment

    def step(self, own: Array | None = None) -> None:
        """Answer; None says nothing."""
        if own is None:
            return
        with self._change:
            self._answer, self._asking = own, False
            self._change.notify_all()

    def leave(self) -> None:
        """The window is closed: nobody answers any more."""
        with self._change:
            self._left = True
            self._change.notify_all()

    def go_on(self) -> None:
        """The end of a match has been looked at."""
        with self._change:
            self.resting = False
            self._change.notify_all()

    # For the thread that plays.

    def begin(self, human: str) -> None:
        """Another match begins, in which the person plays that agent. Left."""
        with self._change:
            self._check()
            self.human, self.number = human, self.number + 1
            self._past.clear()

    def ask(self, env: VectorEnv, mask: Array | None) -> Array:
        """What the person's agent does in a batch of one copy. Left."""
        with self._change:
            self._check()
            shown = live_moment(env, 0)
            names = self._past[0] if self._past else {}
            past = {name: np.stack([arrays[name] for arrays in self._past]) for name in names}
            self._answer = None
            shown = replace(shown, past=past, scenario=self._moment.scenario)
            self._moment, self.mask, self._asking = shown, mask, True
            self._past.append(shown.arrays)
            self._change.wait_for(lambda: self._answer is not None or self._left)
            self._check()
            assert self._answer is not None
            return self._answer

    def end(self, moment: Moment) -> None:
        """A match has ended; it is looked at until the person goes on. Left."""
        with self._change:
            self._check()
            self._moment, self.resting = moment, True
            self._change.wait_for(lambda: not self.resting or self._left)
            self._check()

    def close(self) -> None:
        """There is nothing left to play."""
        self.closed = True

    def _check(self) -> None:
        if self._left:
            raise Left


class AtTable(Playing):
    """The window's content at a table: `Playing`, match after match."""

    def __init__(self, table: Table, speed: float = 1.0) -> None:
        self.table = table
        self._match = table.number
        super().__init__(table, self._controls(), lambda: "", speed=speed)

    def _controls(self) -> Controls:
        spec = self.table.spec
        group = next(group for group in spec.groups if self.table.human in group.agents)
        return Controls(spec, group)

    def advance(self, seconds: float) -> bool:
        """Show what is asked; in a new match the person may have another side."""
        if self.table.closed:
            self.quit = True
            return False
        news = self._moment is not self.table.moment()
        if news and self._match != self.table.number:
            self._match = self.table.number
            self.sit(self._controls(), f"match {self._match}")
        if news:
            self.look()
        return (super().advance(seconds) if self.table.asked else False) or news

    def status(self) -> str:
        """What is going on."""
        if self.table.resting:
            return f"{self.result()} — return goes on"
        if not self.table.number:
            return "getting ready"
        return super().status() if self.table.asked else "the other side plays"

    def press(self, key: str) -> bool:
        """After the end of a match return goes on, and no other key means anything but escape."""
        if self.table.resting and key != "escape":
            if key in ("return", "enter", "keypad enter"):
                self.table.go_on()
            return True
        return super().press(key)

    def mouse_down(self, x: float, y: float) -> bool:
        """After the end of a match a click goes on."""
        if self.table.resting:
            self.table.go_on()
            return True
        return super().mouse_down(x, y)
