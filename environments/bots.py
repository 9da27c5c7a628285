"""Bots: players that somebody wrote, by name.

    bot = environments.bot("board/tictactoe/perfect")
    actions = bot(observations, masks, noise)

A bot is a function of what its agents see, with no memory: a row of its answer depends on the same row of its arguments
alone, so play does not depend on how games are batched. Chance enters by `noise`, one number in [0, 1) per row.

A name is `ENVIRONMENT/bot`, or `family/bot` for one that plays every environment of its family. The table is literal,
and nothing is imported until a bot is asked for; the functions stand in the families' `bots.py` and need numpy alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from environments.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BOTS: dict[str, str] = {
    "foraging/greedy-1f": "environments.games.foraging.bots:greedy_1f",
    "foraging/greedy-2f": "environments.games.foraging.bots:greedy_2f",
    "foraging/greedy-3f": "environments.games.foraging.bots:greedy_3f",
    "foraging/greedy-4f": "environments.games.foraging.bots:greedy_4f",
    "foraging/greedy-5f": "environments.games.foraging.bots:greedy_5f",
    "board/tictactoe/perfect": "environments.games.board.bots:perfect_tictactoe",
    "board/connect_four/depth-1": "environments.games.board.bots:depth_1",
    "board/connect_four/depth-2": "environments.games.board.bots:depth_2",
    "board/connect_four/depth-3": "environments.games.board.bots:depth_3",
    "board/connect_four/depth-4": "environments.games.board.bots:depth_4",
    "board/connect_four/depth-5": "environments.games.board.bots:depth_5",
    "board/connect_four/depth-6": "environments.games.board.bots:depth_6",
    "skirmish/nearest": "environments.games.skirmish.bots:nearest",
    "colorgrid/nearest": "environments.games.colorgrid.bots:nearest",
    "warehouse/fetch-tiny": "environments.games.warehouse.bots:fetch_tiny",
    "warehouse/fetch-small": "environments.games.warehouse.bots:fetch_small",
    "warehouse/fetch-medium": "environments.games.warehouse.bots:fetch_medium",
    "warehouse/fetch-large": "environments.games.warehouse.bots:fetch_large",
    "roshambo/rock": "environments.games.roshambo.bots:rock",
    "roshambo/paper": "environments.games.roshambo.bots:paper",
    "roshambo/scissors": "environments.games.roshambo.bots:scissors",
    "roshambo/random": "environments.games.roshambo.bots:random",
    "roshambo/rotate": "environments.games.roshambo.bots:rotate",
    "roshambo/copy-last": "environments.games.roshambo.bots:copy_last",
    "roshambo/beat-last": "environments.games.roshambo.bots:beat_last",
    "roshambo/switching": "environments.games.roshambo.bots:switching",
}
"""Name -> `module:function`."""


class Bot(Protocol):
    """What every bot's function is like."""

    def __call__(self, obs: NDArray[Any], mask: NDArray[np.bool_] | None, noise: NDArray[np.float32]) -> NDArray[Any]:
        """Actions of agents that see `obs`, one row each.

        Args:
            obs: `[B, *shape]` observations of agents that act.
            mask: `[B, K]` True where an action is legal; None where the environment has no masks.
            noise: `[B]` in [0, 1), the only source of chance.

        Returns int32 `[B]` for Discrete actions, `[B, choices]` for MultiDiscrete; float32 `[B, dims]` for a Box.
        UsageError where such observations are not what the bot reads.
        """
        ...


def bots() -> list[str]:
    """Names that `bot` knows, sorted."""
    return sorted(BOTS)


def bot(name: str) -> Bot:
    """The bot of that name. UsageError on an unknown one names the nearest."""
    if name not in BOTS:
        raise UsageError(f"unknown bot {name!r}{nearest(str(name), BOTS, 'marl list bots')}")
    module, function = BOTS[name].split(":")
    found: Bot = getattr(importlib.import_module(module), function)
    return found


def plays(name: str, environment: str) -> bool:
    """True where a bot's name says that it plays an environment: that one, or all of its family."""
    place = name.rpartition("/")[0]
    return environment == place or environment.startswith(f"{place}/")
