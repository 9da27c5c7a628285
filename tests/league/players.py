"""Players in Python, good and bad, as people would write them."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np


class FirstLegal:
    """Takes the first action that is allowed, and talks while it does."""

    def act(self, obs: Any, mask: Any = None, state: Any = None) -> int:
        print("thinking aloud")
        return int(np.argmax(mask))


class LastLegal:
    def act(self, obs: Any, mask: Any = None) -> int:
        return int(np.flatnonzero(mask)[-1])


class SeededRandom:
    """Plays at random, the same game for the same seed."""

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def act(self, obs: Any, mask: Any = None, state: Any = None) -> Any:
        return self.rng.choice(np.flatnonzero(mask))


class Illegal:
    """Always wants the same cell."""

    def act(self, obs: Any, mask: Any = None) -> int:
        return 4


class WrongShape:
    def act(self, obs: Any, mask: Any = None) -> list[int]:
        return [1, 2]


class WrongType:
    def act(self, obs: Any, mask: Any = None) -> str:
        return "the middle, please"


class Raises:
    def act(self, obs: Any) -> int:
        raise ValueError("I never learnt to play")


class Dies:
    def act(self, obs: Any, mask: Any = None) -> int:
        sys.stderr.write("goodbye\n")
        sys.stderr.flush()
        os._exit(3)


class Sleeps:
    def act(self, obs: Any, mask: Any = None) -> int:
        time.sleep(3600)
        return 0


class FallsAsleep:
    """Answers once, so that its process is known to have started."""

    def __init__(self) -> None:
        self.asked = 0

    def act(self, obs: Any, mask: Any = None) -> int:
        self.asked += 1
        time.sleep(3600 * (self.asked > 1))
        return int(np.argmax(mask))


class HalfAPair:
    """Answers with what is JSON and no text."""

    def act(self, obs: Any, mask: Any = None) -> str:
        return "\ud800"


class Floods:
    """Says without end what nobody wants to keep."""

    def act(self, obs: Any, mask: Any = None) -> int:
        while True:
            sys.stderr.write("blah " * 2**12)
            sys.stderr.flush()


class Spins:
    def act(self, obs: Any, mask: Any = None) -> int:
        while True:
            pass


class Hungry:
    def act(self, obs: Any, mask: Any = None) -> int:
        self.eaten = [bytes(2**27) for _ in range(1000)]
        return 0


class Dawdles:
    """In time for every move, but not for all of them."""

    def act(self, obs: Any, mask: Any = None) -> int:
        time.sleep(0.25)
        return int(np.argmax(mask))


class Speechless:
    pass
