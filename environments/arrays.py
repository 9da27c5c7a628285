"""The arrays of a step as a whole, for environments that are not compiled: clear, check, hand over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from environments.vector import Array, GroupBuffers, StepBuffers

EVENTS = ("reward", "terminated", "truncated")
FINAL = ("final_obs", "final_mask", "final_agent_state")
OF_AGENTS = tuple(name for name in GroupBuffers._fields if name not in FINAL)
OF_COPIES = tuple(name for name in StepBuffers._fields if name not in ("groups", "final_state"))


def clear_events(buffers: StepBuffers, copies: Any) -> None:
    """Every event of these copies reads False or 0 until somebody says otherwise."""
    for array in (buffers.episode_over, buffers.episode_truncated, buffers.outcome, buffers.metrics):
        array[copies] = 0
    for group in buffers.groups:
        for name in EVENTS:
            getattr(group, name)[copies] = 0


def publish(now: StepBuffers, out: StepBuffers) -> None:
    """Write everything of `now` into `out`; last views only in the rows whose life has ended."""
    _copy(now, out, OF_COPIES)
    for group, other in zip(now.groups, out.groups, strict=True):
        _copy(group, other, OF_AGENTS)
    publish_last(now, out)


def publish_last(now: StepBuffers, out: StepBuffers) -> None:
    """Write the last views of `now` into `out`, in the rows whose life has ended."""
    for group, other in zip(now.groups, out.groups, strict=True):
        ended = group.terminated | group.truncated
        if ended.any():
            for name in FINAL:
                getattr(other, name)[ended] = getattr(group, name)[ended]
            some = ended.any(1)
            out.final_state[some] = now.final_state[some]


def _copy(now: Any, out: Any, names: Iterable[str]) -> None:
    for name in names:
        array: Array = getattr(now, name)
        if array.size:
            np.copyto(getattr(out, name), array)


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
