"""`marl resume`: go on with a run exactly where it was saved."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from environments.errors import RefusedFile, UsageError
from marl.cli.parse import as_typed
from marl.cli.stop import Stop, going_on

if TYPE_CHECKING:
    from marl.checkpoint import Entry
    from marl.cli.loop import Session
    from marl.cli.plan import Plan
    from marl.config import TrainConfig
    from marl.runs import Lock, Run


@dataclass(frozen=True)
class Resume:
    """Go on with a run where it was saved, bit for bit as if it had never stopped."""

    run: tyro.conf.Positional[Path]
    """The run's folder, or a folder of several."""
    total_steps: int | None = None
    """A new end, in environment steps; changes what is left of a learning rate that falls to 0."""
    max_minutes: float | None = None
    """Minutes after which this part of the run ends cleanly; above 0."""
    device: str | None = None
    """Where gradients are computed from now on: cpu, cuda or cuda:N."""

    @property
    def words(self) -> list[str]:
        """The options as they are typed."""
        typed = {"--total-steps": self.total_steps, "--max-minutes": self.max_minutes, "--device": self.device}
        return [word for name, value in typed.items() if value is not None for word in (name, str(value))]


def run(options: Resume) -> int:
    """Go on; returns the exit code."""
    from marl import runs
    from marl.cli import plan as plans
    from marl.cli import side_by_side

    if not (options.run / runs.CONFIG).exists() and (parts := side_by_side.parts(options.run)):
        _changed(plans.of_run(runs.open_run(parts[0])).train, options)  # a mistake is told once, not by every run
        return side_by_side.work(parts, options.words)
    found = runs.open_run(options.run)
    if "league" in found.config:
        raise UsageError(f"{options.run} is a league: marl league resume {options.run}")
    plan = plans.of_run(found)
    before, train = plan.train, _changed(plan.train, options)
    replace(plan, train=train).check()
    lock = runs.Lock(found)  # before the config is touched: another process may be at work with it
    print_changes(vars(before), vars(train), ("total_steps", "max_minutes", "device"))
    if train != before:
        stored = plans.Plan.from_json(found.config)
        found = runs.rewrite_config(found, replace(stored, train=train).to_json())
    return work(found, lock)


def print_changes(before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str]) -> None:
    """A line for each of the settings that is another now."""
    for name in names:
        old, new = ("none" if each[name] is None else each[name] for each in (before, after))
        if old != new:
            print(f"{name}: {old} -> {new}")


def _changed(before: TrainConfig, options: Resume) -> TrainConfig:
    """A run's settings with what was typed. UsageError on an impossible value."""
    total = before.total_steps if options.total_steps is None else options.total_steps
    device = before.device if options.device is None else options.device
    try:
        return replace(before, total_steps=total, max_minutes=options.max_minutes, device=device)
    except UsageError as error:
        raise UsageError(as_typed(str(error), options.words)) from error


def work(run: Run, lock: Lock) -> int:
    """Train a run from its newest checkpoint, or from its start where there is none; the exit code.

    All that can be checked without torch is checked before it is imported. The lock is released at the end.
    """
    from marl import checkpoint
    from marl.cli import compiling
    from marl.cli import plan as plans

    plan = plans.of_run(run)
    plan.check()
    entry = checkpoint.find(run.checkpoints) if run.checkpoints.exists() and any(run.checkpoints.iterdir()) else None
    finished = entry is not None and entry.step >= plan.train.total_steps
    if entry is not None and finished and _policies_are_current(run, plan, entry):
        print(f"{run.folder} is finished: {entry.step} of {plan.train.total_steps} steps; --total-steps sets a new end")
        return 0
    with going_on(f"marl resume {shlex.quote(str(run.folder))}"), compiling.told():
        session = _session(run, plan, entry)
        if finished:  # it was killed between its last checkpoint and its policies
            session.export()
        code = session.work()
    lock.release()
    return code


def _session(run: Run, plan: Plan, entry: Entry | None) -> Session:
    """The part of a run that begins now, at its newest checkpoint where there is one. Imports torch, and compiles."""
    from marl import runs
    from marl.cli.loop import Session

    session = Session(run, plan, plan.build(), Stop())
    if entry is not None:
        session.resume(entry)
        print(f"resumed at step {entry.step} of {plan.train.total_steps}", flush=True)
    elif dropped := runs.cut_metrics(run, -1):
        print(f"no checkpoint was written: beginning again at step 0, without {dropped} measurements", flush=True)
    return session


def _policies_are_current(run: Run, plan: Plan, entry: Entry) -> bool:
    """True where every learner's policy file is of the checkpoint's step."""
    from marl.policy_spec import read_spec

    try:
        return all(read_spec(run.policy(name))[0].about.get("steps") == entry.step for name in plan.learners)
    except RefusedFile:
        return False
