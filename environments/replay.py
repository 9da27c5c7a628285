"""Replays: record an episode, keep it in a file, play it again exactly, and say where that fails.

A replay holds what happened (actions, rewards, ends, what policies thought), what it looked like (the named state
arrays before every step and at the end) and a digest of the complete simulation state at every step. Looking at it
needs no environment; verifying it does.

While an episode is recorded only its actions and events are kept. `Recorder.finish` plays the episode again in one
copy and takes the frames there, so that recording costs next to nothing in a batch of thousands, and every replay
that is written has been verified once.

    recorder = Recorder(env, copy=5, header={"policies": {"team": "policies/final.safetensors"}})
    while True:
        buffers = env.step(actions)
        if recorder.add(actions, buffers):
            recorder.finish().save("episode.replay")
            break

Imports neither torch nor numba: playing an episode again does, when asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium import spaces

from environments import replay_file
from environments.errors import EnvironmentFailure, RefusedFile, UsageError
from environments.replay_header import describe, machine, spec_of
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Actions, Array, SimState, StepBuffers, VectorEnv, action_shape

if TYPE_CHECKING:
    from environments.native import NativeEnv

OWN_HEADER = frozenset({"environment", "spec_digest", "key", "episode", "episode_seed", "machine", "outcome"})


class PolicyTrace(NamedTuple):
    """What a policy thought at one step, for the agents of one group in the recorded copy."""

    probabilities: Array
    """`[N, K]`: probability of each discrete action (MultiDiscrete: `[N, sum K]`); Box: `[N, 2 * dims]`, the mean and
    then the standard deviation of a Gaussian. NaN in rows of agents for which no policy acted."""
    value: Array
    """`[N]`: the critic's value, NaN where there is none."""


class GroupTrack(NamedTuple):
    """What one group did and got at every step `t`."""

    action: Array  # [T, N] int32, [T, N, dims] int32 or float32: applied in step t
    acting: Array  # [T, N] bool: the action counted
    reward: Array  # [T, N] float32: paid by step t
    terminated: Array  # [T, N] bool
    truncated: Array  # [T, N] bool
    probabilities: Array  # [T, N, K] float16, NaN where no policy acted; K = 0 where none ever did
    value: Array  # [T, N] float32, NaN where there is none


@dataclass(frozen=True)
class Replay:
    """One recorded episode of `T` steps."""

    header: Mapping[str, Any]
    """Plain JSON data: environment, options, seeds, machine, outcome, and what the caller added."""
    spec: EnvSpec
    """The environment's description, as far as a viewer needs it."""
    initial: SimState
    """Complete simulation state of the episode's start."""
    groups: Mapping[str, GroupTrack]
    frames: Mapping[str, Array]
    """The game's named state arrays, `[T + 1, ...]`: before every step, and the final ones."""
    digests: Array
    """`[T + 1]` uint64: `state_digest` of the complete simulation state at every frame."""
    metrics: Array
    """`[T, M]` float32: `spec.metrics`, summed over the episode so far."""
    damage: str | None = None
    """What could not be read of the file, or None."""

    @property
    def steps(self) -> int:
        """`T`: steps of the episode that are here."""
        return len(self.digests) - 1

    @property
    def outcome(self) -> Array:
        """`[teams]` float32: the episode's score for each of `spec.team_names`."""
        return np.asarray(self.header["outcome"], np.float32)

    def save(self, path: str | Path) -> None:
        """Write to a file, whole or not at all. StorageFailure where it cannot be written."""
        if self.damage:
            raise UsageError(f"a damaged replay is not written again ({self.damage})")
        tracks = {
            f"{field}/{name}": array
            for name, track in self.groups.items()
            for field, array in zip(track._fields, track, strict=True)
        }
        tracks |= {f"frame/{name}": array[1:] for name, array in self.frames.items()}
        tracks |= {"digest": self.digests[1:], "metrics": self.metrics}
        start = {f"state/{name}": array for name, array in self.initial.arrays.items()}
        start |= {f"clock/{name}": array for name, array in self.initial.clock.items()}
        replay_file.write(Path(path), self.header, start, tracks)


def load(path: str | Path) -> Replay:
    """Read a replay. A cut or damaged one holds its whole chunks and says so in `damage`.

    RefusedFile where the file is no replay, belongs to another schema or holds nothing that can be shown.
    """
    contents = replay_file.read(Path(path))
    try:
        return _replay_of(contents)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RefusedFile(f"{path}: this replay contradicts itself ({type(error).__name__}: {error})") from error


def _replay_of(contents: replay_file.Contents) -> Replay:
    header, start, tracks = contents.about, contents.start, contents.tracks
    spec = spec_of(header["environment"])
    initial = SimState(_under("state/", start), _under("clock/", start), str(header["spec_digest"]))
    after = _under("frame/", tracks)
    if set(after) != set(initial.arrays):
        raise ValueError("frames and start hold different arrays")
    replay = Replay(
        header=header,
        spec=spec,
        initial=initial,
        groups={g.name: GroupTrack(*(tracks[f"{f}/{g.name}"] for f in GroupTrack._fields)) for g in spec.groups},
        frames={name: np.concatenate([initial.arrays[name][None], later]) for name, later in after.items()},
        digests=np.concatenate([np.asarray([state_digest(initial)], np.uint64), tracks["digest"]]),
        metrics=tracks["metrics"],
        damage=contents.damage,
    )
    if initial.clock["key"].shape != () or initial.clock["episode"].shape != ():
        raise ValueError("the start names no episode")
    if replay.metrics.shape != (replay.steps, len(spec.metrics)) or replay.outcome.shape != (spec.num_teams,):
        raise ValueError("metrics or outcome have the wrong shape")
    for group in spec.groups:
        _check_track(group, replay.groups[group.name], replay.steps)
    return replay


def trace_width(group: AgentGroup) -> int:
    """Columns of `PolicyTrace.probabilities`."""
    space = group.action_space
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return 2 * int(np.prod(space.shape or ()))


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check_track(group: AgentGroup, track: GroupTrack, steps: int) -> None:
    """Shapes and types as the group says, and actions inside its space: compiled rules do not check them again."""
    shape, dtype = action_shape(group, steps)
    rows = (steps, len(group.agents))
    wanted = [(shape, dtype), (rows, np.bool_), (rows, np.float32), (rows, np.bool_), (rows, np.bool_)]
    for (wanted_shape, wanted_dtype), array in zip(wanted, track[:5], strict=True):
        if array.shape != wanted_shape or array.dtype != wanted_dtype:
            raise ValueError(f"group {group.name!r} holds {array.dtype}{array.shape}")
    if track.probabilities.shape not in ((*rows, 0), (*rows, trace_width(group))) or track.value.shape != rows:
        raise ValueError(f"group {group.name!r}: policy trace of the wrong shape")
    space = group.action_space
    if isinstance(space, spaces.Box):
        return
    ends = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec)  # type: ignore[attr-defined]
    if ((track.action < 0) | (track.action >= ends)).any():
        raise ValueError(f"group {group.name!r}: actions outside {space}")


def state_digest(state: SimState) -> np.uint64:
    """64-bit hash (BLAKE2b) of a complete simulation state, bit for bit."""
    digest = hashlib.blake2b(digest_size=8)
    for arrays in (state.arrays, state.clock):
        for name in sorted(arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.uint64(int.from_bytes(digest.digest(), "little"))


class Recorder:
    """Records one copy of a batch, from an episode's start to its end."""

    def __init__(self, env: VectorEnv, copy: int, header: Mapping[str, Any] | None = None) -> None:
        """`header`: plain JSON data to keep, for instance the policies' names, paths and hashes.

        ValueError where the copy is not at an episode's start; UsageError where the environment cannot be captured.
        """
        header = dict(header or {})
        if env.episode_step[copy] != 0:
            raise ValueError(f"copy {copy} is at step {env.episode_step[copy]}: a recording begins with an episode")
        if ":" in env.spec.name:
            raise UsageError(f"{env.spec.name} cannot be recorded: only environments that ship with the platform can")
        if not env.spec.can_capture:
            raise UsageError(f"{env.spec.name} cannot be recorded: its state cannot be captured")
        if clash := OWN_HEADER & header.keys():
            raise ValueError(f"the header's {sorted(clash)} are written by the recorder itself")
        self._spec = env.spec
        self._copy = copy
        self._header = header
        self._initial = env.capture(copy)
        self._events: dict[str, list[dict[str, Array]]] = {group.name: [] for group in env.spec.groups}
        self._traces: dict[str, list[PolicyTrace | None]] = {group.name: [] for group in env.spec.groups}
        self._outcome: Array | None = None

    def add(self, actions: Actions, buffers: StepBuffers, policy: Mapping[str, PolicyTrace] | None = None) -> bool:
        """Keep one step, after `env.step`: what was done, what it gave, and what policies thought *before* it.

        `actions` and `buffers` are the batch's; `policy` maps group names to traces of the recorded copy alone.
        Returns True when the episode is over.
        """
        if self._outcome is not None:
            raise ValueError("the recorded episode is over")
        copy = self._copy
        for group, out in zip(self._spec.groups, buffers.groups, strict=True):
            self._events[group.name].append(
                {
                    "action": np.array(actions[group.name][copy]),
                    "reward": np.array(out.reward[copy]),
                    "terminated": np.array(out.terminated[copy]),
                    "truncated": np.array(out.truncated[copy]),
                }
            )
            self._traces[group.name].append((policy or {}).get(group.name))
        if buffers.episode_over[copy]:
            self._outcome = np.array(buffers.outcome[copy])
        return self._outcome is not None

    def finish(self) -> Replay:
        """The replay. The episode is played again to take its frames; EnvironmentFailure if it goes differently."""
        if self._outcome is None:
            raise ValueError("the recorded episode is not over")
        events = {
            name: {field: np.stack([step[field] for step in steps]) for field in steps[0]}
            for name, steps in self._events.items()
        }
        played = list(play(self._spec, self._initial, {name: group["action"] for name, group in events.items()}))
        start, after = played[0], played[1:]
        if state_digest(start.state) != state_digest(self._initial):
            raise ValueError("the recorded start is not one that its key leads to")
        groups = {}
        for g, group in enumerate(self._spec.groups):
            kept = events[group.name]
            for field in ("reward", "terminated", "truncated"):
                _check_same(group, field, kept[field], np.stack([getattr(step.groups[g], field) for step in after]))
            probabilities, value = _stack_traces(group, self._traces[group.name])
            acting = np.stack([step.groups[g].acting for step in played[:-1]])
            groups[group.name] = GroupTrack(acting=acting, probabilities=probabilities, value=value, **kept)
        clock = self._initial.clock
        header = {
            **self._header,
            "environment": describe(self._spec),
            "spec_digest": self._spec.digest,
            "key": int(clock["key"]),
            "episode": int(clock["episode"]),
            "episode_seed": int(clock["seed"]),
            "machine": machine(),
            "outcome": [float(score) for score in self._outcome],
        }
        return Replay(
            header=header,
            spec=self._spec,
            initial=self._initial,
            groups=groups,
            frames={name: np.stack([step.state.arrays[name] for step in played]) for name in self._initial.arrays},
            digests=np.asarray([state_digest(step.state) for step in played], np.uint64),
            metrics=np.stack([step.metrics for step in after]),
        )


def _check_same(group: AgentGroup, field: str, recorded: Array, again: Array) -> None:
    different = recorded.view(np.uint8) != again.view(np.uint8)
    if different.any():
        step = int(np.nonzero(different.reshape(len(recorded), -1).any(axis=1))[0][0])
        raise EnvironmentFailure(
            f"the recorded episode cannot be played again: at step {step} group {group.name!r} has {field} "
            f"{again[step].tolist()}, recorded was {recorded[step].tolist()}; nothing was written"
        )


def _stack_traces(group: AgentGroup, traces: list[PolicyTrace | None]) -> tuple[Array, Array]:
    """`[T, N, K]` probabilities and `[T, N]` values, NaN where there are none."""
    agents = len(group.agents)
    width = trace_width(group) if any(trace is not None for trace in traces) else 0
    probabilities = np.full((len(traces), agents, width), np.nan, np.float16)
    value = np.full((len(traces), agents), np.nan, np.float32)
    for t, trace in enumerate(traces):
        if trace is not None:
            probabilities[t] = trace.probabilities
            value[t] = trace.value
    return probabilities, value


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
    yield _frame_of(env, 0)
    for t in range(len(next(iter(actions.values())))):
        env.step({name: np.ascontiguousarray(array[t : t + 1]) for name, array in actions.items()})
        yield _frame_of(env, t + 1)
    env.close()


def one_copy(spec: EnvSpec, initial: SimState) -> NativeEnv:
    """One copy that stays in its final state, at the start of the episode that `initial` names.

    Only the key and the episode's number are taken from `initial`: compiled rules trust their state arrays, and those
    of a file are not to be trusted. RefusedFile where the recorded environment cannot be made here.
    """
    from environments.native import NativeEnv
    from environments.registry import check_options, game

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


def _frame_of(env: NativeEnv, step: int) -> Frame:
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

    @property
    def exact(self) -> bool:
        """True where every step gives what was recorded, bit for bit."""
        return self.step is None

    def __str__(self) -> str:
        if self.exact:
            return f"exact: all {self.steps} steps give the recorded states and rewards, bit for bit"
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
    judged by itself, so that rounding does not grow into a false alarm. RefusedFile as for `resimulate`.
    """
    from environments.replay_header import machine_differences

    changed = machine_differences(replay.header.get("machine"), machine())
    env = one_copy(replay.spec, replay.initial)
    first: int | None = None
    what, largest = "", 0.0
    for t in range(replay.steps + 1):
        if t > 0:
            actions = {name: np.ascontiguousarray(track.action[t - 1 : t]) for name, track in replay.groups.items()}
            env.step(actions)
        frame = _frame_of(env, t)
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
        if t == replay.steps and replay.damage is None:
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
