"""`marl league resume`: go on with a league exactly where it was saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


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


def run(options: Resume) -> int:
    """Go on; returns the exit code."""
    from marl.cli import league_work
    from marl.runs import Lock

    run, _, config = league_work.open_league(options.dir)
    lock = Lock(run)
    typed = {"max_minutes": options.max_minutes}
    if options.total_steps is not None:
        typed["total_steps"] = options.total_steps
    run = league_work.changed(run, config, typed)
    print(f"league    {run.folder}", flush=True)
    return league_work.work(run, lock)
