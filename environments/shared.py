"""One block of memory that several processes see: everything that an environment's step reads and writes.

Views are there twice. A step writes into one half while the other still holds what was seen before it, so that the last
good view is whole even where a process dies in the middle of writing.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from environments.arrays import FINAL, OF_AGENTS, OF_COPIES
from environments.spec import EnvSpec
from environments.vector import Array, GroupBuffers, StepBuffers, action_shape, allocate

ENDS = ("terminated", "truncated")
ALIGNED = 64
"""Bytes: no two arrays share a line of the processor's cache."""


class Half(NamedTuple):
    """What a step writes, and parts of it as bytes: copied or looked through in one go."""

    buffers: StepBuffers
    told: Array  # [bytes] everything but last views
    ended: Array  # [bytes] who was terminated or truncated


class Block(NamedTuple):
    """The arrays of a block."""

    halves: tuple[Half, ...]
    actions: dict[str, Array]
    """Group -> its actions for the coming step."""
    seed: Array  # [E] uint64 of the open episodes
    given: Array  # [E] uint64, the same as `reset` of somebody else's environment was given it
    step: Array  # [E] int64 made in them
    faulted: Array  # [E] bool
    clock: Array  # [bytes] the last four
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


def private(spec: EnvSpec, num_envs: int) -> Block:
    """A block of our own, with one half."""
    measured = _Cutter(None)
    _cut(measured, spec, num_envs, 0, 1)
    return _cut(_Cutter(bytearray(measured.size)), spec, num_envs, 0, 1)


class _Cutter:
    """Cuts arrays out of a buffer, one after the other; without a buffer it only measures."""

    def __init__(self, buffer: mmap.mmap | bytearray | None) -> None:
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

    def since(self, start: int) -> Array:
        """All that was cut from this size on, as bytes."""
        if self.buffer is None:
            return np.zeros((0,), np.uint8)
        return np.ndarray((self.size - start,), np.uint8, self.buffer, start)


def _cut(cutter: _Cutter, spec: EnvSpec, num_envs: int, workers: int, halves: int = 2) -> Block:
    cut = tuple(_half(cutter, spec, num_envs) for _ in range(halves))
    actions = {group.name: cutter.array(*action_shape(group, num_envs)) for group in spec.groups}
    kinds = (np.uint64, np.uint64, np.int64, np.bool_)
    start = cutter.size
    seed, given, step, faulted = (cutter.array((num_envs,), kind) for kind in kinds)
    clock = cutter.since(start)
    return Block(cut, actions, seed, given, step, faulted, clock, cutter.array((workers,), np.int64))


def _half(cutter: _Cutter, spec: EnvSpec, num_envs: int) -> Half:
    one = allocate(spec, 1)
    arrays: dict[tuple[int, str], Array] = {}

    def cut(place: int, part: Any, names: Iterable[str]) -> None:
        for name in names:
            like: Array = getattr(part, name)
            arrays[place, name] = cutter.array((num_envs, *like.shape[1:]), like.dtype)

    start = cutter.size
    cut(-1, one, OF_COPIES)
    for g, group in enumerate(one.groups):
        cut(g, group, (name for name in OF_AGENTS if name not in ENDS))
    middle = cutter.size
    for g, group in enumerate(one.groups):
        cut(g, group, ENDS)
    told, ended = cutter.since(start), cutter.since(middle)
    for g, group in enumerate(one.groups):
        cut(g, group, FINAL)
    cut(-1, one, ("final_state",))
    groups = tuple(GroupBuffers(*(arrays[g, name] for name in group._fields)) for g, group in enumerate(one.groups))
    return Half(StepBuffers(groups, *(arrays[-1, name] for name in one._fields[1:])), told, ended)


def rows(buffers: StepBuffers, first: int, last: int) -> StepBuffers:
    """The part of copies `first` to `last` (not included): views, no copies."""
    groups = tuple(GroupBuffers(*(array[first:last] for array in group)) for group in buffers.groups)
    return StepBuffers(groups, *(array[first:last] for array in buffers[1:]))
