"""The arrays of a step as a whole, for environments that are not compiled: clear, check, hand over."""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.vector import StepBuffers

EVENTS = ("reward", "terminated", "truncated")
FINAL = ("final_obs", "final_mask", "final_agent_state")


def clear_events(buffers: StepBuffers, copies: Any) -> None:
    """Every event of these copies reads False or 0 until somebody says otherwise."""
    for array in (buffers.episode_over, buffers.episode_truncated, buffers.outcome, buffers.metrics):
        array[copies] = 0
    for group in buffers.groups:
        for name in EVENTS:
            getattr(group, name)[copies] = 0


def publish(now: StepBuffers, out: StepBuffers) -> None:
    """Write everything of `now` into `out`; last views only in the rows whose life has ended."""
    for name in ("state", "episode_over", "episode_truncated", "outcome", "metrics"):
        np.copyto(getattr(out, name), getattr(now, name))
    some = np.zeros(len(now.episode_over), np.bool_)
    for mine, theirs in zip(now.groups, out.groups, strict=True):
        for name in mine._fields:
            if name not in FINAL:
                np.copyto(getattr(theirs, name), getattr(mine, name))
        ended = mine.terminated | mine.truncated
        some |= ended.any(1)
        if ended.any():
            for name in FINAL:
                getattr(theirs, name)[ended] = getattr(mine, name)[ended]
    out.final_state[some] = now.final_state[some]


def check_out(name: str, out: StepBuffers, own: StepBuffers) -> None:
    """ValueError where an array of `out` differs from our own in shape, type or layout."""
    groups = zip(out.groups, own.groups, strict=True)
    pairs = [*zip(out[1:], own[1:], strict=True)]
    for given, mine in [*pairs, *(pair for group in groups for pair in zip(*group, strict=True))]:
        if given.shape != mine.shape or given.dtype != mine.dtype or not given.flags.carray:
            raise ValueError(
                f"{name}: an array of `out` is {given.dtype}{given.shape}, "
                f"wanted {mine.dtype}{mine.shape}, C-contiguous and writeable"
            )
