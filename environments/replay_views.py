"""What agents saw before every step of somebody else's environment. See `environments.replay`.

Small views are per-step arrays like all others. Large ones (images) are a stream of the file: one row of bytes for each
step, of every group in order its observations and then its masks, read when a step is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from environments.replay_blocks import portable
from environments.replay_stream import Octets, Stream
from environments.spec import AgentGroup
from environments.vector import Array

SMALL_BYTES = 8192
"""Of all views before one step: more is streamed."""


class GroupView(NamedTuple):
    """What one group saw before one step."""

    obs: Array  # [N, *shape]
    action_mask: Array  # [N, K] bool, True where legal; K = 0 where nothing is masked


class ViewTrack(NamedTuple):
    """What one group saw before every step `t`."""

    obs: Array  # [T, N, *shape]
    action_mask: Array  # [T, N, K] bool, True where legal; K = 0 where nothing is masked


class Views:
    """Large views of a file, read when they are asked for."""

    def __init__(self, stream: Stream, groups: Sequence[AgentGroup]) -> None:
        """ValueError where the file's rows are not those of these groups."""
        self.stream = stream
        self._groups = groups
        if stream.size != row_bytes(groups):
            raise ValueError(f"views of {stream.size} bytes, where the groups need {row_bytes(groups)}")

    def at(self, step: int) -> dict[str, GroupView]:
        """What every group saw before a step; empty where that is missing or damaged."""
        octets = self.stream.at(step)
        if octets is None:
            return {}
        found, place = {}, 0
        for group in self._groups:
            parts = []
            for dtype, shape in _parts(group):
                size = dtype.itemsize * int(np.prod(shape))
                parts.append(octets[place : place + size].view(dtype).reshape(shape))
                place += size
            found[group.name] = GroupView(parts[0], parts[1] != 0)
        return found


def row_bytes(groups: Sequence[AgentGroup]) -> int:
    """Bytes of all views before one step."""
    return sum(dtype.itemsize * int(np.prod(shape)) for group in groups for dtype, shape in _parts(group))


def row_of(groups: Sequence[AgentGroup], view: Mapping[str, Array]) -> Octets:
    """The row of bytes of views by the names that a replay's arrays have (`obs/GROUP`, `mask/GROUP`)."""
    names = [f"{what}/{group.name}" for group in groups for what in ("obs", "mask")]
    return np.concatenate([portable(name, view[name]).reshape(-1).view(np.uint8) for name in names])


def _parts(group: AgentGroup) -> list[tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of a group's observations, and of its masks as bytes."""
    space, agents = group.observation_space, len(group.agents)
    return [
        (space.dtype.newbyteorder("<"), (agents, *space.shape)),
        (np.dtype(np.uint8), (agents, group.mask_size)),
    ]
