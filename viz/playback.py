"""Playing back: which frame is shown, how far on the way to the next, and at what speed. Pure logic, no screen."""

from __future__ import annotations

from collections.abc import Sequence

from viz.page import Mark

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LONGEST_TICK = 0.25
"""Seconds: after a pause of the whole program (a dragged window) playback goes on where it was."""


class Playback:
    """A position in frames `0 .. frames - 1`, moving while it plays."""

    def __init__(self, frames: int, step_seconds: float, marks: Sequence[Mark] = (), speed: float = 1.0) -> None:
        """`step_seconds`: simulated time of one step, which is its real time at speed 1."""
        if frames < 1:
            raise ValueError(f"playback needs at least one frame, not {frames}")
        self.frames = frames
        self.step_seconds = step_seconds
        self.marks = tuple(marks)
        self.speed = speed
        self.playing = frames > 1
        self.loop = False
        self.range: tuple[int, int] | None = None
        """First and last frame of the part that is played again and again."""
        self._position = 0.0

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return int(self._position)

    @property
    def share(self) -> float:
        """How far it is on the way to the next frame, in [0, 1); 0 while it rests, and where it turns back."""
        end = self.range[1] if self.range else self.last
        return self._position - self.frame if self.playing and self.frame != end else 0.0

    @property
    def last(self) -> int:
        """Number of the final frame."""
        return self.frames - 1

    def advance(self, seconds: float) -> bool:
        """Let time pass; True where something else is to be shown. Stops at the end, or starts again after it."""
        if not self.playing:
            return False
        first, end = self.range or (0, self.last)
        before = self._position
        self._position += min(seconds, LONGEST_TICK) * self.speed / self.step_seconds
        if (self.loop or self.range) and self._position >= end + 1:
            self._position = float(first)
        elif not (self.loop or self.range) and self._position >= self.last:
            self._position, self.playing = float(self.last), False
        return self._position != before

    def seek(self, frame: int) -> None:
        """Show a frame; beyond the ends, the nearest."""
        self._position = float(min(max(frame, 0), self.last))

    def pause(self) -> None:
        """Rest on the frame that is shown."""
        self.playing = False
        self._position = float(self.frame)

    def scrub(self, share: float) -> None:
        """Show the frame at a share in [0, 1] of the time line, and pause."""
        self.pause()
        self.seek(round(share * self.last))

    def command(self, name: str) -> None:
        """Do what a key means: one of the commands of `viz.keys` that are about time. ValueError on others."""
        verb, _, count = name.partition(" ")
        if verb in ("forward", "back") and count.isdigit():
            self.pause()
            self.seek(self.frame + (int(count) if verb == "forward" else -int(count)))
        elif name in ("first", "last"):
            self.pause()
            self.seek(0 if name == "first" else self.last)
        elif name == "toggle":
            self._toggle()
        elif name in ("faster", "slower"):
            self._change_speed(faster=name == "faster")
        elif name in ("next mark", "previous mark"):
            self._jump(later=name == "next mark")
        elif name == "restart":
            self.seek(self.range[0] if self.range else 0)
            self.playing = self.frames > 1
        elif name == "loop":
            self.loop = not self.loop
        elif verb == "range":
            self._bound(count)
        else:
            raise ValueError(f"unknown command {name!r}")

    def _toggle(self) -> None:
        if self.playing:
            self.pause()
            return
        if self.frame == self.last:
            self.seek(self.range[0] if self.range else 0)
        self.playing = self.frames > 1

    def _bound(self, which: str) -> None:
        """The part that is played again and again starts or ends at the frame that is shown, or is none."""
        first, end = self.range or (0, self.last)
        if which == "start":
            self.range = (self.frame, end if end > self.frame else self.last)
        elif which == "end":
            self.range = (first if first < self.frame else 0, self.frame)
        elif which == "clear":
            self.range = None
        else:
            raise ValueError(f"unknown command {f'range {which}'!r}")
        if self.range and self.range[0] >= self.range[1]:  # no step lies between them
            self.range = None

    def _change_speed(self, faster: bool) -> None:
        others = [s for s in SPEEDS if (s > self.speed if faster else s < self.speed)]
        if others:
            self.speed = min(others) if faster else max(others)

    def _jump(self, later: bool) -> None:
        self.pause()
        frames = [m.frame for m in self.marks if (m.frame > self.frame if later else m.frame < self.frame)]
        if frames:
            self.seek(min(frames) if later else max(frames))

    def marks_near(self, reach: int = 0) -> list[Mark]:
        """Events at the shown frame, or up to `reach` frames before it."""
        return [mark for mark in self.marks if self.frame - reach <= mark.frame <= self.frame]
