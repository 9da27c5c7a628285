"""Replays of somebody else's environment: what is recorded of a step, and the episode begun again from its seed.

Such an environment is code that a file can only name. It is made where it comes from a package that is known, or where
whoever reads the file vouches for it (`Replay.vouched`): a replay from anywhere must not choose what is run here.
"""

from __future__ import annotations

import hashlib

import numpy as np

from environments.errors import EnvironmentFailure, RefusedFile, UsageError
from environments.replay_again import Verdict
from environments.replay_data import Replay
from environments.replay_header import machine, machine_differences
from environments.spec import EnvSpec
from environments.vector import Array, SimState, StepBuffers, VectorEnv

EVENTS = ("reward", "terminated", "truncated")


def seen(spec: EnvSpec, buffers: StepBuffers, copy: int) -> dict[str, Array]:
    """Who acts in a copy and what they see, by the names that a replay's arrays have."""
    rows: dict[str, Array] = {}
    for group, out in zip(spec.groups, buffers.groups, strict=True):
        rows[f"acting/{group.name}"] = np.array(out.acting[copy])
        rows[f"obs/{group.name}"] = np.array(out.obs[copy])
        rows[f"mask/{group.name}"] = np.array(out.action_mask[copy])
    return rows


def digest_of(buffers: StepBuffers, copy: int, view: dict[str, Array]) -> Array:
    """64-bit hash of a step's events and of what is seen next; in the end of the events alone, as the next episode is
    seen then."""
    digest = hashlib.blake2b(digest_size=8)
    for out in buffers.groups:
        digest.update(b"".join(getattr(out, event)[copy].tobytes() for event in EVENTS))
    if not buffers.episode_over[copy]:
        digest.update(b"".join(row.tobytes() for row in view.values()))
    return np.asarray(int.from_bytes(digest.digest(), "little"), np.uint64)


def check_vouched(replay: Replay) -> None:
    """RefusedFile where a replay names code that nobody vouches for."""
    from environments.external.sources import may_be_made

    name = replay.spec.name
    if not may_be_made(name, replay.vouched):
        raise RefusedFile(
            f"this replay names code to run, {name}: if it is yours or you know it, say so with --environment {name}"
        )


def begun(replay: Replay, filmed: int = 0) -> VectorEnv:
    """The environment of a replay, one copy, at the start of the recorded episode.

    RefusedFile where nobody vouches for it, it cannot be made, is another one here, or does not repeat itself.
    """
    from environments.external import named

    check_vouched(replay)
    spec = replay.spec
    try:
        env = named.make(spec.name, options=dict(spec.options), filmed=filmed)
    except UsageError as error:
        raise RefusedFile(f"this replay's environment cannot be made: {error}") from error
    if not env.spec.can_capture:
        raise RefusedFile(f"{spec.name} does not repeat itself: its replays can be watched, not played again")
    if env.spec.digest != replay.initial.digest or env.spec.agents != spec.agents:
        raise RefusedFile(
            f"here {spec.name} is not the environment that was recorded: it can be watched, not played again"
        )
    try:
        env.restore(0, SimState({}, replay.initial.clock, replay.initial.digest))
    except (EnvironmentFailure, ValueError) as error:
        raise RefusedFile(f"the recorded episode does not begin here: {error}") from error
    return env


def difference(env: VectorEnv, replay: Replay, step: int) -> str:
    """What differs between an environment after `step` steps and the recorded episode; empty where nothing does."""
    whole = step == replay.steps and not (replay.damage or replay.left_open)
    if step > 0 and bool(env.buffers.episode_over[0]) != whole:
        return "the episode's end"
    seen_then = replay.seen(step)
    for group, now in zip(replay.spec.groups, env.buffers.groups, strict=True):
        track = replay.groups[group.name]
        compared = [("who acts", now.acting[0], track.acting[step] if step < replay.steps else None)]
        if step > 0:
            compared += [(event, getattr(now, event)[0], getattr(track, event)[step - 1]) for event in EVENTS]
        if group.name in seen_then:
            compared.append(("what is seen", now.obs[0], seen_then[group.name].obs))
        for what, here, there in compared:
            if there is not None and not np.array_equal(here, there, equal_nan=here.dtype.kind == "f"):
                return f"{what} of group {group.name!r}"
    if step > 0 and digest_of(env.buffers, 0, seen(replay.spec, env.buffers, 0)) != replay.digests[step]:
        return "what agents see (its digest)"
    if whole and not np.array_equal(env.buffers.outcome[0], replay.outcome, equal_nan=True):
        return "the outcome"
    return ""


def verify(replay: Replay) -> Verdict:
    """Give the recorded actions to the environment again and compare every step. RefusedFile as for `begun`."""
    changed = machine_differences(replay.header.get("machine"), machine())
    env = begun(replay)
    found, at = difference(env, replay, 0), 0
    while not found and at < replay.steps:
        env.step({name: np.ascontiguousarray(track.action[at : at + 1]) for name, track in replay.groups.items()})
        at += 1
        found = difference(env, replay, at)
    env.close()
    return Verdict(at, at - 1 if found else None, found, False, np.inf if found else 0.0, changed, "rewards and views")
