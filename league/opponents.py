"""Players of one kind of team at hand for the seats: the learner, and others that are loaded when they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from league.turns import FROZEN, Key
from marl.acting import Actor


class Opponents:
    """Slots of players. The one used longest ago gives up its slot to a new one, unless it is being played."""

    def __init__(self, learner: Actor | None, load: Callable[[Key], Actor], most: int) -> None:
        """`learner`, if it plays this kind, has the first slot for good; `most` are kept besides it."""
        self.players: list[Actor] = [] if learner is None else [learner]
        self.keys: list[Key | None] = [None] * len(self.players)
        self._own = len(self.players)
        self._load = load
        self._most = most
        self._used: list[int] = []
        """Slots, the one used last at the end."""

    def slot(self, key: Key, played: Collection[int]) -> int:
        """Where that player is, loaded if need be; `played` are slots that may not be given up."""
        if key in self.keys:
            slot = self.keys.index(key)
            self._used.remove(slot)
        else:
            slot = self._free(played)
            player = self._load(key)
            if slot == len(self.players):
                self.players.append(player)
                self.keys.append(key)
            else:
                self.players[slot], self.keys[slot] = player, key
        self._used.append(slot)
        return slot

    def seat_again(self, keys: Sequence[Key | None]) -> None:
        """Take slots as they were written down."""
        del self.players[self._own :]
        self.players += [self._load(key) for key in keys[self._own :] if key is not None]
        self.keys = list(keys)
        self._used = list(range(self._own, len(self.players)))

    def _free(self, played: Collection[int]) -> int:
        """A slot for a new player: that of a learner's state that has passed, else a new one while there is room."""
        idle = [slot for slot in self._used if slot not in played]
        passed = [slot for slot in idle if (key := self.keys[slot]) is not None and key[1] != FROZEN]
        if passed:
            idle = passed
        elif len(self._used) < self._most:
            idle = []
        if not idle:  # also where more are being played than are to be kept
            return len(self.players)
        self._used.remove(idle[0])
        return idle[0]
