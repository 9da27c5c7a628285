"""Observations, legal actions and actions of other people's environments as arrays, and back.

An array space stays as it is (as float32, or as uint8 where all of it fits); everything else is flattened to one row of
float32 with a name for each column: Discrete parts one-hot, Dict and Tuple to any depth. Nothing is padded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.errors import UsageError
from environments.vector import Array

MASK = "action_mask"
"""Where PettingZoo's environments put legal actions: in a Dict observation, or in an info."""
NUMBERS = "biuf"
"""Kinds of dtype that an observation may have."""


@dataclass(frozen=True)
class Sight:
    """How one agent's observation becomes an array."""

    box: spaces.Box
    """Of the array: float32 or uint8."""
    features: tuple[str, ...]
    """Names of the columns of a flattened observation."""
    given: spaces.Space[Any]
    """Space of what the environment shows, legal actions aside."""
    key: str | None
    """Where the observation stands in the Dict that the environment shows; None where it shows no legal actions."""
    rest: tuple[str, ...]
    """Keys that make up the observation where there are several beside the legal actions."""
    maskable: bool
    """True where the agent's actions can be legal or not: only then an info's legal actions count."""

    @cached_property
    def taken_as_it_is(self) -> tuple[tuple[int, ...], Any]:
        """Shape and type of an array in which there is nothing to look at but whether its numbers are finite."""
        box = self.given
        whole = isinstance(box, spaces.Box) and (box.dtype.kind == "f" or box.dtype == self.box.dtype)
        return (self.box.shape, box.dtype) if whole else ((), None)

    def split(self, view: Any, info: Any) -> tuple[Any, Any]:
        """(observation, legal actions or None) of what the environment shows and says."""
        if self.key is not None:
            return view[self.key], view[MASK]
        if self.rest:
            return {name: view[name] for name in self.rest}, view[MASK]
        legal = info.get(MASK) if self.maskable and isinstance(info, dict) else None
        return view, legal

    def write(self, view: Any, out: Array) -> None:
        """Put an observation into its array. ValueError where its shape, type or range is not what the space says."""
        shape, dtype = self.taken_as_it_is
        if type(view) is np.ndarray and view.dtype is dtype and view.shape == shape:
            out[...] = view
            return
        if isinstance(self.given, spaces.Box):
            out[...] = _checked(view, self.given, self.box.dtype == np.uint8)
            return
        place = 0
        for part in _flat(self.given, view):
            out[place : place + part.size] = part
            place += part.size
        if place != out.size:
            raise ValueError(f"an observation of {place} numbers, where its space has {out.size}")


def sight_of(space: spaces.Space[Any], maskable: bool) -> Sight:
    """How an observation space is seen. UsageError where it holds what cannot become numbers."""
    key: str | None = None
    rest: tuple[str, ...] = ()
    if maskable and isinstance(space, spaces.Dict) and MASK in space.spaces and len(space.spaces) > 1:
        others = {name: part for name, part in space.spaces.items() if name != MASK}
        if len(others) == 1:
            key, space = next(iter(others.items()))
        else:
            rest, space = tuple(others), spaces.Dict(others)
    if isinstance(space, spaces.Box):
        return Sight(_array_space(space), (), space, key, rest, maskable)
    features = tuple(_names(space, ""))
    low, high = (np.array(list(bounds), np.float32) for bounds in zip(*_bounds(space), strict=True))
    return Sight(spaces.Box(low, high, dtype=np.float32), features, space, key, rest, maskable)


def _array_space(space: spaces.Box) -> spaces.Box:
    """The float32 or uint8 space of a Box: small whole numbers from 0 to 255 stay bytes."""
    if space.dtype.kind not in NUMBERS:
        raise UsageError(f"observations of type {space.dtype} are not numbers")
    whole = space.dtype.kind in "biu" and space.low.size and space.low.min() >= 0 and space.high.max() <= 255
    dtype: Any = np.uint8 if whole else np.float32
    with np.errstate(over="ignore"):
        low, high = space.low.astype(dtype), space.high.astype(dtype)
    return spaces.Box(low, high, dtype=dtype)


def _checked(view: Any, space: spaces.Box, as_bytes: bool) -> Array:
    """The view as an array. ValueError where it does not fit its space's shape and kind of numbers."""
    array = np.asarray(view)
    if array.shape != space.shape:
        raise ValueError(f"an observation of shape {array.shape}, where its space has {space.shape}")
    if array.dtype.kind not in NUMBERS or (array.dtype.kind == "f" and space.dtype.kind in "iub"):
        raise ValueError(f"an observation of type {array.dtype}, where its space has {space.dtype}")
    if (
        as_bytes
        and array.dtype not in (np.uint8, np.bool_)
        and array.size
        and not 0 <= array.min() <= array.max() < 256
    ):
        raise ValueError(f"an observation from {array.min()} to {array.max()} outside its space {space}")
    return array


def _flat(space: spaces.Space[Any], view: Any) -> Iterator[Array]:
    """The parts of an observation as rows of numbers, in the order of `_names`."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from _flat(part, view[name])
    elif isinstance(space, spaces.Tuple):
        for part, seen in zip(space.spaces, view, strict=True):
            yield from _flat(part, seen)
    elif isinstance(space, spaces.Box):
        yield _checked(view, space, as_bytes=False).reshape(-1)
    elif isinstance(space, spaces.MultiBinary):
        yield np.asarray(view).reshape(-1)
    else:
        sizes, starts = _choices(space)
        for size, start, chosen in zip(sizes, starts, np.asarray(view).reshape(-1).tolist(), strict=True):
            if not start <= chosen < start + size:
                raise ValueError(f"an observation with {chosen}, which is outside {space}")
            row = np.zeros(size, np.float32)
            row[int(chosen) - start] = 1
            yield row


def _names(space: spaces.Space[Any], prefix: str) -> Iterator[str]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from _names(part, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        shape = tuple(space.shape or ())
        for index in itertools.product(*map(range, shape)):
            yield f"{prefix}[{','.join(map(str, index))}]" if shape else prefix
    else:
        sizes, starts = _choices(space)
        for place, (size, start) in enumerate(zip(sizes, starts, strict=True)):
            name = prefix if isinstance(space, spaces.Discrete) else f"{prefix}[{place}]"
            yield from (f"{name}={start + choice}" for choice in range(size))


def _bounds(space: spaces.Space[Any]) -> Iterator[tuple[float, float]]:
    """(low, high) of every column of a flattened space."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from _bounds(part)
    elif isinstance(space, spaces.Box):
        if space.dtype.kind not in NUMBERS:
            raise UsageError(f"observations of type {space.dtype} are not numbers")
        yield from zip(space.low.reshape(-1).tolist(), space.high.reshape(-1).tolist(), strict=True)
    else:
        width = math.prod(space.shape) if isinstance(space, spaces.MultiBinary) else sum(_choices(space)[0])
        yield from itertools.repeat((0.0, 1.0), int(width))


def _choices(space: spaces.Space[Any]) -> tuple[list[int], list[int]]:
    """(sizes, first values) of the choices of a Discrete or MultiDiscrete space."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)], [int(space.start)]
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.reshape(-1).tolist(), space.start.reshape(-1).tolist()
    raise UsageError(f"observations of {type(space).__name__} cannot become numbers; wrap the environment first")


@dataclass(frozen=True)
class Moves:
    """How an array of ours becomes one agent's action."""

    space: spaces.Space[Any]
    """Discrete or MultiDiscrete from 0, or a Box: what learners see."""
    given: spaces.Space[Any]
    """What the environment says."""
    decode: Callable[[Array], Any]
    """A row of the actions' array -> what the environment wants. ValueError on a choice that does not exist."""


def moves_of(space: spaces.Space[Any]) -> Moves:
    """How an action space is used. UsageError, in words, on a Tuple, a Dict or anything else that no learner knows."""
    if isinstance(space, spaces.Discrete):
        count, first = int(space.n), int(space.start)

        def choose(row: Array) -> Any:
            if not 0 <= row < count:
                raise ValueError(f"action {row} is outside {space}")
            return int(row) + first

        return Moves(spaces.Discrete(count), space, choose)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return _several(space)
    if isinstance(space, spaces.Box) and space.dtype.kind in NUMBERS:
        return _real(space)
    names: dict[Any, str] = {spaces.Tuple: "parts (Tuple)", spaces.Dict: "named parts (Dict)"}
    told = names.get(type(space), type(space).__name__)
    raise UsageError(
        f"actions of {told} cannot be learnt here; give every agent Discrete, MultiDiscrete or Box actions, "
        "for instance one MultiDiscrete for several choices"
    )


def _several(space: Any) -> Moves:
    shape = tuple(space.shape)
    binary = isinstance(space, spaces.MultiBinary)
    sizes = np.full(shape, 2) if binary else space.nvec
    first = 0 if binary else space.start
    flat, dtype = sizes.reshape(-1), space.dtype

    def choose(row: Array) -> Any:
        if (row < 0).any() or (row >= flat).any():
            raise ValueError(f"action {row.tolist()} is outside {space}")
        return (row.reshape(shape) + first).astype(dtype)

    return Moves(spaces.MultiDiscrete(flat), space, choose)


def _real(space: spaces.Box) -> Moves:
    shape, dtype = space.shape, space.dtype
    with np.errstate(over="ignore"):
        seen = spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)

    def choose(row: Array) -> Any:
        if not np.isfinite(row).all():
            raise ValueError(f"action {row.tolist()} is not finite")
        values = row.reshape(shape)
        return (values if dtype.kind == "f" else np.rint(values)).astype(dtype)

    return Moves(seen, space, choose)


def write_mask(legal: Any, out: Array) -> None:
    """Put legal actions into their row of booleans, all True where the environment shows none.

    All True, too, where none is legal: whose life has ended, has no restriction. ValueError where their number is not
    that of the actions.
    """
    if legal is None:
        out[...] = True
        return
    flat = np.concatenate([np.ravel(part) for part in legal]) if isinstance(legal, tuple) else np.ravel(legal)
    if flat.shape != out.shape:
        raise ValueError(f"an action mask of {flat.size} entries for {out.size} actions")
    out[...] = flat != 0
    out |= not out.any()
