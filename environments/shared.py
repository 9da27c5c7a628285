"""One block of memory that several processes see: everything that an environment's step reads and writes.

Views are there twice. A step writes into one half while the other still holds what was seen before it, so that the last
good view is whole even where a process dies in the middle of writing.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

import numpy as np

from environments.spec import EnvSpec
from environments.vector import Array, GroupBuffers, StepBuffers, action_shape, allocate

ALIGNED = 64
"""Bytes: no two arrays share a line of the processor's cache."""


class Block(NamedTuple):
    """The arrays of a block."""

    halves: tuple[StepBuffers, StepBuffers]
    actions: dict[str, Array]
    """Group -> its actions for the coming step."""
    seed: Array  # [E] uint64 of the open episodes
    given: Array  # [E] uint64, the same as `reset` of somebody else's environment was given it
    step: Array  # [E] int64 made in them
    faulted: Array  # [E] bool
    playing: Array  # [W] int64: the copy that each process is stepping, -1 where none


class Memory:
    """A block in a file without a name: it is gone with the last process that holds it, however that one ends."""

    def __init__(self, spec: EnvSpec, num_envs: int, workers: int, descriptor: int | None = None) -> None:
        """Makes the block, or opens the one behind `descriptor`. OSError where there is not enough memory."""
        measured = _Cutter(None)
        _cut(measured, spec, num_envs, workers)
        if descriptor is None:
            descriptor = os.memfd_create("marl", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, measured.size)
        self.descriptor = descriptor
        self.block = _cut(_Cutter(mmap.mmap(descriptor, measured.size)), spec, num_envs, workers)

    def close(self) -> None:
        """Forget the block; it ends when its arrays do."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class _Cutter:
    """Cuts arrays out of a buffer, one after the other; without a buffer it only measures."""

    def __init__(self, buffer: mmap.mmap | None) -> None:
        self.buffer = buffer
        self.size = 0

    def array(self, shape: tuple[int, ...], dtype: object) -> Array:
        """The next array."""
        kind = np.dtype(dtype)  # type: ignore[call-overload]
        start, size = self.size, int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        self.size += -(-max(size, 1) // ALIGNED) * ALIGNED
        if self.buffer is None:
            return np.zeros((0,), kind)
        return np.ndarray(shape, kind, self.buffer, start)


def _cut(cutter: _Cutter, spec: EnvSpec, num_envs: int, workers: int) -> Block:
    one = allocate(spec, 1)

    def like(array: Array) -> Array:
        return cutter.array((num_envs, *array.shape[1:]), array.dtype)

    def half() -> StepBuffers:
        groups = tuple(GroupBuffers(*map(like, group)) for group in one.groups)
        return StepBuffers(groups, *map(like, one[1:]))

    halves = (half(), half())
    actions = {group.name: cutter.array(*action_shape(group, num_envs)) for group in spec.groups}
    kinds = (np.uint64, np.uint64, np.int64, np.bool_)
    seed, given, step, faulted = (cutter.array((num_envs,), kind) for kind in kinds)
    return Block(halves, actions, seed, given, step, faulted, cutter.array((workers,), np.int64))


def rows(buffers: StepBuffers, first: int, last: int) -> StepBuffers:
    """The part of copies `first` to `last` (not included): views, no copies."""
    groups = tuple(GroupBuffers(*(array[first:last] for array in group)) for group in buffers.groups)
    return StepBuffers(groups, *(array[first:last] for array in buffers[1:]))
