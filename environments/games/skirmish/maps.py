"""Names that say a battle, as the StarCraft challenges build theirs: sides by letters, or units drawn by lot.

    skirmish/3m    skirmish/2s3z    skirmish/5m_vs_6m    skirmish/3s5z_vs_3s6z    skirmish/MMM    skirmish/MMM2
    skirmish/random-5v5    skirmish/terran-10v11    skirmish/zerg-27v27

Letters: m marine, s stalker, z zealot, c colossus, h hydralisk, g zergling; one side's letters stand for both sides.
After `protoss`, `terran` or `zerg` come the numbers of units, which are drawn from the urn of that name in every
episode, on `scattered` starts; after `random` likewise from the urn that is the game's default.
"""

from __future__ import annotations

import re
from typing import Any

from environments.errors import UsageError
from environments.games.skirmish.units import RANDOM

GAME = "skirmish/battle"
LETTERS = {"m": "marine", "s": "stalker", "z": "zealot", "c": "colossus", "h": "hydralisk", "g": "zergling"}
MARINES_AND_MORE = {
    "MMM": ("1 medivac, 2 marauder, 7 marine", "1 medivac, 2 marauder, 7 marine"),
    "MMM2": ("1 medivac, 2 marauder, 7 marine", "1 medivac, 3 marauder, 8 marine"),
}
URNS = {
    "protoss": "9 stalker, 9 zealot, 2 colossus",
    "terran": "9 marine, 9 marauder, 2 medivac",
    "zerg": "1 zergling, 1 hydralisk",
}
SIDE = rf"(?:\d+[{''.join(LETTERS)}])+"
SIDES = re.compile(rf"({SIDE})(?:_vs_({SIDE}))?")
DRAWN = re.compile(rf"({'|'.join([RANDOM, *URNS])})-(\d+)v(\d+)")


def meaning(name: str) -> tuple[str, dict[str, Any]]:
    """The game and the options that a name stands for; ranges are the game's to check. UsageError on any other name."""
    title = name.partition("/")[2]
    if title in MARINES_AND_MORE:
        allies, enemies = MARINES_AND_MORE[title]
        return GAME, {"allies": allies, "enemies": enemies}
    if said := SIDES.fullmatch(title):
        return GAME, {"allies": _spelt(said[1]), "enemies": _spelt(said[2] or said[1])}
    if said := DRAWN.fullmatch(title):
        sides = {"allies": f"{int(said[2])} random", "enemies": f"{int(said[3])} random", "start": "scattered"}
        return GAME, sides | ({} if said[1] == RANDOM else {"urn": URNS[said[1]]})
    raise UsageError(
        f"unknown environment {name!r}; skirmish names are {GAME} and those like skirmish/3m, skirmish/5m_vs_6m "
        f"(letters {', '.join(f'{letter} {unit}' for letter, unit in LETTERS.items())}), skirmish/MMM, "
        f"skirmish/random-5v5 (or {', '.join(URNS)})"
    )


def _spelt(side: str) -> str:
    """`2s3z` -> `2 stalker, 3 zealot`."""
    return ", ".join(f"{count} {LETTERS[letter]}" for count, letter in re.findall(r"(\d+)(\D)", side))
