"""What agents see and think at a frame, where the replay itself does not say: worked out while it is watched.

Whoever makes a viewer may hand in an `Insights` for its replay: `viz.rerun.Rerun` plays the episode again for what
agents saw, and asks a function that it is given for what policies think. Nothing here knows of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from environments.vector import Array


class Insight(NamedTuple):
    """One group at one frame."""

    features: tuple[str, ...]
    """Names of an observation's columns; empty where it has none."""
    obs: Array
    """`[N, *shape]`."""
    action_mask: Array | None
    """`[N, K]` bool, True where legal; None where everything always is."""
    probabilities: Array | None = None
    """`[N, K]`, as in `environments.replay.PolicyTrace`; NaN, or None, where nobody was asked."""
    value: Array | None = None
    """`[N]`, NaN where there is none."""


class Insights(Protocol):
    """Answers for one replay."""

    note: str
    """What it is doing, or why it has no answers; empty where all is well."""

    def at(self, frame: int) -> Mapping[str, Insight] | None:
        """By group, before step `frame`; None where that is not worked out (yet)."""
        ...

    def advance(self, seconds: float) -> bool:
        """Work for about as long; True where there is more to tell than before."""
        ...
