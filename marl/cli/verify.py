"""`marl verify`: play a replay again and say whether it gives what was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from environments.errors import RefusedFile
from marl.cli.watch import newest_replay


@dataclass(frozen=True)
class Verify:
    """Simulate a replay again and compare every step, bit for bit.

    Exit code 0: exact, or a last-bit difference between machines. 3: damaged, or it diverges.
    """

    file: tyro.conf.Positional[Path]
    """A .replay file, or a run's folder: its newest replay is taken."""
    environment: str = ""
    """Name of somebody else's environment, where the replay is of one: to make it runs its code, so you say that you
    know it."""


def run(options: Verify) -> int:
    """Verify; returns the exit code."""
    from environments import replay

    path = newest_replay(options.file)
    recorded = replay.load(path, options.environment)
    verdict = replay.verify(recorded)
    print(f"{path}: {verdict}")
    if recorded.left_open:
        print(f"{path}: left open after step {recorded.steps}: the episode had not ended")
    if recorded.damage:
        print(f"{path}: {recorded.damage}; only the first {recorded.steps} steps were compared")
    return 0 if (verdict.exact or verdict.last_bit) and not recorded.damage else RefusedFile.exit_code
