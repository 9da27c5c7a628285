"""Recording an episode of one copy of a batch. See `environments.replay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from environments.errors import EnvironmentFailure, UsageError
from environments.replay_again import play
from environments.replay_data import GroupTrack, PolicyTrace, Replay, state_digest, trace_width
from environments.replay_header import describe, machine
from environments.spec import AgentGroup
from environments.vector import Actions, Array, StepBuffers, VectorEnv

OWN_HEADER = frozenset({"environment", "spec_digest", "key", "episode", "episode_seed", "machine", "outcome"})


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
