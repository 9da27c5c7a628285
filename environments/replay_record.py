"""Recording an episode of one copy of a batch. See `environments.replay`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from environments import replay_file
from environments.errors import EnvironmentFailure, UsageError
from environments.replay_again import Frame, frame_of, one_copy
from environments.replay_blocks import MAX_BLOCK_BYTES
from environments.replay_data import PolicyTrace, Replay, load, state_digest, trace_width
from environments.replay_header import describe, machine
from environments.replay_outside import EVENTS, digest_of, seen
from environments.replay_pictures import fitted
from environments.replay_views import SMALL_BYTES, row_bytes, row_of
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Actions, Array, SimState, StepBuffers, VectorEnv, action_shape

OWN_HEADER = frozenset(
    {
        "environment",
        "spec_digest",
        "key",
        "episode",
        "episode_seed",
        "machine",
        "outcome",
        "left_out",
        "no_pictures",
        "no_observations",
        "fault",
        "left_open",
    }
)
STREAM_BYTES = 128 * 2**20
"""Of all pictures of one episode, and of all large views, as they are packed; what comes later is not kept."""
PROBABILITY_BITS, VALUE_BITS = 7, 10
"""Of the fractions of what policies thought: enough to be looked at, and half the bytes."""

Rows = dict[str, Array]


class _Source(Protocol):
    """Where the rest of a step comes from: what is not in the actions and events of the batch."""

    start: SimState
    streamed: int | None
    """Bytes of what agents see before one step, where that is streamed."""
    missing: str
    """Why there is nothing of what they see, or no more; empty where all is well."""

    def first(self) -> Rows:
        """A row of every array that `after` gives, for its type and shape."""
        ...

    def note(self, buffers: StepBuffers, writer: replay_file.Writer, step: int) -> None:
        """A step was made, the one with that number."""
        ...

    def rows(self, steps: Sequence[Rows]) -> list[Rows]:
        """What else there is of the oldest steps that were noted, for which the batch gave `steps`."""
        ...

    def close(self) -> None:
        """The recording is over."""
        ...


class Recorder:
    """Records one copy of a batch, from an episode's start to its end, chunk by chunk."""

    def __init__(
        self, env: VectorEnv, copy: int, header: Mapping[str, Any] | None = None, path: Path | None = None
    ) -> None:
        """`header`: plain JSON data to keep, `policies` and `parent` for instance (`docs/replay-format.md`).

        With a `path` every whole chunk is written at once, to `path` with `.part` behind it until the episode is over;
        else all is kept in memory, compressed. ValueError where the copy is not at an episode's start; UsageError
        where the environment cannot be captured.
        """
        header = dict(header or {})
        if env.episode_step[copy] != 0:
            raise ValueError(f"copy {copy} is at step {env.episode_step[copy]}: a recording begins with an episode")
        if clash := OWN_HEADER & header.keys():
            raise ValueError(f"the header's {sorted(clash)} are written by the recorder itself")
        began = time.perf_counter()
        self._env: Any = env
        self._spec = env.spec
        self._copy = copy
        self._header = header
        self._path = path
        self._source: _Source
        self._film: _Film | None = None
        if ":" in env.spec.name:
            self._source = _Witness(env, copy)
            self._film = _Film(env, copy)
        elif env.spec.can_capture:
            self._source = _Again(env.spec, env.capture(copy))
        else:
            raise UsageError(f"{env.spec.name} cannot be recorded: its state cannot be captured")
        self._writer: replay_file.Writer | None = None
        self._widths: dict[str, int] = {}
        self._waiting: list[Rows] = []
        self._most = 0
        self._spent = 0.0
        self._left_out = 0
        self._outcome: Array | None = None
        self._fault = ""
        self._spent = time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """Time that recording has taken so far, drawing included."""
        return self._spent + (0.0 if self._film is None else self._film.seconds)

    def add(self, actions: Actions, buffers: StepBuffers, policy: Mapping[str, PolicyTrace] | None = None) -> bool:
        """Keep one step, after `env.step`: what was done, what it gave, and what policies thought *before* it.

        `actions` and `buffers` are the batch's; `policy` maps group names to traces of the recorded copy alone (of a
        group without any at the first step none is kept). Returns True when the episode is over. EnvironmentFailure
        where an environment of ours, played again, goes differently; StorageFailure where nothing can be written.
        """
        if self._outcome is not None:
            raise ValueError("the recorded episode is over")
        began = time.perf_counter()
        if self._writer is None:
            self._writer = self._begin(policy or {})
        writer = self._writer
        if writer.steps + len(self._waiting) < self._most:
            self._source.note(buffers, writer, writer.steps + len(self._waiting))
            self._waiting.append(self._row(actions, buffers, policy or {}))
            if self._film is not None:
                self._film.take(writer, writer.steps + len(self._waiting))
        else:
            self._left_out += 1
        if buffers.episode_over[self._copy]:
            self._outcome = np.array(buffers.outcome[self._copy])
            if self._film is not None and self._env.faulted[self._copy]:
                self._fault = str(self._env.faults[-1])
        if len(self._waiting) == replay_file.CHUNK_STEPS:
            self._flush(writer)
        self._spent += time.perf_counter() - began
        return self._outcome is not None

    def finish(self, left_open: bool = False) -> Replay:
        """Write what is left, give the file its name, and read it. EnvironmentFailure, StorageFailure as in `add`.

        `left_open`: also where the episode is not over yet, which the replay then says. ValueError where it is not
        over, or nothing was recorded.
        """
        if self._writer is None or not (self._outcome is not None or left_open):
            raise ValueError("the recorded episode is not over" if self._writer else "there is no step to keep")
        began = time.perf_counter()
        if self._waiting:
            self._flush(self._writer)
        self._source.close()
        ending: dict[str, Any] = {"left_open": True}
        if self._outcome is not None:
            ending = {"outcome": [float(score) for score in self._outcome]}
        if self._left_out:
            ending["left_out"] = self._left_out
        if self._fault:
            ending["fault"] = self._fault
        if self._film is not None and self._film.missing:
            ending["no_pictures"] = self._film.missing
        if self._source.missing:
            ending["no_observations"] = self._source.missing
        memory = self._writer.end(ending)
        written = memory or self._path
        assert written is not None
        replay = load(written)
        self._spent += time.perf_counter() - began
        return replay

    def _begin(self, policy: Mapping[str, PolicyTrace]) -> replay_file.Writer:
        """The file, now that it is known which policies tell what they think."""
        rows = dict(self._source.first())
        for group in self._spec.groups:
            agents = len(group.agents)
            width = self._widths[group.name] = trace_width(group) if group.name in policy else 0
            shape, dtype = action_shape(group, 1)
            rows[f"action/{group.name}"] = np.zeros(shape[1:], dtype)
            rows[f"reward/{group.name}"] = np.zeros(agents, np.float32)
            for name in ("acting", "terminated", "truncated"):
                rows[f"{name}/{group.name}"] = np.zeros(agents, np.bool_)
            rows[f"probabilities/{group.name}"] = np.zeros((agents, width), np.float16)
            rows[f"value/{group.name}"] = np.zeros(agents, np.float32)
        layout = {name: (row.dtype, row.shape) for name, row in rows.items()}
        clock = self._source.start.clock
        about = {
            **self._header,
            "environment": describe(self._spec),
            "spec_digest": self._spec.digest,
            "key": int(clock["key"]),
            "episode": int(clock["episode"]),
            "episode_seed": int(clock["seed"]),
            "machine": machine(),
        }
        start = {f"state/{name}": array for name, array in self._source.start.arrays.items()}
        start |= {f"clock/{name}": array for name, array in clock.items()}
        size = None if self._film is None else self._film.size
        writer = replay_file.Writer(self._path, about, start, layout, size, self._source.streamed)
        room = replay_file.MAX_READ_BYTES // max(1, sum(row.nbytes for row in rows.values()))
        self._most = min(room, replay_file.MAX_STEPS) // replay_file.CHUNK_STEPS * replay_file.CHUNK_STEPS
        if self._film is not None:
            self._film.take(writer, 0)
        return writer

    def _row(self, actions: Actions, buffers: StepBuffers, policy: Mapping[str, PolicyTrace]) -> Rows:
        row: Rows = {}
        for group, out in zip(self._spec.groups, buffers.groups, strict=True):
            row[f"action/{group.name}"] = np.array(actions[group.name][self._copy])
            for event in EVENTS:
                row[f"{event}/{group.name}"] = np.array(getattr(out, event)[self._copy])
            row |= _thought(group, self._widths[group.name], policy.get(group.name))
        return row

    def _flush(self, writer: replay_file.Writer) -> None:
        """Write the waiting steps as one chunk."""
        try:
            more = self._source.rows(self._waiting)
        except EnvironmentFailure:
            writer.discard()
            raise
        rows = [row | rest for row, rest in zip(self._waiting, more, strict=True)]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        for group in self._spec.groups:
            _make_thrifty(group, stacked)
        writer.add_steps(stacked)
        self._waiting.clear()


class _Again:
    """For environments of ours: the episode is played again in one copy, which costs a batch of thousands nothing."""

    def __init__(self, spec: EnvSpec, start: SimState) -> None:
        self.start = start
        self.streamed: int | None = None
        self.missing = ""
        self._spec = spec
        self._env: Any = None
        self._before: Frame | None = None

    def first(self) -> Rows:
        rows: Rows = {f"frame/{name}": array for name, array in self.start.arrays.items()}
        return {**rows, "digest": np.zeros((), np.uint64), "metrics": np.zeros(len(self._spec.metrics), np.float32)}

    def note(self, buffers: StepBuffers, writer: replay_file.Writer, step: int) -> None:
        """Nothing: all of it is found again."""

    def rows(self, steps: Sequence[Rows]) -> list[Rows]:
        if self._env is None:
            self._env = one_copy(self._spec, self.start)
            self._before = frame_of(self._env, 0)
            if state_digest(self._before.state) != state_digest(self.start):
                raise ValueError("the recorded start is not one that its key leads to")
        return [self._play(step) for step in steps]

    def _play(self, step: Rows) -> Rows:
        before = self._before
        assert before is not None
        self._env.step({group.name: step[f"action/{group.name}"][None] for group in self._spec.groups})
        after = self._before = frame_of(self._env, before.step + 1)
        for group, again in zip(self._spec.groups, after.groups, strict=True):
            for event in EVENTS:
                _check_same(before.step, group, event, step[f"{event}/{group.name}"], getattr(again, event))
        rows: Rows = {f"frame/{name}": array for name, array in after.state.arrays.items()}
        for group, then in zip(self._spec.groups, before.groups, strict=True):
            rows[f"acting/{group.name}"] = then.acting
        return {**rows, "digest": np.asarray(state_digest(after.state)), "metrics": after.metrics}

    def close(self) -> None:
        if self._env is not None:
            self._env.close()


def _check_same(step: int, group: AgentGroup, event: str, recorded: Array, again: Array) -> None:
    if recorded.tobytes() != again.tobytes():
        raise EnvironmentFailure(
            f"the recorded episode cannot be played again: at step {step} group {group.name!r} has {event} "
            f"{again.tolist()}, recorded was {recorded.tolist()}; nothing was written"
        )


class _Witness:
    """For somebody else's environment: what agents see is copied while it happens, for it may never happen again."""

    def __init__(self, env: VectorEnv, copy: int) -> None:
        start = env.capture(copy)
        self.start = SimState({}, start.clock, start.digest)
        self._spec, self._copy = env.spec, copy
        self._view = seen(env.spec, env.buffers, copy)
        size = row_bytes(env.spec.groups)
        self._small = size <= SMALL_BYTES
        self.missing = "" if size <= MAX_BLOCK_BYTES else f"{size} bytes before one step are too many"
        self.streamed = None if self._small or self.missing else size
        self._rows: list[Rows] = []
        self._bytes = 0

    def first(self) -> Rows:
        return {
            **self._kept(),
            "digest": np.zeros((), np.uint64),
            "metrics": np.zeros(len(self._spec.metrics), np.float32),
        }

    def note(self, buffers: StepBuffers, writer: replay_file.Writer, step: int) -> None:
        """Keep what was seen before the step."""
        kept = self._kept()
        if self.streamed is not None and not self.missing:
            self._stream(writer, step)
        self._view = seen(self._spec, buffers, self._copy)
        digest = digest_of(buffers, self._copy, self._view)
        self._rows.append({**kept, "digest": digest, "metrics": np.array(buffers.metrics[self._copy])})

    def _kept(self) -> Rows:
        """The rows of the present view that are per-step arrays."""
        return {name: row for name, row in self._view.items() if self._small or not _is_seen(name)}

    def _stream(self, writer: replay_file.Writer, step: int) -> None:
        if self._bytes > STREAM_BYTES:
            self.missing = f"from step {step} on: {STREAM_BYTES // 2**20} MiB of views are enough"
            return
        before = writer.bytes
        writer.add_views(step, row_of(self._spec.groups, self._view))
        self._bytes += writer.bytes - before

    def rows(self, steps: Sequence[Rows]) -> list[Rows]:
        rows, self._rows = self._rows[: len(steps)], self._rows[len(steps) :]
        return rows

    def close(self) -> None:
        """Nothing is held."""


def _is_seen(name: str) -> bool:
    return name.startswith(("obs/", "mask/"))


class _Film:
    """The pictures of a copy of somebody else's environment, as far as it makes some (`VectorEnv.pictures`)."""

    def __init__(self, env: Any, copy: int) -> None:
        self._env, self._copy = env, copy
        self.missing = ""
        """Why there is no picture, or no more of them; empty where all is well."""
        self.seconds = 0.0
        """Time that the environment took to draw."""
        self._first = self._next()
        self.size = None if self._first is None else self._first.shape[:2]
        self._bytes = 0

    def take(self, writer: replay_file.Writer, frame: int) -> None:
        """Write the picture after `frame` steps; the recording goes on without pictures where that is not possible."""
        if self.size is None or self.missing:
            return
        pixels = self._first if frame == 0 else self._next()
        if pixels is None or (frame > 0 and self._env.faulted[self._copy]):
            return
        if pixels.shape[:2] != self.size:
            self.missing = f"after step {frame}: the picture's size changed"
        elif self._bytes > STREAM_BYTES:
            self.missing = f"after step {frame}: {STREAM_BYTES // 2**20} MiB of pictures are enough"
        else:
            before = writer.bytes
            writer.add_picture(frame, pixels)
            self._bytes += writer.bytes - before

    def _next(self) -> Array | None:
        if not hasattr(self._env, "pictures"):
            self.missing = "none are made"
            return None
        found, missing, seconds = self._env.pictures(self._copy)
        self.seconds += seconds
        if not found:
            self.missing = missing or "none was made"
            return None
        return fitted(found[0])


def _thought(group: AgentGroup, width: int, trace: PolicyTrace | None) -> Rows:
    """One step's probabilities and values, NaN where there are none."""
    agents = len(group.agents)
    probabilities = np.full((agents, width), np.nan, np.float16)
    value = np.full(agents, np.nan, np.float32)
    if trace is not None and width:
        probabilities[:] = trace.probabilities
        value[:] = trace.value
    return {f"probabilities/{group.name}": probabilities, f"value/{group.name}": value}


def _make_thrifty(group: AgentGroup, rows: Rows) -> None:
    """Round what policies thought to as many bits as are kept."""
    probabilities, value = f"probabilities/{group.name}", f"value/{group.name}"
    if not isinstance(group.action_space, spaces.Box):
        rows[probabilities] = rounded(rows[probabilities], PROBABILITY_BITS)
    rows[value] = rounded(rows[value], VALUE_BITS)


def rounded(x: Array, bits: int) -> Array:
    """Floating-point numbers whose fraction has `bits` binary digits, the nearest ones; NaN and infinity stay."""
    kind, fraction = {2: (np.uint16, 10), 4: (np.uint32, 23)}[x.dtype.itemsize]
    drop = fraction - bits
    number = x.view(kind)
    nearest = (number + kind(1 << (drop - 1))) & kind(~((1 << drop) - 1) & (2 ** (8 * x.dtype.itemsize) - 1))
    result: Array = np.where(np.isfinite(x), nearest, number).view(x.dtype)
    return result
