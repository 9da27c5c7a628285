"""`marl watch RUN`: a run's episodes, and each new one as it appears."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from environments.errors import UsageError
from marl import runs
from viz.live import Live
from viz.viewer import Viewer

TAIL = 2**16
"""Bytes at the end of a file of measurements in which the last row is looked for."""


def episodes(folder: Path) -> list[Path]:
    """Replays of a folder, oldest first."""
    found = [path for path in folder.glob("*.replay") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def follow(path: Path, make: Callable[[Path], Viewer]) -> Live:
    """The episodes of a run, or of a folder of replays. UsageError where there are none and none will come."""
    if not (path / "config.json").exists():
        folder = path / "replays" if (path / "replays").is_dir() else path
        if not episodes(folder):
            raise no_replay(path)
        return Live(str(path), partial(episodes, folder), make, lambda: "")
    run = runs.open_run(path)
    if not episodes(run.replays) and not runs.is_held(run):
        raise no_replay(path)
    return Live(f"{run.scenario} — {path}", partial(episodes, run.replays), make, partial(status, run))


def record_first(path: Path) -> None:
    """Play and record an episode of a run that has none yet and is not being trained: there is something to watch."""
    from marl.cli import evaluate

    run = runs.open_run(path) if (path / runs.CONFIG).exists() else None
    if run is None or "league" in run.config or any(run.replays.glob("*.replay*")) or runs.is_held(run):
        return
    if not any(path.glob("policies/*.safetensors")):
        return
    print(f"{path} has no replay yet: an episode is played and recorded", flush=True)
    one = evaluate.Evaluate(str(path), episodes=1, record=1)
    evaluate.measure(evaluate.find(one.policy), one)


def no_replay(path: Path) -> UsageError:
    """That a folder has none, and how it gets one: a run's, or that of a run below it."""
    below = next((run.folder for run in runs.within(path)), None)
    what = path if below is None or (path / runs.CONFIG).exists() else below
    hint = f"; record one with: marl evaluate {shlex.quote(str(what))} --record 1" if below else ", and no run"
    return UsageError(f"there is no replay in {path}{hint}")


def status(run: runs.Run) -> str:
    """How far a run is, in a few words."""
    row = last_row(run.metrics)
    step = row.get("step")
    said = f"step {step:,}" if isinstance(step, int) else "no step yet"
    score = row.get("eval/return", row.get("return"))
    told = f", return {score:.2f}" if isinstance(score, float) else ""
    if runs.is_held(run):
        every = run.config.get("train", {}).get("eval_every") if isinstance(run.config.get("train"), dict) else None
        return f"training: {said}{told}" + ("" if every else "; without --eval-every it records no episodes")
    return f"not training: {said}{told}"


def last_row(path: Path) -> dict[str, Any]:
    """The last whole row of a file of measurements; empty where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return {}
