"""OpenSpiel's roshambo bots as players of `roshambo/repeated`: `pyspiel:NAME`, each in a process of its own.

The bots keep the whole match in mind; what they need of it, the last throw, is what every agent there sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError
from environments.games.roshambo import openspiel

PREFIX = "pyspiel:"


class RoshamboBot:
    """One of the 43, as a class with `reset` and `act`. UsageError where there is no such bot, or no OpenSpiel."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._match = openspiel.Match(name)

    def reset(self, seed: int) -> None:
        """A match begins."""
        self._match = openspiel.Match(self._name, seed=seed)

    def act(self, obs: NDArray[np.float32], mask: Any = None) -> int:
        """What to throw; `obs` begins with the last throws, own and other's, one-hot. UsageError in other games."""
        if len(obs) % 6:
            raise UsageError(f"{PREFIX}{self._name} plays roshambo, where six numbers tell of a throw, not {len(obs)}")
        own, other = obs[:3], obs[3:6]
        if own.any():
            self._match.tell(int(own.argmax()), int(other.argmax()))
        return self._match.throw()
