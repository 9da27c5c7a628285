"""Players that are programs: each in a process of its own, held to limits, and never able to hang a tournament.

One JSON line each way:

    -> {"type": "reset", "agent": "side_0", "seed": 7, "spaces": {"observation": {...}, "action": {...}}}
    -> {"type": "act", "agent": "side_0", "step": 3, "obs": [...], "mask": [...] or null, "deadline_ms": 2000}
    <- {"action": 4}

`step` counts the actions that the agent was asked for in this game; a reset is not answered. What goes wrong is a
`Forfeit` of a kind: an answer that is no legal action, one that comes too late, a process that ended, or one that
wanted more memory than it may have. A process at fault is killed with all its children and started anew for the next
game.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError
from league.records import Status

COMMAND = "cmd:"
LONGEST_ANSWER = 2**20
"""Bytes."""
LONGEST_TAIL = 2000
"""Characters of standard error that are kept of a player at fault."""
KILLED_BY_PARENT = 1  # prctl(PR_SET_PDEATHSIG): a player does not outlive the worker that started it


@dataclass(frozen=True)
class Limits:
    """What an outside player may use."""

    move_seconds: float = 10.0
    """Time for an action."""
    game_seconds: float = 600.0
    """Time for all actions of a game together."""
    start_seconds: float = 60.0
    """Time that a process may take, besides, before its first answer."""
    memory: int = 4 * 2**30
    """Bytes of address space of a process."""
    file: int = 2**28
    """Bytes of the longest file that it can write; what it says on standard error is one."""


class Forfeit(Exception):
    """A player gave the game away."""

    def __init__(self, status: Status, why: str, team: int = -1) -> None:
        super().__init__(why)
        self.status: Status = status
        self.why = why
        self.team = team
        """Number of its team."""


def is_outside(source: str) -> bool:
    """Whether a PLAYER is a program: `cmd:COMMAND`, `FILE.py:CLASS`, `MODULE:CLASS` or `pyspiel:NAME`."""
    where, colon, name = source.rpartition(":")
    return source.startswith(COMMAND) or (bool(colon) and name.isidentifier() and where not in ("", "bot", "league"))


def file_of(source: str) -> Path | None:
    """The file of a `FILE.py:CLASS`; None for any other player."""
    where = source.rpartition(":")[0]
    return Path(where) if where.endswith(".py") and not source.startswith(COMMAND) else None


def command_of(source: str) -> list[str]:
    """The command that starts such a player."""
    if source.startswith(COMMAND):
        return shlex.split(source.removeprefix(COMMAND))
    return [sys.executable, "-m", "league.host", source]


def check(source: str) -> None:
    """UsageError, with its own last words, where such a player cannot be started or its class not be found."""
    command = command_of(source)
    if not command or shutil.which(command[0]) is None:
        raise UsageError(f"{source}: there is no program {command[0]!r}" if command else f"{source} names no program")
    if source.startswith(COMMAND):
        return
    file = file_of(source)
    if file is not None and not file.is_file():
        raise UsageError(f"{source} cannot be used: there is no file {file}")
    try:
        tried = subprocess.run([*command, "--check"], capture_output=True, timeout=60.0, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{source} takes more than a minute to import") from None
    if tried.returncode:
        words = tried.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"{source} cannot be used: {words[-1] if words else 'it ends at once'}")


class Program:
    """A player's process: started when it is needed, asked, and killed when it is at fault."""

    def __init__(self, source: str, limits: Limits) -> None:
        self.source, self.limits = source, limits
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: BinaryIO | None = None
        self.fresh = True
        """It has not answered yet."""
        self._rest = b""
        self.said = ""
        """End of what the last process that was killed wrote to standard error."""

    def reset(self, agent: str, seed: int, described: Mapping[str, Any]) -> None:
        """Tell it that an episode begins for one of its agents. Forfeit where it does not listen."""
        self._start()
        self._send({"type": "reset", "agent": agent, "seed": seed, "spaces": described}, time.monotonic() + 10.0)

    def act(self, agent: str, step: int, obs: NDArray[Any], mask: NDArray[np.bool_] | None, seconds: float) -> Any:
        """Its answer, whatever that is; Forfeit where there is none within `seconds`."""
        grace = self.limits.start_seconds if self.fresh else 0.0
        deadline = time.monotonic() + seconds + grace
        request = {
            "type": "act",
            "agent": agent,
            "step": step,
            "obs": obs.tolist(),
            "mask": None if mask is None else mask.tolist(),
            "deadline_ms": int(1000 * seconds),
        }
        self._send(request, deadline)
        line = self._receive(deadline)
        self.fresh = False
        try:
            return json.loads(line)["action"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Forfeit("illegal", f"not an answer: {line[:80]!r}") from None

    def kill(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        self.said = self.tail()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process, self._rest, self.fresh = None, b"", True

    def tail(self) -> str:
        """The end of what it wrote to standard error."""
        if self._errors is None or self._errors.closed:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4 * LONGEST_TAIL))
        return self._errors.read().decode(errors="replace")[-LONGEST_TAIL:].strip()

    def _start(self) -> None:
        if self._process is not None:
            return
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                command_of(self.source),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                preexec_fn=self._confine,
            )
        except OSError as error:
            raise Forfeit("crash", f"{self.source} cannot be started: {error.strerror or error}") from None
        assert self._process.stdin is not None and self._process.stdout is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        os.set_blocking(self._process.stdout.fileno(), False)

    def _confine(self) -> None:
        """In the new process, before its program: no more memory and disk than allowed, and no life of its own."""
        resource.setrlimit(resource.RLIMIT_AS, (self.limits.memory, self.limits.memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limits.file, self.limits.file))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.CDLL(None).prctl(KILLED_BY_PARENT, signal.SIGKILL)

    def _send(self, request: Mapping[str, Any], deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        data = memoryview((json.dumps(request) + "\n").encode())
        pipe = self._process.stdin.fileno()
        while data:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                raise Forfeit("timeout", "it does not read its input")
            try:
                data = data[os.write(pipe, data) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._ended() from None

    def _receive(self, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if len(self._rest) > LONGEST_ANSWER:
                raise Forfeit("illegal", f"an answer of more than {LONGEST_ANSWER} bytes")
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Forfeit("timeout", "no answer in time")
            read = os.read(pipe, 2**16)
            if not read:
                raise self._ended()
            self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _ended(self) -> Forfeit:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        said = self.tail()
        short = "MemoryError" in said or "bad_alloc" in said or "Cannot allocate memory" in said
        return Forfeit("memory" if short else "crash", f"its process ended with {self._process.returncode}")
