"""Progress for people: speed, return, time left. A live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, TextIO

PLAIN_SECONDS = 10.0
"""Between two plain lines."""
WINDOW_SECONDS = 20.0
"""Time over which the speed is measured."""


class Console:
    """Shows one line: part done, steps/s, return, time left."""

    def __init__(self, total_steps: int, step: int = 0, stream: TextIO | None = None) -> None:
        """`step` is where this process begins: speed and time left count from there."""
        self._total = total_steps
        self._stream = stream if stream is not None else sys.stderr
        self._marks = deque([(time.monotonic(), step)])
        self._shown = time.monotonic()
        self._returns = "-"
        self._live: Any = _live(total_steps, step) if self._stream.isatty() else None

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Show where the run is."""
        now = time.monotonic()
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_SECONDS:
            self._marks.popleft()
        self._returns = returns(row) or self._returns
        if self._live is not None:
            self._live.update(0, completed=min(step, self._total), speed=self._speed(), returns=self._returns)
        elif now - self._shown >= PLAIN_SECONDS or step >= self._total:
            self._shown = now
            print(self.line(step), file=self._stream, flush=True)

    def line(self, step: int) -> str:
        """The state of the run in plain words."""
        speed = self._per_second()
        left = max(self._total - step, 0) / speed if speed > 0 else float("inf")
        return (
            f"{short(step)} of {short(self._total)} steps  {self._speed()}  return {self._returns}  "
            f"{duration(left)} left"
        )

    def close(self) -> None:
        """Leave the last line standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _per_second(self) -> float:
        (t0, s0), (t1, s1) = self._marks[0], self._marks[-1]
        return (s1 - s0) / (t1 - t0) if t1 > t0 else 0.0

    def _speed(self) -> str:
        return f"{short(self._per_second())} steps/s"


def returns(row: Mapping[str, float]) -> str:
    """The mean return of a row, and each team's where there are several; empty where no episode ended."""
    if "return" not in row:
        return ""
    teams = {name.removeprefix("return/"): value for name, value in row.items() if name.startswith("return/")}
    if len(teams) < 2:
        return f"{row['return']:.2f}"
    return ", ".join(f"{name} {value:.2f}" for name, value in teams.items())


def short(number: float) -> str:
    """`12.3k`, `4.56M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}" if number < 1000 * size else f"{number / size:.0f}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 05 s`, `12 s`."""
    if seconds == float("inf"):
        return "?"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _live(total: int, step: int) -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("return {task.fields[returns]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=RichConsole(stderr=True),
        refresh_per_second=4,
    )
    progress.add_task("", total=total, completed=step, speed="", returns="-")
    progress.start()
    return progress
