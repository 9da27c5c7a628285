"""`marl resume`: go on with a run exactly where it was saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from marl.checkpoint import Entry
    from marl.cli.plan import Plan
    from marl.runs import Run


@dataclass(frozen=True)
class Resume:
    """Go on with a run where it was saved, bit for bit as if it had never stopped."""

    run: tyro.conf.Positional[Path]
    """The run's folder, or a folder of several."""
    total_steps: int | None = None
    """A new end, in environment steps; changes what is left of a learning rate that falls to 0."""
    max_minutes: float | None = None
    """Minutes after which this part of the run ends cleanly; above 0."""


def run(options: Resume) -> int:
    """Go on; returns the exit code."""
    from marl import runs
    from marl.cli import plan as plans
    from marl.cli import side_by_side

    if not (options.run / runs.CONFIG).exists() and (parts := side_by_side.parts(options.run)):
        return side_by_side.work(parts)
    found = runs.open_run(options.run)
    plan = plans.of_run(found)
    before = plan.train
    train = replace(before, total_steps=options.total_steps or before.total_steps, max_minutes=options.max_minutes)
    for name in ("total_steps", "max_minutes"):
        if getattr(before, name) != getattr(train, name):
            print(f"{name}: {getattr(before, name)} -> {getattr(train, name)}")
    if train != before:
        stored = plans.Plan.from_json(found.config)
        found = runs.rewrite_config(found, replace(stored, train=train).to_json())
    return work(found)


def work(run: Run) -> int:
    """Train a run from its newest checkpoint, or from its start where there is none; the exit code.

    All that can be checked without torch is checked before it is imported.
    """
    from marl import checkpoint, runs
    from marl.cli import plan as plans

    plan = plans.of_run(run)
    plan.check()
    lock = runs.Lock(run)
    entry = checkpoint.find(run.checkpoints) if run.checkpoints.exists() and any(run.checkpoints.iterdir()) else None
    finished = entry is not None and entry.step >= plan.train.total_steps
    if entry is not None and finished and _policies_are_current(run, plan, entry):
        print(f"{run.folder} is finished: {entry.step} of {plan.train.total_steps} steps; --total-steps sets a new end")
        return 0
    from marl.cli.loop import Session
    from marl.cli.stop import Stop

    session = Session(run, plan, plan.build(), Stop())
    if entry is not None:
        session.resume(entry)
        print(f"resumed at step {entry.step} of {plan.train.total_steps}", flush=True)
    else:
        runs.cut_metrics(run, -1)
    if finished:  # it was killed between its last checkpoint and its policies
        session.export()
    code = session.work()
    lock.release()
    return code


def _policies_are_current(run: Run, plan: Plan, entry: Entry) -> bool:
    """True where every learner's policy file is of the checkpoint's step."""
    from environments.errors import RefusedFile
    from marl.policy_spec import read_spec

    try:
        return all(read_spec(run.policy(name))[0].about.get("steps") == entry.step for name in plan.learners)
    except RefusedFile:
        return False
