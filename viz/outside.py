"""Somebody else's environment under way: pictures for the window and the recording, and episodes played again."""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.errors import EnvironmentFailure, RefusedFile, UsageError
from environments.replay import Replay
from environments.vector import Array, SimState, VectorEnv
from viz.moment import Film


class Filmed:
    """One copy whose pictures are handed to the recording, as they are made, and to the window."""

    def __init__(self, env: VectorEnv) -> None:
        self._env: Any = env
        self._picture: Array | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def pictures(self, copy: int) -> Any:
        """What the copy has drawn since the last call; the first of it is what there is to see now."""
        drawn = self._env.pictures(copy)
        if drawn.pictures:
            self._picture = drawn.pictures[0]
        return drawn

    @property
    def film(self) -> Film | None:
        """What is to be seen now, if anything is."""
        return None if self._picture is None else Film(self._picture.shape[:2], self._picture)


def at_start(replay: Replay) -> Filmed:
    """The environment of a replay at the start of the recorded episode.

    RefusedFile where it cannot be made, is another one here, or does not repeat itself.
    """
    from environments.external import named

    spec = replay.spec
    try:
        env = named.make(spec.name, options=dict(spec.options), filmed=1)
    except UsageError as error:
        raise RefusedFile(f"this replay's environment cannot be made: {error}") from error
    if not env.spec.can_capture:
        raise RefusedFile(f"{spec.name} does not repeat itself: its replays can be watched, not forked")
    if env.spec.digest != replay.initial.digest or env.spec.agents != spec.agents:
        raise RefusedFile(f"here {spec.name} is not the environment that was recorded: it can be watched, not forked")
    try:
        env.restore(0, SimState({}, replay.initial.clock, replay.initial.digest))
    except (EnvironmentFailure, ValueError) as error:
        raise RefusedFile(f"the recorded episode does not begin here: {error}") from error
    return Filmed(env)


def difference(env: VectorEnv, replay: Replay, step: int) -> str:
    """What differs between an environment after `step` steps and the recorded episode; empty where nothing does."""
    for group, now in zip(replay.spec.groups, env.buffers.groups, strict=True):
        track = replay.groups[group.name]
        compared = [("who acts", now.acting[0], track.acting[step] if step < replay.steps else None)]
        if step > 0:
            for event in ("reward", "terminated", "truncated"):
                compared.append((event, getattr(now, event)[0], getattr(track, event)[step - 1]))
        if group.name in replay.views and step < replay.steps:
            compared.append(("what is seen", now.obs[0], replay.views[group.name].obs[step]))
        for what, here, there in compared:
            if there is not None and not np.array_equal(here, there, equal_nan=here.dtype.kind == "f"):
                return f"{what} of group {group.name!r}"
    return ""
