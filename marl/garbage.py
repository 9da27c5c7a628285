"""The search for garbage begins when there can be some: what a program loads at its start never is."""

from __future__ import annotations

import gc
from collections.abc import Mapping

LOADED = 500_000
"""Objects that may be made before the first search; a run makes 430,000 before its first step."""


def spare_the_start() -> None:
    """Put off this process's first search for garbage; after that one, they come as often as always.

    Imports make objects that stay. Searching through them again and again would take a fifth of a command's start.
    """
    usual = gc.get_threshold()

    def begin(phase: str, _: Mapping[str, int]) -> None:
        if phase == "stop":
            gc.callbacks.remove(begin)
            gc.set_threshold(*usual)

    gc.callbacks.append(begin)
    gc.set_threshold(LOADED, *usual[1:])
