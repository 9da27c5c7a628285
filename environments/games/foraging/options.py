"""What may be set in level-based foraging, and what cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from environments.errors import UsageError

LEAST_SIDE, MOST_SIDE = 3, 1000
MOST_PLAYERS, MOST_FOOD, MOST_LEVEL = 64, 64, 100
WIDEST_STRIP = 8


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set. Levels are one number for all, or one for each, dealt out anew in every episode."""

    rows: int = 8
    """Rows of the field; 3 to 1,000."""
    columns: int = 8
    """Columns of the field; 3 to 1,000."""
    players: int = 2
    """Players; 1 to 64."""
    food: int = 2
    """Pieces of food; 1 to as many as the field has room for, at most 64."""
    coop: bool = False
    """All food has the highest level that it may have, so that players must load together."""
    sight: int | None = None
    """Cells that a player sees in each direction, 1 to the longer side of the field; None: the whole field."""
    grid_observation: bool = False
    """Observe three layers of cells around oneself instead of a list of food and players."""
    observe_agent_levels: bool = True
    """Whether players see levels of players."""
    min_player_level: int | tuple[int, ...] = 1
    """Lowest level of a player; 1 to max_player_level."""
    max_player_level: int | tuple[int, ...] = 2
    """Highest level of a player; 1 to 100."""
    min_food_level: int | tuple[int, ...] = 1
    """Lowest level of a piece of food; 1 to max_food_level."""
    max_food_level: int | tuple[int, ...] | None = None
    """Highest level of a piece of food, 1 to 100; None: the sum of the levels of the three weakest players."""
    penalty: float = 0.0
    """What each player pays for loading in vain; 0 to 1,000."""
    normalize_reward: bool = True
    """Divide rewards by all that there is to load, so that a team earns 1 in all."""
    action_masks: bool = True
    """Tell which actions are legal."""
    max_cycles: int = 50
    """Steps of an episode, at most; 1 to 1,000,000."""
    timeout_terminates: bool = True
    """Call an end by max_cycles a termination, as lbforaging does; otherwise it is a truncation."""

    def __post_init__(self) -> None:
        check_count(self, "rows", LEAST_SIDE, MOST_SIDE)
        check_count(self, "columns", LEAST_SIDE, MOST_SIDE)
        check_count(self, "food", 1, most_food(self.rows, self.columns), f" on a field of {self.rows} x {self.columns}")
        room = min(MOST_PLAYERS, self.rows * self.columns - self.food)
        check_count(self, "players", 1, room, f" on a field of {self.rows} x {self.columns} with {self.food} food")
        if self.sight is not None:
            check_count(self, "sight", 1, max(self.rows, self.columns), " or None")
        check_count(self, "max_cycles", 1, 1_000_000)
        if not 0 <= self.penalty <= 1000:  # refuses NaN
            raise UsageError(f"penalty must be a number from 0 to 1000, not {self.penalty!r}")
        players = zip(*(levels(self, f"{end}_player_level", self.players) for end in ("min", "max")), strict=True)
        check_ordered("player", players)
        lowest = levels(self, "min_food_level", self.food)
        if self.max_food_level is not None:
            check_ordered("food", zip(lowest, levels(self, "max_food_level", self.food), strict=True))
        elif max(lowest) > (least := weakest(levels(self, "min_player_level", self.players))) and not self.coop:
            raise UsageError(
                f"min_food_level must be from 1 to {least} where max_food_level is None, for so little may the weakest "
                f"three players have together, not {self.min_food_level!r}"
            )


def levels(options: Options, name: str, count: int) -> list[int]:
    """An option's levels, one for each player or piece of food. UsageError where they are none."""
    value = getattr(options, name)
    listed = [value] * count if isinstance(value, int) else list(value) if isinstance(value, Sequence) else [value]
    if len(listed) != count:
        raise UsageError(f"{name} must be one number or a list of {count}, not {value!r}")
    for level in listed:
        if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= MOST_LEVEL:
            raise UsageError(f"{name} must be a whole number from 1 to {MOST_LEVEL}, or a list of such, not {value!r}")
    return listed


def weakest(player_levels: Sequence[int]) -> int:
    """Levels of the three weakest players together: what food is worth at most, unless options say otherwise."""
    return sum(sorted(player_levels)[:3])


def highest_food_level(options: Options) -> int:
    """The highest level that a piece of food can have."""
    if options.max_food_level is not None:
        return max(levels(options, "max_food_level", options.food))
    return weakest(levels(options, "max_player_level", options.players))


def check_ordered(what: str, pairs: Any) -> None:
    """UsageError where a lowest level is above its highest."""
    for low, high in pairs:
        if low > high:
            raise UsageError(f"min_{what}_level must be from 1 to {high}, its max_{what}_level, not {low}")


def check_count(options: Options, name: str, low: int, high: int, where: str = "") -> None:
    """UsageError unless the option is a whole number in [low, high]."""
    value = getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}{where}, not {value!r}")


@cache
def most_food(rows: int, columns: int) -> int:
    """Pieces of food that no field of that size can exceed; at most 64.

    Food lies off the border, any two pieces at least three steps (up, down, left, right) apart. Exact where the field
    is at most 10 cells wide or high; wider ones are cut into strips, whose sum no placing exceeds.
    """
    wide, high = sorted((rows - 2, columns - 2))
    if wide * high >= 5 * MOST_FOOD:  # every fifth cell, a knight's move from one to the next
        return MOST_FOOD
    strips = math.ceil(wide / WIDEST_STRIP)
    widths = [(wide + k) // strips for k in range(strips)]
    return min(MOST_FOOD, sum(_most_in_strip(width, high) for width in widths))


def _most_in_strip(wide: int, high: int) -> int:
    """The same for `wide * high` cells, row by row: what can follow depends on the last two rows alone."""
    rows = [row for row in range(1 << wide) if not row & (row << 1 | row << 2)]
    most = {(0, 0): 0}
    for _ in range(high):
        longer: dict[tuple[int, int], int] = {}
        for (last, before), count in most.items():
            taken = last | last << 1 | last >> 1 | before
            for row in rows:
                if not row & taken:
                    longer[row, last] = max(longer.get((row, last), 0), count + row.bit_count())
        most = longer
    return max(most.values())
