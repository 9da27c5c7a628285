"""Playing back: which frame is shown, at what speed, and what every key does. Pure logic, knows no screen."""

from __future__ import annotations

from collections.abc import Sequence

from viz.page import Mark

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_TICK = 0.25
"""Seconds: after a pause of the whole program (a dragged window) playback goes on where it was."""

KEYS = {
    "space": "toggle",
    "right": "forward 1",
    "left": "back 1",
    "shift right": "forward 10",
    "shift left": "back 10",
    "page down": "forward 10",
    "page up": "back 10",
    "home": "first",
    "end": "last",
    "up": "faster",
    "down": "slower",
    "+": "faster",
    "=": "faster",
    "-": "slower",
    "n": "next mark",
    "p": "previous mark",
    "r": "restart",
    "l": "loop",
    "?": "help",
    "h": "help",
    "q": "quit",
    "escape": "escape",
}
"""Key (with `shift` where it matters) -> command of `Playback.command`."""

HELP = (
    ("space", "play or pause"),
    ("← →", "one step back, forward"),
    ("shift ← →", "ten steps (also page up, page down)"),
    ("home end", "first, last frame"),
    ("↑ ↓", "faster, slower (also + and −)"),
    ("n p", "next, previous marked event"),
    ("r", "restart"),
    ("l", "loop on or off"),
    ("mouse", "click or drag on the time line; wheel over the agents"),
    ("? h", "this help"),
    ("q esc", "quit"),
)


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
        self.help = False
        self.quit = False
        self.scroll = 0
        """First agent shown in the panel."""
        self._position = 0.0

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return int(self._position)

    @property
    def last(self) -> int:
        """Number of the final frame."""
        return self.frames - 1

    def advance(self, seconds: float) -> bool:
        """Let real time pass; True where another frame is to be shown. Stops (or loops) at the end."""
        before = self.frame
        if self.playing:
            self._position += min(seconds, LONGEST_TICK) * self.speed / self.step_seconds
            if self._position >= self.last:
                if self.loop and before == self.last:
                    self._position = 0.0
                else:
                    self._position = float(self.last)
                    self.playing = self.loop
        return self.frame != before

    def seek(self, frame: int) -> None:
        """Show a frame; beyond the ends, the nearest."""
        self._position = float(min(max(frame, 0), self.last))

    def scrub(self, share: float) -> None:
        """Show the frame at a share in [0, 1] of the time line, and pause."""
        self.playing = False
        self.seek(round(share * self.last))

    def command(self, name: str) -> None:
        """Do what a key means: one of the values of `KEYS`. ValueError on others."""
        verb, _, count = name.partition(" ")
        if verb in ("forward", "back") and count.isdigit():
            self.playing = False
            self.seek(self.frame + (int(count) if verb == "forward" else -int(count)))
        elif name in ("first", "last"):
            self.playing = False
            self.seek(0 if name == "first" else self.last)
        elif name == "toggle":
            if not self.playing and self.frame == self.last:
                self.seek(0)
            self.playing = not self.playing and self.frames > 1
        elif name in ("faster", "slower"):
            self._change_speed(faster=name == "faster")
        elif name in ("next mark", "previous mark"):
            self._jump(later=name == "next mark")
        elif name == "restart":
            self.seek(0)
            self.playing = self.frames > 1
        elif name == "loop":
            self.loop = not self.loop
        elif name == "help":
            self.help = not self.help
        elif name == "escape":  # first closes the help
            self.quit = not self.help
            self.help = False
        elif name == "quit":
            self.quit = True
        else:
            raise ValueError(f"unknown command {name!r}")

    def _change_speed(self, faster: bool) -> None:
        others = [s for s in SPEEDS if (s > self.speed if faster else s < self.speed)]
        if others:
            self.speed = min(others) if faster else max(others)

    def _jump(self, later: bool) -> None:
        self.playing = False
        frames = [m.frame for m in self.marks if (m.frame > self.frame if later else m.frame < self.frame)]
        if frames:
            self.seek(min(frames) if later else max(frames))

    def marks_near(self, reach: int = 0) -> list[Mark]:
        """Events at the shown frame, or up to `reach` frames before it."""
        return [mark for mark in self.marks if self.frame - reach <= mark.frame <= self.frame]
