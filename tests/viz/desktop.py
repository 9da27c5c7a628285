"""A screen in memory (Xvfb) with a window on it, real keys and a real mouse (xdotool), and pictures of what is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageGrab

from viz.scene import Color

NEEDED = ("Xvfb", "xdotool")
SIZE = (1500, 900)
PATIENCE = 30.0
"""Seconds: a window on a machine that is full takes long to open."""

Picture = np.ndarray


def need_a_desktop() -> None:
    """Skip, visibly, where there is no Xvfb or xdotool; fail in CI, whose script installs them."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{' and '.join(missing)} must be there in CI: apt-get install xvfb xdotool")
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}: apt-get install xvfb xdotool")


class Desktop:
    """A screen of `SIZE` pixels, with at most one program on it."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._server.stdout is not None
        self.display = f":{self._server.stdout.readline().strip()}"
        self.program: subprocess.Popen[str] | None = None
        self.window = ""
        until = time.monotonic() + PATIENCE
        while self.do("getdisplaygeometry") != f"{SIZE[0]} {SIZE[1]}":
            assert self._server.poll() is None and time.monotonic() < until, "no screen in memory"
            time.sleep(0.1)

    def start(self, *arguments: str, **variables: str) -> None:
        """Run `marl ARGUMENTS` on this screen and wait for its window, which is put into the upper left corner."""
        left_out = ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY", "MARL_SCALE")
        inherited = {name: value for name, value in os.environ.items() if name not in left_out}
        self.program = subprocess.Popen(
            [sys.executable, "-c", "import sys; from marl.cli.main import main; sys.exit(main())", *arguments],
            env={**inherited, "DISPLAY": self.display, "SDL_VIDEODRIVER": "x11", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until = time.monotonic() + PATIENCE
        while not self.window:
            assert self.program.poll() is None, self.program.communicate()[0]
            assert time.monotonic() < until, "no window opened"
            time.sleep(0.1)
            self.window = self.do("search", "--onlyvisible", "--pid", str(self.program.pid)).split("\n")[0]
        self.do("windowmove", self.window, "0", "0")
        self.do("windowfocus", self.window)
        self.move(300, 300)

    def do(self, *arguments: str) -> str:
        """Run xdotool; what it says."""
        environment = {**os.environ, "DISPLAY": self.display}
        return subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True).stdout.strip()

    def keys(self, *names: str) -> None:
        """Press and release keys, by their names in X."""
        self.do("key", "--delay", "25", *names)

    def move(self, x: float, y: float) -> None:
        """The mouse to a place."""
        self.do("mousemove", str(round(x)), str(round(y)))

    def click(self, x: float, y: float) -> None:
        """The left button at a place."""
        self.do("mousemove", str(round(x)), str(round(y)), "click", "1")

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 6) -> None:
        """Press at one place, move, release at another."""
        path: list[str] = []
        for k in range(1, steps + 1):
            x, y = (round(a + (b - a) * k / steps) for a, b in zip(start, end, strict=True))
            path += ["mousemove", str(x), str(y), "sleep", "0.02"]
        self.do("mousemove", str(round(start[0])), str(round(start[1])), "mousedown", "1", *path, "mouseup", "1")

    def wheel(self, turns: int, x: float, y: float) -> None:
        """Turn the wheel at a place; positive turns go up."""
        self.do(
            "mousemove",
            str(x),
            str(y),
            "click",
            "--repeat",
            str(abs(turns)),
            "--delay",
            "30",
            "4" if turns > 0 else "5",
        )

    def picture(self) -> Picture:
        """What is seen, `[height, width, 3]`."""
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"))

    def see(self, true: Callable[[Picture], bool], what: str, keep: Path | None = None) -> Picture:
        """Wait until something is true of what is seen, and return that picture; AssertionError where it never is."""
        until = time.monotonic() + PATIENCE
        while True:
            picture = self.picture()
            if true(picture):
                return picture
            assert self.program is None or self.program.poll() is None, f"it has ended; not seen: {what}"
            assert time.monotonic() < until, f"not seen: {what}"
            time.sleep(0.05)

    def ended(self) -> int:
        """The program's exit code, once it has ended by itself."""
        assert self.program is not None
        code = self.program.wait(PATIENCE)
        self.program, self.window = None, ""
        return code

    def close(self) -> None:
        """End the program and the screen."""
        for process in (self.program, self._server):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(10)


def count(picture: Picture, color: Color, tolerance: int = 24) -> int:
    """Pixels of about that colour."""
    return int((np.abs(picture.astype(int) - np.asarray(color[:3])).max(axis=-1) <= tolerance).sum())
