"""Several runs at once: a process with one thread each, as many at a time as there are cores."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from environments.errors import RefusedFile, UsageError
from environments.workers import available_cores
from marl import runs
from marl.cli import plan as plans
from marl.cli.stop import CODES

GRACE = 15.0
"""Seconds that runs have to save when all are to stop."""


def train(plan: plans.Plan, seeds: int, folder: Path | None, command: list[str]) -> int:
    """Train `seeds` runs of seeds from the plan's on; the worst exit code of theirs."""
    if folder is None:
        folder = runs.HOME / plan.scenario / plan.algorithm / time.strftime("seeds-%Y%m%d-%H%M%S")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; to go on with what is in it: marl resume {folder}")
    made = []
    for seed in range(plan.train.seed, plan.train.seed + seeds):
        one = replace(plan, train=replace(plan.train, seed=seed, threads=1))
        made.append(plans.begin(one, folder / f"seed-{seed}", command).folder)
    code = work(made)
    print(f"plot      marl plot {_quoted(folder)} --out {_quoted(folder / 'return.png')}")
    print(f"resume    marl resume {_quoted(folder)}")
    return code


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def parts(folder: Path) -> list[Path]:
    """Runs that were begun together in a folder; empty where it is not such a folder."""
    found = []
    for path in sorted(folder.glob("seed-*")):
        try:
            found.append(runs.open_run(path).folder)
        except (RefusedFile, UsageError):
            continue
    return found


def work(folders: list[Path], options: Sequence[str] = ()) -> int:
    """Go on with all runs until they are done; the worst exit code of theirs. Signals are passed on to them.

    `options` are those of `marl resume`, for every run.
    """
    waiting, running, codes = list(folders), dict[Path, subprocess.Popen[str]](), dict[Path, int]()
    asked: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: asked.append(number)) for number in CODES}
    try:
        while running or (waiting and not asked):
            while waiting and not asked and len(running) < available_cores():
                folder = waiting.pop(0)
                running[folder] = _start(folder, options)
            if asked:
                return _end(running, asked)
            for folder, process in list(running.items()):
                if process.poll() is not None:
                    codes[folder] = running.pop(folder).returncode
            time.sleep(0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        return CODES[signal.Signals(asked[0])]
    failed = [f"{folder} ended with {code}" for folder, code in codes.items() if code]
    for line in failed:
        print(f"marl: {line}; its output is in {Path(line.split(' ended')[0]) / 'console.log'}", file=sys.stderr)
    return max((abs(code) for code in codes.values()), default=0)


def _start(folder: Path, options: Sequence[str]) -> subprocess.Popen[str]:
    """A process that goes on with a run; what it says is shown under the run's name and kept."""
    process = subprocess.Popen(
        [sys.executable, "-m", "marl.cli.main", "resume", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a Ctrl-C comes to this process alone, which passes it on once
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    threading.Thread(target=_show, args=(folder, process.stdout), daemon=True).start()
    return process


def _show(folder: Path, lines: IO[str]) -> None:
    """Thread: show and keep a run's lines. Whatever the disk or screen does, they are taken: it would wait for ever."""
    with contextlib.ExitStack() as stack:
        log = None
        with contextlib.suppress(OSError):
            log = stack.enter_context(open(folder / "console.log", "ab", buffering=0))
        for line in lines:
            with contextlib.suppress(OSError):
                if log is not None:
                    log.write(line.encode())
            with contextlib.suppress(OSError):
                if line.strip():
                    print(f"{folder.name:8}  {line.rstrip()}", flush=True)


def _end(running: dict[Path, subprocess.Popen[str]], asked: list[int]) -> int:
    """Ask all to save and stop; those that do not in time, or at a second request, are ended."""
    number = signal.Signals(asked[0])
    for process in running.values():
        process.send_signal(number)
    deadline = time.monotonic() + GRACE
    while any(process.poll() is None for process in running.values()):
        if time.monotonic() > deadline or len(asked) > 1:
            for process in running.values():
                process.kill()
            break
        time.sleep(0.1)
    return CODES[number]
