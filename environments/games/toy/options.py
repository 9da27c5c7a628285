"""Checks shared by the toys' options."""

from __future__ import annotations


def check_range(name: str, value: float, low: float, high: float) -> None:
    """ValueError unless `low <= value <= high` (so NaN is refused)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")
