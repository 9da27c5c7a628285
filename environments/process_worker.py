"""A process that steps some copies of an environment in shared memory. Started by `environments.process`.

It imports neither torch nor numba unless the environment does. What it is asked for comes as a letter, and where there
is more, JSON or the bytes of arrays; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import environments
from environments.arrays import publish
from environments.external.vector import Fault, TooManyFaults
from environments.line import DONE, INTO, QUIT, Line
from environments.shared import Memory, rows
from environments.vector import Array, SimState

START, RESET, CAPTURE, RESTORE, PICTURES = b"B", b"R", b"C", b"W", b"P"
FAULTS, ARRAYS, FAILED = b"F", b"A", b"X"
DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def main(line_fd: int, memory_fd: int) -> None:
    """Serve until told to stop, or until the parent process is gone."""
    for descriptor in (line_fd, memory_fd):
        os.set_inheritable(descriptor, False)
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    line = Line(socket.socket(fileno=line_fd))
    with contextlib.suppress(EOFError):
        setup = json.loads(line.hear()[1])
        if os.getppid() != setup["parent"]:
            return
        with contextlib.suppress(OSError):  # where it is not allowed, the system chooses
            os.sched_setaffinity(0, setup["cores"])
        try:
            worker = Worker(setup, memory_fd)
        except TooManyFaults as error:
            line.say(*told(error.faults))
            return
        except Exception as error:
            line.say(FAILED, f"{type(error).__name__}: {error}".encode())
            return
        line.say(*worker.answer())
        while (asked := line.hear())[0] != QUIT:
            line.say(*worker.serve(*asked))
        worker.env.close()


class Worker:
    """Some copies of an environment and their rows of the shared block."""

    def __init__(self, setup: Mapping[str, Any], memory_fd: int) -> None:
        first, last = setup["copies"]
        self.number = int(setup["worker"])
        self.env: Any = make(setup, last - first)
        self.block = Memory(self.env.spec, setup["num_envs"], setup["workers"], memory_fd).block
        self.span = slice(first, last)
        self.halves = tuple(rows(half.buffers, first, last) for half in self.block.halves)
        self.actions = {name: array[self.span] for name, array in self.block.actions.items()}
        if hasattr(self.env, "playing"):
            self.env.playing = self.block.playing[self.number : self.number + 1]
        begun = self.env.buffers
        self.into(int(setup["half"]))
        publish(begun, self.env.buffers)
        if setup["keys"] is not None:
            self.env.reset(keys=setup["keys"])
        self.told = 0
        self.tell()

    def into(self, half: int) -> None:
        """From now on the environment writes into our rows of one half."""
        self.env.buffers = self.halves[half]

    def serve(self, task: bytes, more: bytes) -> tuple[bytes, bytes]:
        """Do what is asked, and say so; an error of the caller's is handed back in words."""
        try:
            if task in INTO:
                self.into(INTO.index(task))
                self.env.step(self.actions)
                self.tell()
                return self.answer()
            what, arrays = unpack(more)
            if task == CAPTURE:
                found = self.env.capture(what["copies"])
                named = {f"array/{name}": array for name, array in found.arrays.items()}
                return ARRAYS, pack({}, named | {f"clock/{name}": array for name, array in found.clock.items()})
            if task == PICTURES:
                drawn, missing, seconds = self.env.pictures(what["copy"])
                said = {"missing": missing, "seconds": seconds}
                return ARRAYS, pack(said, {str(k): pixels for k, pixels in enumerate(drawn)})
            if task == RESET:
                self.env.reset(what["keys"], what["copies"])
            elif task == RESTORE:
                self.restore(what, arrays)
            self.tell()
            return self.answer()
        except TooManyFaults:
            return self.answer()
        except Exception as error:
            return FAILED, f"{type(error).__name__}: {error}".encode()

    def restore(self, what: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Put states into copies."""
        named = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("array/")}
        clock = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("clock/")}
        state = SimState(named, clock, what["digest"]) if what["digest"] is not None else named
        self.env.restore(what["copies"], state, what["rekey"])

    def tell(self) -> None:
        """Say where every copy is."""
        env, block, span = self.env, self.block, self.span
        block.seed[span] = env.episode_seed
        block.given[span] = getattr(env, "given_seed", env.episode_seed)
        block.step[span] = env.episode_step
        block.faulted[span] = getattr(env, "faulted", False)

    def answer(self) -> tuple[bytes, bytes]:
        """That it is done, with the faults that have not been told yet."""
        faults = getattr(self.env, "faults", [])
        if len(faults) == self.told:
            return DONE, b""
        fresh, self.told = faults[self.told :], len(faults)
        return told(fresh)


def told(faults: Sequence[Fault]) -> tuple[bytes, bytes]:
    """Faults as they are told; the parent process counts those of all workers together."""
    return FAULTS, json.dumps([asdict(fault) for fault in faults]).encode()


def make(setup: Mapping[str, Any], copies: int) -> Any:
    """The environment, ours or somebody else's."""
    name, seed, first_copy = setup["name"], setup["seed"], setup["first_copy"] + setup["copies"][0]
    if ":" not in name:
        return environments.make(name, copies, seed, first_copy, num_threads=1, **setup["options"])
    from environments.external import named

    filmed = max(0, setup["filmed"] - setup["copies"][0])
    limit = setup["max_faults"]
    return named.make(name, copies, seed, first_copy, setup["options"], limit, setup["can_capture"], filmed)


def pack(what: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Plain data and arrays as bytes; `unpack` reads them back."""
    text = json.dumps(what).encode()
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return len(text).to_bytes(8, "little") + text + file.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """(plain data, arrays) of what `pack` wrote."""
    end = 8 + int.from_bytes(data[:8], "little")
    with np.load(io.BytesIO(data[end:])) as file:
        return json.loads(data[8:end]), {name: file[name] for name in file.files}
