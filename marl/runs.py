"""What a run is on disk.

    runs/<scenario>/<algorithm>/<seed>-<time>/       or exactly the folder that was asked for
      config.json      every setting, enough to build the run again
      manifest.json    where it came from, once: versions, processor, git commit, seed, command
      metrics.jsonl    what was measured, one line per iteration
      checkpoints/     complete states
      policies/        <team>.safetensors, the newest of each
      replays/

Imports no torch.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from environments.errors import RefusedFile, UsageError
from marl import files

SCHEMA = 1
HOME = Path("runs")
"""Folder of runs that were not given one."""
CONFIG, MANIFEST, METRICS = "config.json", "manifest.json", "metrics.jsonl"
PACKAGES = ("marl", "numpy", "numba", "torch", "gymnasium", "pettingzoo", "scipy", "safetensors")


@dataclass(frozen=True)
class Run:
    """A run's folder and the settings that it was begun with."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return str(self.config["scenario"])

    @property
    def algorithm(self) -> str:
        """Name of the algorithm of the teams not named otherwise."""
        return str(self.config["algorithm"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config["train"]["seed"])

    @property
    def metrics(self) -> Path:
        """Where its measurements are."""
        return self.folder / METRICS

    @property
    def checkpoints(self) -> Path:
        """Where its complete states are."""
        return self.folder / "checkpoints"

    @property
    def replays(self) -> Path:
        """Where its recorded episodes are."""
        return self.folder / "replays"

    def policy(self, team: str) -> Path:
        """Where the newest policy of a kind of team is."""
        return self.folder / "policies" / f"{team}.safetensors"


def create(folder: Path | None, config: Mapping[str, Any], command: Sequence[str], method: str | None = None) -> Run:
    """Make a run's folder with its config and manifest.

    `folder` None makes one under `HOME`, where `method` stands for the algorithm if it is given. UsageError where the
    folder has something in it: nothing is written over.
    """
    if folder is None:
        named = f"{config['train']['seed']}-{time.strftime('%Y%m%d-%H%M%S')}"
        scenario = re.sub(r"[^\w./-]+", "-", config["scenario"]).strip("/.")  # others' names have colons
        folder = _unused(HOME / scenario / (method or config["algorithm"]) / named)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        go_on = "marl league resume" if "league" in config else "marl resume"
        more = f"; to go on with it: {go_on} {folder}" if (folder / CONFIG).exists() else ""
        raise UsageError(f"{folder} exists and is not empty{more}")
    files.write_json(folder / MANIFEST, manifest(config["train"]["seed"], command))
    files.write_json(folder / CONFIG, {"schema": SCHEMA, **config})
    return Run(folder, dict(config))


def rewrite_config(run: Run, config: Mapping[str, Any]) -> Run:
    """Replace a run's settings, for what may change when it goes on."""
    files.write_json(run.folder / CONFIG, {"schema": SCHEMA, **config})
    return Run(run.folder, dict(config))


def open_run(folder: Path | str) -> Run:
    """The run in a folder. UsageError where there is none; RefusedFile where its config is not one of ours."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no run at {folder}")
    if not (folder / CONFIG).exists():
        below = [run.folder for run in within(folder)]
        hint = f"; there is one at {below[0]}" if below else ""
        raise UsageError(f"{folder} is not a run: it has no {CONFIG}{hint}")
    config = files.read_json(folder / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("train"), dict):
        raise RefusedFile(f"{folder / CONFIG} is not the config of a run")
    if config.get("schema") != SCHEMA:
        raise RefusedFile(f"{folder / CONFIG} has schema {config.get('schema')}; this version reads {SCHEMA}")
    for name, kind, value in (
        *((name, str, config.get(name)) for name in ("scenario", "algorithm")),
        ("teams", dict, config.get("teams")),
        *((name, int, config["train"].get(name)) for name in ("seed", "total_steps")),
    ):
        if not isinstance(value, kind):
            raise RefusedFile(f"{folder / CONFIG} is not the config of a run: {name} is {str(value)[:40]}")
    return Run(folder, config)


def within(folder: Path | str = HOME) -> list[Run]:
    """The run at a folder, or all runs below it, by name; folders that cannot be read are left out."""
    found = []
    for path in sorted(Path(folder).glob(f"**/{CONFIG}")):
        try:
            found.append(open_run(path.parent))
        except (RefusedFile, UsageError):
            continue
    return found


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """Rows of a run's metrics, in order; a last line that was cut off is left out. RefusedFile where there are none."""
    rows = []
    try:
        with open(run.metrics, encoding="utf-8") as file:
            for line in file:
                row = _row(line)
                if row is not None:
                    rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedFile(f"{run.metrics} cannot be read ({error})") from None
    return rows


def cut_metrics(run: Run, step: int) -> int:
    """Remove rows past `step`, so that a resumed run's steps never go back; returns how many were removed."""
    if not run.metrics.exists():
        return 0
    lines = run.metrics.read_bytes().splitlines(keepends=True)
    kept = []
    for line in lines:
        row = _row(line.decode("utf-8", "replace"))
        if row is not None and row.get("step", 0) <= step and line.endswith(b"\n"):
            kept.append(line)
    if len(kept) < len(lines):
        files.write_atomic(run.metrics, b"".join(kept))
    return len(lines) - len(kept)


class Lock:
    """Holds a run's folder for one process; the system lets go of it when the process ends, however it ends."""

    def __init__(self, run: Run) -> None:
        """UsageError where another process holds it; StorageFailure where the folder cannot be written."""
        with files.storage(run.folder):
            self._file: IO[str] = open(run.folder / ".lock", "w")  # noqa: SIM115 (closed by release)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(f"{run.folder} is in use by another process") from None

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


def is_held(run: Run) -> bool:
    """Whether some process is at work with a run. Nothing is written: the folder may be one that can only be read."""
    try:
        with open(run.folder / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def manifest(seed: int, command: Sequence[str]) -> dict[str, Any]:
    """Where a run comes from: versions, machine, code, seed, command."""
    return {
        "schema": SCHEMA,
        "seed": seed,
        "command": list(command),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "machine": machine(),
        "git": _git(),
    }


def machine() -> dict[str, Any]:
    """The processor, its cores that this process may use, memory and system."""
    info = dict(_cpu_info())
    flags = set(str(info.get("flags", "")).split())
    return {
        "system": platform.platform(),
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu_features": sorted(flags & {"avx", "avx2", "fma", "avx512f", "amx_tile", "amx_bf16", "asimd"}),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _cpu_info() -> Iterator[tuple[str, str]]:
    """Name and value of the first processor's lines, where the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if not line.strip():
                    return
                name, _, value = line.partition(":")
                yield name.strip(), value.strip()
    except OSError:
        return


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit of the code that runs and whether it was edited since, or None where it is not a checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *what], capture_output=True, text=True, timeout=5, check=True
            ).stdout
            for what in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "edited": bool(changes.strip())}


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _unused(folder: Path) -> Path:
    number, path = 1, folder
    while path.exists():
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")
    return path


def command_line() -> list[str]:
    """The command as it was typed, with the program's short name."""
    return ["marl", *sys.argv[1:]]
