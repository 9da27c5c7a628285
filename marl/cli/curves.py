"""Measurements of several runs, put side by side: which runs are the same but for the seed, and their curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError, nearest
from marl import runs, statistics

POINTS = 200
"""Points of a curve."""
LAST = 0.1
"""Part of a run, at its end, whose mean is the run's score."""


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone."""

    scenario: str
    label: str
    runs: tuple[runs.Run, ...]


def find_runs(paths: Sequence[Path]) -> list[runs.Run]:
    """All runs at or below the paths, each once. UsageError where a path has none."""
    found: dict[Path, runs.Run] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no run at {path}")
        below = runs.within(path)
        if not below:
            raise UsageError(f"there is no run at or below {path}")
        found |= {run.folder.resolve(): run for run in below}
    return list(found.values())


def grouped(found: Sequence[runs.Run]) -> list[Group]:
    """Runs that differ by their seed alone, together; labelled by what tells them apart from the others.

    Settings that a preset brought are as good as the same ones typed.
    """
    together: dict[str, list[runs.Run]] = {}
    for run in found:
        together.setdefault(json.dumps(_without_seed(run) | {"preset": None}, sort_keys=True), []).append(run)
    labels = _labels([(members[0].algorithm, _without_seed(members[0])) for members in together.values()])
    return [
        Group(members[0].scenario, label, tuple(members))
        for label, members in zip(labels, together.values(), strict=True)
    ]


def series(run: runs.Run, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of a measurement, where it was made. UsageError names the nearest one that was."""
    rows = runs.read_metrics(run)
    points = [(row["step"], row[metric]) for row in rows if row.get(metric) is not None]
    if not points:
        known = {name for row in rows for name in row} - {"step"}
        hint = nearest(metric, known) if known else "; nothing was measured yet"
        raise UsageError(f"{run.folder} has no measurement {metric!r}{hint}")
    table = np.array(points, np.float64)
    return table[:, 0], table[:, 1]


def curve(group: Group, metric: str, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    """Steps, interquartile mean over the group's runs, low, high.

    Between two measurements a run's value is interpolated; the curve ends where the shortest run does.
    """
    measured = [series(run, metric) for run in group.runs]
    first = max(x[0] for x, _ in measured)
    last = min(x[-1] for x, _ in measured)
    at = np.linspace(first, last, POINTS) if last > first else np.array([first])
    values = np.stack([np.interp(at, x, y) for x, y in measured])
    return at, *statistics.iqm_curve(values, seed)


def score(run: runs.Run, metric: str) -> float:
    """Mean of a measurement over the last tenth of the run's steps."""
    x, y = series(run, metric)
    return float(y[x >= x[-1] - LAST * (x[-1] - x[0])].mean())


def _without_seed(run: runs.Run) -> dict[str, Any]:
    plain = {name: value for name, value in run.config.items() if name != "schema"}
    ignored = {"seed", "threads", "max_minutes", "checkpoint_every", "record", "tensorboard", "wandb", "device"}
    train = {name: value for name, value in plain["train"].items() if name not in ignored and "wandb" not in name}
    return {**plain, "train": train}


def _labels(groups: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """The algorithm, and what else differs among groups of the same one and scenario."""
    labels = []
    for algorithm, config in groups:
        rivals = [c for a, c in groups if a == algorithm and c["scenario"] == config["scenario"]]
        mine = _flat(config)
        others = [_flat(c) for c in rivals]
        set_here = [name for name in mine if mine[name] is not None]
        differing = [name for name in set_here if any(other.get(name) != mine[name] for other in others)]
        told = ", ".join(f"{name.rpartition('.')[2]}={mine[name]}" for name in differing[:4])
        labels.append(f"{algorithm} ({told})" if told else algorithm)
    return labels


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= _flat(item, f"{prefix}.{name}" if prefix else str(name))
    return found
