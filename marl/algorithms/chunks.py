"""Rollouts as joint samples, for networks that remember in chunks of several steps, and their values step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from marl.buffers import FinalViews
from marl.values import ValueFunction


def flat(x: Tensor, span: int) -> Tensor:
    """`[T, S, ..] -> [T S, ..]`: step by step, or with `span` above 1 by chunks of so many steps of one seat each.

    Chunks come in the order (time, seat), as `[T / span, S, ..]` flattened.
    """
    if span == 1:
        return x.flatten(0, 1)
    return x.reshape(len(x) // span, span, *x.shape[1:]).transpose(1, 2).flatten(0, 2)


def steps_of(x: Tensor, steps: int, span: int) -> Tensor:
    """`flat` undone: `[T S, ..] -> [T, S, ..]`."""
    if span == 1:
        return x.reshape(steps, len(x) // steps, *x.shape[1:])
    return x.reshape(steps // span, len(x) // steps, span, *x.shape[1:]).transpose(1, 2).flatten(0, 1)


def whole(use: Tensor, span: int) -> Tensor:
    """Numbers of the chunks in which some sample is used, `use [T S]` bool; where span = 1, of these samples."""
    return use.reshape(-1, span).any(1).nonzero().squeeze(1)


def samples(chunks: Tensor, span: int) -> Tensor:
    """Index of all samples of some chunks."""
    if span == 1:
        return chunks
    return (chunks.unsqueeze(1) * span + torch.arange(span)).flatten()


class Unrolled(NamedTuple):
    """A recurrent value function's way through a rollout."""

    outputs: Tensor  # [T+1, S, R or 1]
    before: dict[str, Tensor]  # head -> [C, S, rows, M] before each chunk
    ended: dict[str, Tensor]  # head -> [F, rows, M] after the steps of the final views
    after: dict[str, Tensor]  # head -> [S, rows, M] after T steps


def unroll(
    value: ValueFunction,
    obs: Mapping[str, Tensor],
    state: Tensor,
    acting: Tensor,
    start: Tensor,
    hidden: Mapping[str, Tensor],
    span: int,
    finals: FinalViews,
) -> Unrolled:
    """Step by step through a rollout's views, from what was carried before it, `hidden` head -> `[S, rows, M]`.

    Args:
        obs: group -> `[T+1, S, n, *shape]`.
        state: `[T+1, S, S']`.
        acting: `[T+1, S, R]` bool.
        start: `[T+1, S]` bool.
    """
    steps, seats = start.shape[0] - 1, torch.arange(start.shape[1])
    outputs, before, carried = [], [], dict(hidden)
    ended = {name: torch.zeros(len(finals.step), *x.shape[1:]) for name, x in hidden.items()}
    after = carried
    for t in range(steps + 1):
        if t % span == 0 and t < steps:
            before.append(carried)
        past = value.past(carried, start[t].unsqueeze(1), acting[t].unsqueeze(1))
        output, carried = value.remembering({name: x[t] for name, x in obs.items()}, state[t], seats, past)
        outputs.append(output)
        here = finals.step == t
        for name, x in carried.items():
            ended[name][here] = x[finals.seat[here]].to(ended[name].dtype)
        after = carried if t == steps - 1 else after
    return Unrolled(
        torch.stack(outputs), {name: torch.stack([x[name] for x in before]) for name in hidden}, ended, after
    )
