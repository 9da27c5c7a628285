"""What every measurement of `marl bench` is made of: how long to measure, and a row of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rounds:
    """Sizes that are measured, and how long."""

    copies: tuple[int, ...]
    """Copies of the environment; empty for the measurement's own choice."""
    threads: int
    rounds: int
    seconds: float
    """Length of a round."""


def row(
    name: str, value: float, against: tuple[str, float] | None, unit: str = "environment steps/s"
) -> dict[str, Any]:
    """A measurement, and its ratio to another of the same run where there is one."""
    ratio = None if against is None else value / against[1]
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "ratio": ratio,
        "against": None if against is None else against[0],
    }


def median(values: Sequence[float]) -> float:
    """The middle value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def figure(value: float, places: int) -> str:
    """A value for people, with so many places; a small one with two: 1.26 and 1.34 are not the same."""
    return f"{value:,.2f}" if value < 10 else f"{value:,.{places}f}"
