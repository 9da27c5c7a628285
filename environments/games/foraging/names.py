"""Names that say a field: `foraging/8x8-2p-2f`, `foraging/2s-10x10-3p-3f-coop`, as lbforaging builds its own.

    foraging/[grid-][2s-]8x8-2p-2f[-coop][-ind][-pen]

Rows x columns, players and food; `grid-` for grid observations, `2s-` for a sight of 2 cells, `-coop` where all must
load together, `-ind` where all food has level 1, `-pen` where loading in vain costs 0.1.
"""

from __future__ import annotations

import re
from typing import Any

from environments.errors import UsageError

GAME = "foraging/field"
NAME = re.compile(
    r"foraging/(?P<grid>grid-)?((?P<sight>\d+)s-)?(?P<rows>\d+)x(?P<columns>\d+)-(?P<players>\d+)p-(?P<food>\d+)f"
    r"(?P<coop>-coop)?(?P<ind>-ind)?(?P<pen>-pen)?"
)
SIZES = ("rows", "columns", "players", "food")


def meaning(name: str) -> tuple[str, dict[str, Any]]:
    """The game and the options that a name stands for; ranges are the game's to check. UsageError on any other name."""
    said = NAME.fullmatch(name)
    if said is None:
        raise UsageError(
            f"unknown environment {name!r}; foraging names are {GAME} and those like foraging/8x8-2p-2f, with grid- or "
            "2s- before the size and -coop, -ind or -pen behind"
        )
    options: dict[str, Any] = {size: int(said[size]) for size in SIZES}
    if said["sight"]:
        options["sight"] = int(said["sight"])
    if said["grid"]:
        options["grid_observation"] = True
    if said["coop"]:
        options["coop"] = True
    if said["ind"]:
        options["max_food_level"] = 1
    if said["pen"]:
        options["penalty"] = 0.1
    return GAME, options
