"""Names that say a size: `board/hex-7` is `board/hex` with `size=7`."""

from __future__ import annotations

import re

from environments.errors import UsageError, nearest

KNOWN = ("board/tictactoe", "board/connect_four", "board/hex", "board/hex-5")


def read(name: str) -> tuple[str, dict[str, int]]:
    """The game and the options that a name of this family stands for. UsageError where it means nothing."""
    found = re.fullmatch(r"board/hex-([0-9]{1,3})", name)
    if found is None:
        raise UsageError(f"unknown environment {name!r}{nearest(name, KNOWN)}")
    return "board/hex", {"size": int(found[1])}
