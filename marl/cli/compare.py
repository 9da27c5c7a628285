"""`marl compare`: which runs are better, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from environments.errors import UsageError
from marl import files
from marl.cli.list import table

if TYPE_CHECKING:
    from marl.cli.curves import Group


@dataclass(frozen=True)
class Compare:
    """Interquartile means with 95 % intervals, and the probability that one learner's run beats another's.

    A run's score is the mean over the last tenth of its steps. Runs that differ by their seed alone are one learner.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or folders with runs below them."""
    metric: str = "return"
    """What is compared, higher is better: a name in metrics.jsonl."""
    seed: int = 0
    """Seed of the resampling; at least 0."""
    json: Path | None = None
    """Write the result to this file, as JSON."""


def run(options: Compare) -> int:
    """Compare; returns the exit code."""
    from marl.cli import curves

    if not options.runs or options.seed < 0:
        raise UsageError("compare needs the folders of runs" if not options.runs else "--seed must be at least 0")
    groups = curves.grouped(curves.find_runs(options.runs))
    result = compare(groups, options.metric, options.seed)
    if options.json is not None:
        files.write_json(options.json, result)
    print(table([_row(each) for each in result["learners"]]))
    for each in result["improvement"]:
        low, high = (each[end] for end in ("low", "high"))
        chance = f"{each['mean']:.2f}  [{low:.2f}, {high:.2f}]"
        print(f"P({each['learner']} > {each['than']}) = {chance}  in {each['scenario']}")
    print(f"({options.metric}: mean of each run's last tenth of steps; interquartile mean over runs, 95 % interval)")
    return 0


def compare(groups: Sequence[Group], metric: str, seed: int) -> dict[str, Any]:
    """Scores of every group and the probability of improvement of each over each other in the same scenario."""
    from marl import statistics
    from marl.cli import curves
    from marl.cli.results import interval

    scores = [[curves.score(run, metric) for run in group.runs] for group in groups]
    learners = [
        {
            "scenario": group.scenario,
            "learner": group.label,
            "runs": len(group.runs),
            "scores": values,
            "iqm": interval(statistics.iqm(values, seed)),
            "mean": sum(values) / len(values),
        }
        for group, values in zip(groups, scores, strict=True)
    ]
    improvement = []
    for i, ours in enumerate(groups):
        for j, theirs in enumerate(groups):
            if i != j and ours.scenario == theirs.scenario:
                found = statistics.probability_of_improvement(scores[i], scores[j], seed)
                names = {"scenario": ours.scenario, "learner": ours.label, "than": theirs.label}
                improvement.append(names | interval(found))
    return {"metric": metric, "seed": seed, "learners": learners, "improvement": improvement}


def _row(learner: dict[str, Any]) -> dict[str, Any]:
    iqm = learner["iqm"]
    spread = "one run" if iqm["low"] is None else f"[{iqm['low']:.2f}, {iqm['high']:.2f}]"
    named = {name: learner[name] for name in ("scenario", "learner", "runs")}
    return named | {"iqm": f"{iqm['mean']:.2f}", "interval": spread, "mean": f"{learner['mean']:.2f}"}
