"""What decides who sits where: a learner's own past in self-play, players of a population in a league."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from environments.vector import StepBuffers
from marl.seats import Seats

LEARNER = 0
"""Place of the learner among the players of its seats: what acts there is trained on."""


class Seating(Protocol):
    """Fills the seats of some kinds of team. Seats change hands only where an episode ends."""

    def seats(self, episode_seed: NDArray[np.uint64]) -> dict[str, Seats]:
        """The seats of all copies by kind of team, at the start of episodes of these seeds `[E]`."""
        ...

    def watch(self, seats: Mapping[str, Seats], out: StepBuffers, episode_seed: NDArray[np.uint64]) -> None:
        """After a step: note what came of the episodes that ended, and draw who plays those that begin.

        `episode_seed [E]` are those of the episodes that are now under way.
        """
        ...

    def restart(self, seats: Mapping[str, Seats], episode_seed: NDArray[np.uint64]) -> None:
        """All episodes were broken off, and others begin: draw who plays those."""
        ...

    def remember(self, updates: int, seats: Mapping[str, Seats]) -> None:
        """After that many updates of the learner: keep what is to be kept of it."""
        ...

    def summary(self) -> dict[str, float]:
        """How the learner did since the last call, by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next draws depend on."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        ...
