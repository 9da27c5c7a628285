"""Playing a recorded episode again, and saying where it then goes differently. See `environments.replay`.

Needs the environment, and therefore numba; importing this module does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from environments.errors import RefusedFile, UsageError
from environments.replay_data import Replay, state_digest
from environments.replay_header import machine, machine_differences
from environments.spec import EnvSpec
from environments.vector import Array, SimState

if TYPE_CHECKING:
    from environments.native import NativeEnv


class GroupFrame(NamedTuple):
    """One group's part of a played step."""

    acting: Array  # [N] bool: whose actions count in the next step
    reward: Array  # [N] float32, of the step just made
    terminated: Array  # [N] bool
    truncated: Array  # [N] bool


class Frame(NamedTuple):
    """What an episode looks like between two steps, played again."""

    step: int
    """Steps made so far."""
    state: SimState
    groups: tuple[GroupFrame, ...]
    """Parallel to `spec.groups`."""
    outcome: Array
    """`[teams]`, valid where over."""
    metrics: Array
    """`[M]`."""
    over: bool


def resimulate(replay: Replay) -> Iterator[Frame]:
    """Play a replay's actions again from its key: yields the start and then one frame per step.

    RefusedFile where the environment, its version or its options are not the ones recorded.
    """
    return play(replay.spec, replay.initial, {name: track.action for name, track in replay.groups.items()})


def play(spec: EnvSpec, initial: SimState, actions: Mapping[str, Array]) -> Iterator[Frame]:
    """Play `actions` (`[T, N, ...]` by group) in one copy, from the episode that `initial` names. See `resimulate`."""
    env = one_copy(spec, initial)
    yield frame_of(env, 0)
    for t in range(len(next(iter(actions.values())))):
        env.step({name: np.ascontiguousarray(array[t : t + 1]) for name, array in actions.items()})
        yield frame_of(env, t + 1)
    env.close()


def one_copy(spec: EnvSpec, initial: SimState) -> NativeEnv:
    """One copy that stays in its final state, at the start of the episode that `initial` names.

    Only the key and the episode's number are taken from `initial`: compiled rules trust their state arrays, and those
    of a file are not to be trusted. RefusedFile where the recorded environment cannot be made here.
    """
    from environments.native import NativeEnv
    from environments.registry import check_options, game

    if ":" in spec.name:
        raise RefusedFile(f"{spec.name} does not come with the platform: it can be watched, not played again")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.options.items()}
    try:
        found = game(spec.name)
        env = NativeEnv(found, check_options(found, options), num_threads=1, hold=True)
    except (UsageError, MemoryError) as error:
        raise RefusedFile(f"this replay's environment cannot be made: {error}") from error
    if env.spec.digest != initial.digest:
        raise RefusedFile(
            f"recorded with version {spec.version} of {spec.name} and options {dict(spec.options)}, here is version "
            f"{env.spec.version} with {dict(env.spec.options)}: it can be watched, not played again"
        )
    if [group.agents for group in env.spec.groups] != [group.agents for group in spec.groups]:
        raise RefusedFile(f"this replay's agents are not those of {spec.name}: it can be watched, not played again")
    before = (int(initial.clock["episode"]) - 1) % 2**64  # `reset` moves on to the next
    clock = {"key": initial.clock["key"], "episode": np.asarray(before, np.uint64)}
    env.restore(0, SimState({}, clock, env.spec.digest))
    env.reset()
    return env


def frame_of(env: NativeEnv, step: int) -> Frame:
    """What one copy looks like after `step` steps."""
    buffers = env.buffers
    groups = tuple(
        GroupFrame(*(np.array(getattr(group, field)[0]) for field in GroupFrame._fields)) for group in buffers.groups
    )
    outcome, metrics = np.array(buffers.outcome[0]), np.array(buffers.metrics[0])
    return Frame(step, env.capture(0), groups, outcome, metrics, bool(buffers.episode_over[0]))


LAST_BITS = 64
"""Differences up to this many units in the last place, in one step, are rounding: a stiff contact magnifies one."""


@dataclass(frozen=True)
class Verdict:
    """What came out when a replay was played again."""

    steps: int
    """Steps compared."""
    step: int | None
    """The first step (from 0) that gives something else than recorded, -1 for the start, None where all is equal."""
    what: str
    """What differed there."""
    last_bit: bool
    """True where the machines differ and every difference is of last-bit size: rounding, not corruption."""
    largest: float
    """Largest difference of one step, in units in the last place."""
    changed: tuple[str, ...]
    """What differs between the recording machine and this one."""
    compared: str = "states and rewards"
    """What a replay of that kind holds of every step."""

    @property
    def exact(self) -> bool:
        """True where every step gives what was recorded, bit for bit."""
        return self.step is None

    def __str__(self) -> str:
        if self.exact:
            return f"exact: all {self.steps} steps give the recorded {self.compared}, bit for bit"
        where = "the start" if self.step == -1 else f"step {self.step}"
        changed = f"; {', '.join(self.changed)}" if self.changed else ""
        if self.last_bit:
            return (
                f"a last-bit difference between machines, not corruption: from {where} on results differ by at most "
                f"{self.largest:.3g} units in the last place in one step ({self.what}){changed}"
            )
        return f"diverges at {where}: {self.what}{changed}"


def verify(replay: Replay) -> Verdict:
    """Play a replay again and compare every step with what is stored, bit for bit.

    After a difference of last-bit size on another machine, the recorded state is put back and each later step is
    judged by itself, so that rounding does not grow into a false alarm. RefusedFile as for `resimulate`, and where
    nobody vouches for somebody else's environment.
    """
    if ":" in replay.spec.name:
        from environments import replay_outside

        return replay_outside.verify(replay)
    changed = machine_differences(replay.header.get("machine"), machine())
    env = one_copy(replay.spec, replay.initial)
    first: int | None = None
    what, largest = "", 0.0
    for t in range(replay.steps + 1):
        if t > 0:
            actions = {name: np.ascontiguousarray(track.action[t - 1 : t]) for name, track in replay.groups.items()}
            env.step(actions)
        frame = frame_of(env, t)
        found, size = _difference(replay, frame, t, digests=first is None)
        if found and first is None:
            first, what = t - 1, found
        largest = max(largest, size)
        if found and (not changed or size > LAST_BITS):
            return Verdict(t, t - 1, found, False, largest, changed)
        if first is not None and t < replay.steps:
            env.restore(0, {name: array[t] for name, array in replay.frames.items()})
    env.close()
    return Verdict(replay.steps, first, what, first is not None, largest, changed)


def _difference(replay: Replay, frame: Frame, t: int, digests: bool) -> tuple[str, float]:
    """What differs between a played frame and the recorded one, and by how many units in the last place."""
    compared = [(f"state array {name!r}", frame.state.arrays[name], array[t]) for name, array in replay.frames.items()]
    for group, played in zip(replay.spec.groups, frame.groups, strict=True):
        track = replay.groups[group.name]
        label = f"of group {group.name!r}"
        if t < replay.steps:
            compared.append((f"who acts {label}", played.acting, track.acting[t]))
        if t > 0:
            compared.append((f"reward {label}", played.reward, track.reward[t - 1]))
            compared.append((f"terminated {label}", played.terminated, track.terminated[t - 1]))
            compared.append((f"truncated {label}", played.truncated, track.truncated[t - 1]))
    if digests and t > 0:
        compared.append(("metrics", frame.metrics, replay.metrics[t - 1]))
        if t == replay.steps and replay.damage is None and not replay.left_open:
            compared.append(("outcome", frame.outcome, replay.outcome))
    worst, own, recorded = max(compared, key=lambda item: _last_places(item[1], item[2]))
    size = _last_places(own, recorded)
    if size > 0:
        gap = np.abs(own.astype(np.float64) - recorded).max() if own.shape == recorded.shape else np.inf
        return f"{worst} differs by {gap:.3g}", size
    if digests and state_digest(frame.state) != replay.digests[t]:
        return "the state digest differs (clock, counters or scores)", np.inf
    return "", 0.0


def _last_places(own: Array, recorded: Array) -> float:
    """Largest difference in units in the last place of the larger operands (at least of 1); inf where not rounding."""
    if own.shape != recorded.shape or own.dtype != recorded.dtype:
        return np.inf
    if own.tobytes() == recorded.tobytes():
        return 0.0
    if own.dtype.kind != "f" or not (np.isfinite(own).all() and np.isfinite(recorded).all()):
        return np.inf
    scale = max(1.0, float(np.abs(own).max()), float(np.abs(recorded).max()))
    gap = float(np.abs(own.astype(np.float64) - recorded.astype(np.float64)).max())
    return max(gap / (scale * float(np.finfo(own.dtype).eps)), np.finfo(np.float64).tiny)  # -0.0 against 0.0
