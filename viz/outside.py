"""Somebody else's environment under way: its pictures, for the window and for the recording."""

from __future__ import annotations

from typing import Any

from environments.replay import Replay
from environments.replay_outside import begun
from environments.vector import Array, VectorEnv
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
    """The environment of a replay at the start of the recorded episode, drawing itself. RefusedFile: see `begun`."""
    return Filmed(begun(replay, filmed=1))
