"""The rollout: what a collector wrote and a learner reads. Time-major; row T of a view is what to act on next.

And the batch: the same flattened to joint samples, with what an on-policy learner made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroupRollout:
    """One group of one kind of team, by seat."""

    obs: Tensor  # [T+1, S, n, *shape]
    action_mask: Tensor | None  # [T+1, S, n, K] bool
    acting: Tensor  # [T+1, S, n] bool
    action: Tensor  # [T, S, n] int32, or [T, S, n, d] int32 or float32 (Box: not clipped)
    log_prob: Tensor  # [T, S, n]
    reward: Tensor  # [T, S, n] float32
    terminated: Tensor  # [T, S, n] bool
    truncated: Tensor  # [T, S, n] bool


@dataclass(frozen=True)
class FinalViews:
    """Last views of the seats in which some life was truncated, `F` of them."""

    step: Tensor  # [F] int64
    seat: Tensor  # [F] int64
    obs: dict[str, Tensor]  # group -> [F, n, *shape]
    action_mask: dict[str, Tensor | None]  # group -> [F, n, K] bool
    state: Tensor  # [F, S'] float32


@dataclass(frozen=True)
class Rollout:
    """`T` steps of all `S` seats of one kind of team. Overwritten by the next `collect`: who keeps, copies."""

    groups: dict[str, GroupRollout]
    state: Tensor  # [T+1, S, S'] float32, 0 wide where the environment has none
    episode_over: Tensor  # [T, S] bool
    episode_truncated: Tensor  # [T, S] bool
    mine: Tensor | None  # [T, S] bool, of mixed teams [T, S, R]: the learner's own policy sat there; None = everywhere
    finals: FinalViews
    start: Tensor  # [T+1, S] bool: an episode begins at this step
    hidden: dict[str, Tensor] = field(default_factory=dict)
    """Group -> `[C, S, n, M]`: what a recurrent learner's policy carried before each chunk of the steps; garbage in
    seats where another sat."""

    @property
    def steps(self) -> int:
        """T."""
        return self.episode_over.shape[0]

    @property
    def seats(self) -> int:
        """S."""
        return self.episode_over.shape[1]

    def members(self, agents: int) -> Tensor | None:
        """Which of so many agents of a team the learner played, `[T, S, R]`; None: all, everywhere."""
        if self.mine is None or self.mine.dim() == 3:
            return self.mine
        return self.mine.unsqueeze(2).expand(-1, -1, agents)

    def ours(self, acting: Tensor) -> Tensor:
        """Who of those that act does so for the learner, `[T+1, S, R]` as `acting`.

        Agents of its team that others play are a part of what surrounds it, as if they were not there to act. Where its
        own have all gone and the team plays on when the rollout ends, whoever acts then lends a value.
        """
        mine = self.members(acting.shape[2])
        if mine is None:
            return acting
        last = own_or_all(acting[-1:], mine[-1:])
        return torch.cat([acting[:-1] & mine, last])


@dataclass(frozen=True)
class Memory:
    """What recurrent networks carried before samples that are `C` chunks of `L` steps of one seat each, in order."""

    start: Tensor  # [C, L] bool: an episode begins at this step
    hidden: dict[str, Tensor]  # group -> [C, n, M]
    value_hidden: dict[str, Tensor]  # head of the value function -> [C, rows, M]
    value_after: dict[str, Tensor]  # head -> [S, rows, M] after all steps, of all seats

    def take(self, index: Tensor) -> Memory:
        """Of the samples at `index`, which are whole chunks."""
        steps = self.start.shape[1]
        chunks = index[::steps] // steps
        hidden, value_hidden = (
            {name: x.index_select(0, chunks) for name, x in part.items()} for part in (self.hidden, self.value_hidden)
        )
        return replace(self, start=self.start.index_select(0, chunks), hidden=hidden, value_hidden=value_hidden)


@dataclass(frozen=True)
class Batch:
    """Joint samples (step, seat), flattened to `B`; `R` agents of a team, all groups side by side."""

    obs: dict[str, Tensor]  # group -> [B, n, *shape]
    action_mask: dict[str, Tensor | None]  # group -> [B, n, K]
    action: dict[str, Tensor]  # group -> [B, n] or [B, n, d]
    log_prob: Tensor  # [B, R] at acting
    acting: Tensor  # [B, R] bool
    advantage: Tensor  # [B, R]
    use: Tensor  # [B, R] bool: decisions that are trained
    state: Tensor  # [B, S']
    seat: Tensor  # [B]
    old_value: Tensor  # [B, R or 1] normalised
    target: Tensor  # [B, R or 1] normalised
    use_value: Tensor  # [B, R or 1] bool
    old: dict[str, Tensor]  # group -> [B, n, outputs] of the policy before the update; empty where nobody asks for it
    memory: Memory | None = None  # of recurrent networks

    def take(self, index: Tensor) -> Batch:
        """The samples at `index`; of recurrent networks whole chunks."""
        fields: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Memory):
                fields[name] = value.take(index)
            elif value is None:
                fields[name] = None
            elif isinstance(value, dict):
                fields[name] = {key: None if x is None else x.index_select(0, index) for key, x in value.items()}
            else:
                fields[name] = value.index_select(0, index)
        return Batch(**fields)


def own_or_all(x: Tensor, mine: Tensor | None) -> Tensor:
    """`x [.., R]` where it is the learner's; of a team of which a part is, but none where `x`, all of it."""
    if mine is None:
        return x
    own = x & mine
    gone = mine.any(-1, keepdim=True) & ~own.any(-1, keepdim=True)
    return torch.where(gone, x, own)


def neutral_outside(x: Tensor, rows: Tensor) -> Tensor:
    """`x` with zeros outside `rows`, which has x's leading axes."""
    if bool(rows.all()):
        return x
    return torch.where(rows.view(*rows.shape, *([1] * (x.dim() - rows.dim()))), x, torch.zeros((), dtype=x.dtype))
