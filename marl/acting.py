"""What it is to act: what agents see, what is chosen for them, and the two kinds of actors, with memory and without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeGuard

from torch import Tensor


class View(NamedTuple):
    """What the agents of a group act on, one row per seat."""

    obs: Tensor  # [S, n, *shape]
    action_mask: Tensor | None  # [S, n, K] bool, True = legal
    acting: Tensor  # [S, n] bool


class PolicyStep(NamedTuple):
    """What a policy chose for a group."""

    action: Tensor  # [S, n] int32, [S, n, d] int32 or float32 (Box: not clipped)
    log_prob: Tensor  # [S, n]
    hidden: Tensor | None = None  # [S, n, M] what it wants to be handed at the next step; most want nothing


Hidden = Mapping[str, Tensor]
"""Group -> `[S, n, M]`: what players carry from one step to the next; zeros where an episode begins."""


class Actor(Protocol):
    """Whatever can act for a kind of team."""

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents; a function of its arguments alone."""
        ...


class RecurrentActor(Protocol):
    """An actor that remembers: what it chooses depends on what it has seen in this episode."""

    @property
    def memory(self) -> Mapping[str, int]:
        """Group -> M, the numbers that it carries for each agent from one step to the next; empty: none at all."""
        ...

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False, hidden: Hidden | None = None
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents, and what they carry on: as it was where an agent does not act."""
        ...


def remembers(actor: Actor | RecurrentActor) -> TypeGuard[RecurrentActor]:
    """Whether an actor carries anything from one step to the next."""
    return bool(getattr(actor, "memory", None))
