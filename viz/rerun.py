"""A replay's episode played again in small pieces while it is watched: what agents saw, and any state exactly.

The simulator starts from the recorded key, never from arrays of a file, and takes the recorded actions; its complete
state is kept at every `KEPT`-th frame, so that every frame is a few steps away. A frame whose state is not the recorded
one (bit for bit or, on another machine, but for rounding) is not shown: nothing after it is the recorded episode.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from environments.errors import MarlError
from environments.replay import PolicyTrace, Replay, one_copy, state_digest
from environments.vector import SimState, VectorEnv
from viz.insight import Insight

if TYPE_CHECKING:
    from environments.native import NativeEnv

KEPT = 64
"""Steps between two kept states: playing that many takes a few milliseconds."""
ROUNDING = 1e-3
"""What two machines may differ by after `KEPT` steps, relative and absolute."""

Think = Callable[[VectorEnv], Mapping[str, PolicyTrace]]
"""What policies think of the view of an environment of one copy, by group; groups may be missing."""


class Rerun:
    """Plays one replay again. An `Insights`.

    The simulator is made, and `thinker` called for who thinks, in a thread of its own: both may compile or load for
    seconds, and the window goes on meanwhile.
    """

    def __init__(self, replay: Replay, thinker: Callable[[], Think | None] = lambda: None) -> None:
        self.note = ""
        self._replay = replay
        self._thinker = thinker
        self._think: Think | None = None
        self._env: NativeEnv | None = None
        self._kept: list[SimState] = []
        self._end = replay.steps
        """Last frame that can be told."""
        self._thread: threading.Thread | None = None
        self._told: tuple[int, Mapping[str, Insight]] | None = None

    def start(self) -> None:
        """Begin to make the simulator; done by the first `advance`."""
        if self._thread is None:
            self.note = "the simulator is being made"
            self._thread = threading.Thread(target=self._make)
            self._thread.start()

    def _make(self) -> None:
        try:
            env = one_copy(self._replay.spec, self._replay.initial)
        except MarlError as error:
            self.note = str(error)
            return
        try:
            self._think = self._thinker()
            self.note = ""
        except MarlError as error:
            self.note = str(error)
        self._env = env

    def wait(self) -> None:
        """Until the simulator is made, and the whole episode played."""
        self.start()
        assert self._thread is not None
        self._thread.join()
        while self._env is not None and not self._complete:
            self.advance(1.0)

    @property
    def _played(self) -> int:
        """Last frame up to which every kept state is here."""
        return KEPT * (len(self._kept) - 1) if self._kept else -1

    @property
    def _complete(self) -> bool:
        """True where every state that is to be kept is here."""
        return bool(self._kept) and self._played + KEPT > self._end

    def advance(self, seconds: float) -> bool:
        """Make the simulator, then play on, for about `seconds`; True where there is more to tell than before."""
        if self._env is None:
            before = self.note
            self.start()
            return before != self.note
        if self._complete:
            return False
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and not self._complete:
            if self._kept:
                self._go(self._played + KEPT)
            else:
                self._keep(0)
        return True

    def _keep(self, frame: int) -> None:
        """Keep the present state; where rounding has begun to tell, go on from the recorded arrays, nearly the same."""
        assert self._env is not None
        if not self._is_recorded(frame):
            self._end = max(0, frame - KEPT)
            self.note = f"played again here, the episode goes another way before step {frame}"
        elif state_digest(self._env.capture(0)) != self._replay.digests[frame]:
            self._env.restore(0, {name: array[frame] for name, array in self._replay.frames.items()})
        self._kept.append(self._env.capture(0))

    def _is_recorded(self, frame: int) -> bool:
        """True where the simulator is in the recorded state, bit for bit or, on another machine, but for rounding."""
        assert self._env is not None
        state = self._env.capture(0)
        if state_digest(state) == self._replay.digests[frame]:
            return True
        pairs = [(state.arrays[name], array[frame]) for name, array in self._replay.frames.items()]
        return all(
            np.allclose(own, theirs, ROUNDING, ROUNDING) if own.dtype.kind == "f" else np.array_equal(own, theirs)
            for own, theirs in pairs
        )

    def _go(self, frame: int) -> None:
        """Play up to a frame from the last kept state before it."""
        assert self._env is not None
        index = min(frame // KEPT, len(self._kept) - 1)
        self._env.restore(0, self._kept[index])
        for t in range(index * KEPT, frame):
            tracks = self._replay.groups.items()
            self._env.step({name: np.ascontiguousarray(track.action[t : t + 1]) for name, track in tracks})
        if frame == KEPT * len(self._kept):
            self._keep(frame)

    def _reach(self, frame: int) -> bool:
        """Bring the simulator to a frame; False where that is not possible (yet)."""
        if self._env is None or not self._kept or not 0 <= frame <= self._end:
            return False
        if frame > self._played + KEPT:
            return False
        self._go(frame)
        return self._is_recorded(frame)

    def state(self, frame: int) -> SimState | None:
        """The simulator's complete state before step `frame`; None where that is not known (yet)."""
        if not self._reach(frame):
            return None
        assert self._env is not None
        return self._env.capture(0)

    def at(self, frame: int) -> Mapping[str, Insight] | None:
        """What every group sees and thinks before step `frame`; None where that is not worked out (yet)."""
        if self._told is not None and self._told[0] == frame:
            return self._told[1]
        if not self._reach(frame):
            return None
        assert self._env is not None
        buffers = self._env.buffers
        thoughts = self._think(self._env) if self._think is not None and frame < self._replay.steps else {}
        told = {}
        for group, shown in zip(self._env.spec.groups, buffers.groups, strict=True):
            thought = thoughts.get(group.name)
            told[group.name] = Insight(
                features=group.features,
                obs=np.array(shown.obs[0]),
                action_mask=np.array(shown.action_mask[0]) if group.masked else None,
                probabilities=None if thought is None else thought.probabilities,
                value=None if thought is None else thought.value,
            )
        self._told = (frame, told)
        return told
