"""Playing at random, and comparing and poisoning the arrays of a step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup
from environments.vector import Array, GroupBuffers, StepBuffers, VectorEnv, action_shape

FINAL = ("final_obs", "final_mask", "final_agent_state", "final_state")
"""Arrays that are written only where a life has ended."""


def random_actions(env: VectorEnv, rng: np.random.Generator) -> dict[str, Array]:
    """Legal random actions for every row; uniform in the bounds of a Box (within +-1 where it has none)."""
    return {
        group.name: _random(group, env.num_envs, buffers.action_mask, rng)
        for group, buffers in zip(env.spec.groups, env.buffers.groups, strict=True)
    }


def _random(group: AgentGroup, num_envs: int, mask: Array, rng: np.random.Generator) -> Array:
    shape, dtype = action_shape(group, num_envs)
    space = group.action_space
    if isinstance(space, spaces.Box):
        low = np.where(np.isfinite(space.low), space.low, -1).reshape(-1)
        high = np.where(np.isfinite(space.high), space.high, 1).reshape(-1)
        return rng.uniform(low, high, shape).astype(dtype)
    sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else [int(n) for n in space.nvec]
    if not group.masked:
        return rng.integers(0, sizes if len(shape) == 3 else sizes[0], shape).astype(dtype)
    scores = np.where(mask, rng.random((*shape[:2], sum(sizes))), -1.0)
    ends = np.cumsum(sizes)
    picked = [scores[..., end - size : end].argmax(-1) for size, end in zip(sizes, ends, strict=True)]
    return np.stack(picked, -1).reshape(shape).astype(dtype)


def select(actions: dict[str, Array], copies: slice | list[int]) -> dict[str, Array]:
    """The actions of some copies, as a batch of their own."""
    return {name: np.ascontiguousarray(array[copies]) for name, array in actions.items()}


def arrays(buffers: StepBuffers) -> Iterator[tuple[str, Array]]:
    """Every array of a step by name; a group's as `<number>.<name>`."""
    for name in StepBuffers._fields[1:]:
        yield name, getattr(buffers, name)
    for g, group in enumerate(buffers.groups):
        for name in GroupBuffers._fields:
            yield f"{g}.{name}", getattr(group, name)


def snapshot(buffers: StepBuffers, copies: slice | list[int] | None = None) -> dict[str, Array]:
    """Copies of every array, of some copies only where given."""
    return {name: np.array(a if copies is None else a[copies]) for name, a in arrays(buffers)}


def ended(buffers: StepBuffers) -> list[Array]:
    """Per group `[E, N]`: whose life ended in the last step."""
    return [group.terminated | group.truncated for group in buffers.groups]


def life_ended(buffers: StepBuffers) -> Array:
    """`[E]`: some life ended in the last step."""
    return np.stack([rows.any(1) for rows in ended(buffers)]).any(0)


def valid(buffers: StepBuffers, copies: slice | list[int] | None = None) -> dict[str, Array]:
    """A snapshot in which everything that need not be written is zero: what two equal runs must agree on."""
    shot = {name: np.array(array) for name, array in arrays(buffers)}
    shot["final_state"][~life_ended(buffers)] = 0
    shot["outcome"][~buffers.episode_over] = 0
    for g, rows in enumerate(ended(buffers)):
        for name in FINAL[:3]:
            shot[f"{g}.{name}"][~rows] = 0
    return shot if copies is None else {name: array[copies] for name, array in shot.items()}


def same_bits(a: Array, b: Array) -> bool:
    """Equal in shape, type and every bit (so NaN equals NaN, and 0.0 does not equal -0.0)."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def assert_same(a: dict[str, Array], b: dict[str, Array], when: object) -> None:
    """AssertionError names the first array that differs."""
    assert a.keys() == b.keys()
    for name in a:
        assert same_bits(a[name], b[name]), f"{name} differs at {when}:\n{a[name]}\n{b[name]}"


POISONS = {"f": (7e33, -3e33), "u": (77, 200), "b": (True, False)}


def poison(buffers: StepBuffers, which: int) -> None:
    """Fill every array with the first or second poison of its type."""
    for _, array in arrays(buffers):
        array[...] = POISONS[array.dtype.kind][which]
