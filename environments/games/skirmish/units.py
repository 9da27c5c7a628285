"""Types of units, in one literal table, and how sides are written: `2 stalker, 3 zealot`.

Lengths are in units of the plane (a marine is three quarters of one wide), times in steps of 0.4 seconds. Imports
neither numpy nor numba: drawings read the table too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from environments.errors import UsageError, nearest


@dataclass(frozen=True)
class Unit:
    """One type of unit."""

    health: float
    """Points at the start; at 0 the unit falls."""
    shield: float
    """Points that are lost before health is."""
    damage: float
    """Points that one strike takes; 0 for who heals."""
    cooldown: int
    """Steps from one strike to the next."""
    range: float
    """Greatest gap between two rims over which a unit strikes or heals."""
    sight: float
    """Greatest distance between two centres at which a unit sees."""
    speed: float
    """Length of a move, per step."""
    radius: float
    heal: float = 0.0
    """Points of health that one act gives back to a unit of the own side; such units cannot strike."""
    splash: float = 0.0
    """Strikes also hit who stands within this distance of the target's centre, on the target's side."""


UNITS = {
    "marine": Unit(health=45, shield=0, damage=6, cooldown=2, range=5, sight=9, speed=1.25, radius=0.375),
    "marauder": Unit(health=125, shield=0, damage=12, cooldown=3, range=6, sight=9, speed=1.25, radius=0.5),
    "medivac": Unit(health=150, shield=0, damage=0, cooldown=1, range=4, sight=9, speed=1.4, radius=0.5, heal=4),
    "stalker": Unit(health=80, shield=80, damage=14, cooldown=4, range=6, sight=9, speed=1.65, radius=0.5),
    "zealot": Unit(health=100, shield=50, damage=16, cooldown=2, range=0.5, sight=9, speed=1.5, radius=0.45),
    "colossus": Unit(
        health=200, shield=150, damage=16, cooldown=3, range=7, sight=10, speed=1.25, radius=0.5, splash=1.5
    ),
    "zergling": Unit(health=35, shield=0, damage=5, cooldown=1, range=0.5, sight=9, speed=1.65, radius=0.3),
    "hydralisk": Unit(health=90, shield=0, damage=12, cooldown=2, range=5, sight=9, speed=1.25, radius=0.45),
}
RANDOM = "random"
"""In a side, a unit whose type is drawn anew in every episode."""
MOST = 64
"""Most units of one side."""


def parse(name: str, text: str, random: bool) -> tuple[str, ...]:
    """The type of each unit that `text` names, in order; `random` says whether RANDOM is one.

    UsageError, led by the option's `name`, on an unknown type, a bad count or more than MOST units.
    """
    types: list[str] = []
    known = [*UNITS, *([RANDOM] if random else [])]
    for part in text.split(","):
        count, _, kind = part.strip().partition(" ")
        kind = kind.strip()
        if not count.isdecimal() or not kind:
            raise UsageError(f"{name} must be counts and types, as in '2 stalker, 3 zealot', not {text!r}")
        if kind not in known:
            raise UsageError(f"{name} has no unit {kind!r}{nearest(kind, known)}")
        if not 1 <= int(count) <= MOST:
            raise UsageError(f"{name} must have 1 to {MOST} of each unit, not {int(count)} {kind}")
        types += [kind] * int(count)
    if len(types) > MOST:
        raise UsageError(f"{name} must have 1 to {MOST} units, not {len(types)}")
    return tuple(types)


@dataclass(frozen=True)
class Roster:
    """Both sides and the urn, read from options."""

    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    urn: tuple[str, ...]
    """One name per ball; empty where nothing is drawn."""

    @staticmethod
    def of(options: Mapping[str, Any]) -> Roster:
        """What options say. UsageError where they cannot be read, or where a side could have nobody who strikes."""
        allies, enemies = (parse(side, options[side], random=True) for side in ("allies", "enemies"))
        urn = parse("urn", options["urn"], random=False)
        if RANDOM not in allies + enemies:
            urn = ()
        elif not fighters(urn):
            raise UsageError(f"urn must hold a unit that strikes, not only {options['urn']!r}")
        for side, types in (("allies", allies), ("enemies", enemies)):
            if not fighters(types):
                raise UsageError(f"{side} must have a unit that strikes, not only {options[side]!r}")
        return Roster(allies, enemies, urn)

    @property
    def types(self) -> tuple[str, ...]:
        """The types that can occur, in the table's order: a unit's `kind` is a place in it."""
        present = {*self.allies, *self.enemies, *self.urn}
        return tuple(kind for kind in UNITS if kind in present)

    @property
    def shielded(self) -> bool:
        """True where somebody may have a shield."""
        return any(UNITS[kind].shield for kind in self.types)

    @property
    def places(self) -> int:
        """Units of the larger side: what observations and actions have places for."""
        return max(len(self.allies), len(self.enemies))

    @property
    def features(self) -> int:
        """Columns by which one unit is seen: three of place, cooldown or distance, health, then shield and type."""
        return 4 + self.shielded + (len(self.types) if len(self.types) > 1 else 0)


def fighters(types: Sequence[str]) -> list[str]:
    """Those that strike; who is yet to be drawn may be one."""
    return [kind for kind in types if kind == RANDOM or not UNITS[kind].heal]
