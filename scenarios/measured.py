"""What was measured of the scenarios that ship: their speed, random play, and what learners reached.

The file beside this module is made from the project's committed measurements and never edited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Learned:
    """What one way to train came to."""

    algorithm: str
    variant: str
    """How its settings differ from the defaults."""
    reward: str
    steps: int
    """Environment steps of a run."""
    seeds: int
    returns: Mapping[str, tuple[float, float, float]]
    """For every team the return of sampled play, undiscounted and summed over its agents: interquartile mean over
    seeds, and its 95 % interval (over episodes where there is one seed)."""
    metrics: Mapping[str, tuple[float, float, float]]
    """The environment's own metrics likewise, the share of victories among them where it has one."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one scenario; empty where nothing was."""

    speed: float | None = None
    """Environment steps per second of 4096 copies on two cores."""
    random: Mapping[str, float] | None = None
    """Every team's mean return when all agents play at random, summed over its agents."""
    learned: tuple[Learned, ...] = ()


def of(scenario: str) -> Measured:
    """What is known of a scenario by its name."""
    found = _read().get(scenario)
    if found is None:
        return Measured()
    learned = tuple(
        Learned(**(row | {what: {name: tuple(x) for name, x in row[what].items()} for what in ("returns", "metrics")}))
        for row in found["learned"]
    )
    return Measured(found["speed"], found["random"], learned)


@cache
def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return content
