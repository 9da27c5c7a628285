"""`marl league resume`: go on with a league exactly where it was saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from environments.errors import UsageError
from marl.cli.parse import as_typed


@dataclass(frozen=True)
class Resume:
    """Go on with a league where it was saved, as if it had never stopped: a turn that was killed is played again, match
    for match."""

    dir: tyro.conf.Positional[Path]
    """The league's folder."""
    total_steps: int | None = None
    """A new end, in environment steps of all learners together."""
    max_minutes: float | None = None
    """Minutes after which this part ends cleanly; above 0."""
    device: str | None = None
    """Where gradients are computed from now on: cpu, cuda or cuda:N."""


def run(options: Resume) -> int:
    """Go on; returns the exit code."""
    from marl.cli import league_work
    from marl.runs import Lock

    run, plan, config = league_work.open_league(options.dir)
    named = {"total_steps": options.total_steps, "device": options.device}
    typed: dict[str, Any] = {"max_minutes": options.max_minutes} | {
        name: x for name, x in named.items() if x is not None
    }
    try:
        fresh = replace(config, **typed)
    except UsageError as error:
        raise UsageError(as_typed(str(error), [f"--{name.replace('_', '-')}" for name in typed])) from error
    replace(plan, train=replace(plan.train, device=fresh.device)).check()
    lock = Lock(run)
    run = league_work.changed(run, config, fresh, typed)
    print(f"league    {run.folder}", flush=True)
    return league_work.work(run, lock)
