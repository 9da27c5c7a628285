"""Keys for an agent's actions, from what the actions are called: which key does what, and what a hand on them means.

Every game has names for its actions (`viz.drawings`); words like `left`, `north` or `stay` say which key is natural.
What has none gets a digit or a letter, and everything can be chosen from the list with tab and return, or clicked.

A game *flows* where an agent can do nothing (stay, wait, no push): time goes on, and keys that are held act. Elsewhere,
and in turn-based games, it *waits* for the person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import drawing_of

DIRECTIONS = {
    "up": ("up", "w"),
    "north": ("up", "w"),
    "down": ("down", "s"),
    "south": ("down", "s"),
    "left": ("left", "a"),
    "west": ("left", "a"),
    "right": ("right", "d"),
    "east": ("right", "d"),
}
AHEAD = {"forward": "up", "back": "down"}
"""Where these stand beside no up and down; beside them they are right and left."""
IDLE = frozenset({"stay", "none", "nothing", "stop", "wait", "rest", "noop", "no-op", "unused"})
WORD = "say "
DO_NOTHING = "."
MAIN = "space"
"""Key of the first action that is no move: load, lift, the first aim."""
SPARE = tuple("1234567890zxcvbnmfgtyjkluio")
PAIRS = ((("left", "a"), ("right", "d")), (("down", "s"), ("up", "w")), (("j",), ("l",)), (("k",), ("i",)))
"""Keys (less, more) of continuous dimensions that go both ways, in their order."""


class Slot(NamedTuple):
    """One choice among named actions."""

    names: tuple[str, ...]
    keys: Mapping[str, int]
    rest: int | None
    """What it is while no key is held; None where somebody has to choose."""
    sticky: bool
    """What was chosen last stays chosen."""


class Axis(NamedTuple):
    """One continuous dimension."""

    name: str
    low: float
    rest: float
    high: float
    less: tuple[str, ...]
    more: tuple[str, ...]


class Controls:
    """What keys mean for the agents of a group."""

    def __init__(self, spec: EnvSpec, group: AgentGroup, wait: bool = False) -> None:
        """`wait`: the game waits for the person in any case."""
        self.group = group
        self.slots: tuple[Slot, ...] = ()
        self.axes: tuple[Axis, ...] = ()
        self._composed: dict[tuple[int, ...], int] | None = None
        names = drawing_of(spec.name).actions(spec, group)
        if isinstance(group.action_space, spaces.Box):
            self.axes = _axes(group.action_space, names[0])
        else:
            parts = _composed(names[0]) if len(names) == 1 else None
            if parts is not None:
                self._composed = {tuple(map(list.index, parts, name.split(", "))): k for k, name in enumerate(names[0])}
            self.slots = _slots([tuple(part) for part in parts] if parts is not None else names)
        self.flows = not wait and not spec.turn_based and (bool(self.axes) or self.slots[0].rest is not None)

    def legend(self) -> list[tuple[str, str]]:
        """(keys, what they do), a row for every action or direction."""
        rows = [
            (" ".join(key for key, k in slot.keys.items() if k == action), name)
            for slot in self.slots
            for action, name in enumerate(slot.names)
        ]
        for axis in self.axes:
            rows += [(" ".join(axis.less), f"{axis.name} −")] if axis.less else []
            rows += [(" ".join(axis.more), f"{axis.name} +" if axis.less else axis.name)] if axis.more else []
        return rows

    def places(self) -> list[tuple[int, int]]:
        """(slot, action) of the discrete actions, as `legend` lists them."""
        return [(s, action) for s, slot in enumerate(self.slots) for action in range(len(slot.names))]

    def action(self, picks: Sequence[int]) -> Array:
        """The action of one pick per slot: int32 `[]` for Discrete, `[choices]` for MultiDiscrete."""
        if self._composed is not None:
            return np.asarray(self._composed[tuple(picks)], np.int32)
        shaped = isinstance(self.group.action_space, spaces.MultiDiscrete)
        return np.asarray(picks if shaped else picks[0], np.int32)

    def allowed(self, mask: Array | None) -> list[Array]:
        """For each slot `[K]` True where the action may be chosen now; `mask` as the environment gives it, or None."""
        free: list[Array] = [np.ones(len(slot.names), np.bool_) for slot in self.slots]
        if mask is None or not len(mask):
            return free
        if self._composed is not None:
            legal = np.zeros([len(slot.names) for slot in self.slots], np.bool_)
            for picks, action in self._composed.items():
                legal[picks] = mask[action]
            others = [tuple(s for s in range(len(self.slots)) if s != slot) for slot in range(len(self.slots))]
            return [np.asarray(legal.any(axis=axes)) for axes in others]
        ends = np.cumsum([len(slot.names) for slot in self.slots])[:-1]
        return np.split(np.asarray(mask, np.bool_), ends)

    def legal(self, action: Array, mask: Array | None) -> bool:
        """True where a whole discrete action may be taken now."""
        if mask is None or not len(mask):
            return True
        if isinstance(self.group.action_space, spaces.MultiDiscrete):
            parts = zip(self.allowed(mask), action, strict=True)
            return all(bool(flags[int(pick)]) for flags, pick in parts)
        return bool(mask[int(action)])


class Hand:
    """What a person's fingers say: keys that are held, keys pressed since the last decision, actions picked."""

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        self.note = ""
        """Why the last pick was not taken."""
        self._held: dict[str, None] = {}  # in the order in which they went down
        self._tapped: dict[str, None] = {}
        self._picks: list[int | None] = [None] * len(controls.slots)
        self._sure = False

    @property
    def picks(self) -> tuple[int | None, ...]:
        """What is chosen so far in each slot, or held."""
        return tuple(self._held_in(s) if pick is None else pick for s, pick in enumerate(self._picks))

    def press(self, key: str) -> bool:
        """A key goes down; True where it means something."""
        controls = self.controls
        for s, slot in enumerate(controls.slots):
            if key in slot.keys:
                self._held[key] = self._tapped[key] = None
                self.pick(s, slot.keys[key])
                return True
        if any(key in axis.less or key in axis.more for axis in controls.axes) or (controls.axes and key == DO_NOTHING):
            self._held[key] = self._tapped[key] = None
            self._sure = True
            return True
        return False

    def release(self, key: str) -> None:
        """A key goes up."""
        self._held.pop(key, None)

    def pick(self, slot: int, action: int) -> None:
        """An action chosen by other means than its key."""
        self._picks[slot], self.note = action, ""

    def decide(self, mask: Array | None) -> Array | None:
        """The action to take now; None where the person has yet to choose. A decision is made once."""
        if self.controls.axes:
            decided = self._point() if self.controls.flows or self._sure else None
        else:
            decided = self._choice(mask)
        if decided is not None:
            self._tapped.clear()
            self._sure = False
        return decided

    def _choice(self, mask: Array | None) -> Array | None:
        controls, picks = self.controls, list(self._picks)
        allowed = controls.allowed(mask)
        for s, (slot, pick) in enumerate(zip(controls.slots, picks, strict=True)):
            if pick is not None and not allowed[s][pick]:
                self.note = f"“{slot.names[pick]}” is not allowed now"
                self._picks[s] = picks[s] = None
            if picks[s] is None and (slot.sticky or controls.flows):
                wanted = next((k for k in (self._held_in(s), slot.rest) if k is not None and allowed[s][k]), None)
                picks[s] = int(np.argmax(allowed[s])) if wanted is None else wanted
        if any(pick is None for pick in picks):
            return None
        chosen = controls.action([pick for pick in picks if pick is not None])
        if not controls.legal(chosen, mask):
            self.note, self._picks = "this combination is not allowed now", [None] * len(picks)
            return None
        self._picks = [pick if slot.sticky else None for slot, pick in zip(controls.slots, picks, strict=True)]
        return chosen

    def _held_in(self, slot: int) -> int | None:
        """The action whose key is held, the last that went down; None where none is or where one press is one move."""
        keys = self.controls.slots[slot].keys
        held = [keys[key] for key in self._held if key in keys]
        return held[-1] if held and self.controls.flows else None

    def _point(self) -> Array:
        down = {**self._tapped, **self._held}
        values = []
        for axis in self.controls.axes:
            more, less = any(key in down for key in axis.more), any(key in down for key in axis.less)
            values.append(axis.rest if more == less else axis.high if more else axis.low)
        return np.asarray(values, np.float32)


def _composed(names: tuple[str, ...]) -> list[list[str]] | None:
    """The parts of actions called `left, say B`: for each place between the commas its different names; else None."""
    rows = [name.split(", ") for name in names]
    if len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return None
    parts = [list(dict.fromkeys(row[place] for row in rows)) for place in range(len(rows[0]))]
    whole = int(np.prod([len(part) for part in parts])) == len(names) == len(set(names))
    return parts if whole else None


def _slots(choices: Sequence[tuple[str, ...]]) -> tuple[Slot, ...]:
    taken: set[str] = set()
    slots = []
    for place, names in enumerate(choices):
        words = all(name.startswith(WORD) for name in names)
        rest = next((k for k, name in enumerate(names) if name in IDLE), 0 if words or place > 0 else None)
        keys = _keys(names, taken)
        taken |= keys.keys()
        slots.append(Slot(names, keys, rest, words or (place > 0 and names[rest or 0] not in IDLE)))
    return tuple(slots)


def _keys(names: tuple[str, ...], taken: set[str]) -> dict[str, int]:
    """A key for every name, as far as there are any."""
    keys: dict[str, int] = {}
    left = []
    for action, name in enumerate(names):
        wanted = () if name in IDLE else _natural(name, names)
        free = [key for key in wanted if key not in taken and key not in keys]
        keys |= dict.fromkeys(free, action)
        if name in IDLE and DO_NOTHING not in taken | keys.keys():
            keys[DO_NOTHING] = action
        elif not free:
            left.append(action)
    if keys and left and MAIN not in taken and len(left) < len(names) - 1:
        keys[MAIN] = left[0]
    for action in left:
        own = names[action].rpartition(" ")[2]
        wanted = (own, *SPARE) if own.isdigit() and len(own) == 1 else SPARE
        key = next((key for key in wanted if key not in taken and key not in keys), None)
        if key is not None:
            keys[key] = action
    return keys


def _natural(name: str, among: tuple[str, ...]) -> tuple[str, ...]:
    if name in AHEAD:
        upright = not {"up", "down"} & set(among)
        name = AHEAD[name] if upright else {"forward": "right", "back": "left"}[name]
    return DIRECTIONS.get(name, ())


def _axes(space: spaces.Box, names: Sequence[str]) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    pairs, spare = iter(PAIRS), iter(SPARE)
    for name, low, high in zip(names, space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True):
        low, high = max(low, -1.0) if low < -1e6 else low, min(high, 1.0) if high > 1e6 else high
        rest = min(max(0.0, low), high)
        less: tuple[str, ...] = ()
        more: tuple[str, ...] = ()
        if low < rest < high:
            less, more = next(pairs, ((), ()))
        elif name not in IDLE:
            more = DIRECTIONS.get(name) or tuple(key for key in (next(spare, None),) if key is not None)
        if rest == high:
            less, more = more, less
        axes.append(Axis(name, low, rest, high, less, more))
    return tuple(axes)
