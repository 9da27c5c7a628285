"""Names that say a game's options, as rware 2.0.0 names its environments: `warehouse/tiny-4ag-hard` and the like."""

from __future__ import annotations

import re
from typing import Any

from environments.errors import UsageError

GAME = "warehouse/robots"
SIZES = {"tiny": (1, 3), "small": (2, 3), "medium": (2, 5), "large": (3, 5)}
"""Rows and columns of blocks of shelves."""
REQUESTS = {"-easy": 2.0, "": 1.0, "-hard": 0.5}
"""Shelves asked for at a time, per robot."""
REWARDS = {"indiv": "individual", "global": "global", "twostage": "two_stage"}
BY_SIZE = re.compile(r"warehouse/(?:(\d{1,4})s-)?(tiny|small|medium|large)(?:-(\d{1,4})h)?-(\d{1,4})ag(-easy|-hard|)")
IN_FULL = re.compile(
    r"warehouse/(?:(\d{1,4})s-)?(\d{1,4})x(\d{1,4})-(\d{1,4})h-(\d{1,4})ag-(\d{1,4})req-(indiv|global|twostage)"
)


def read(name: str) -> tuple[str, dict[str, Any]]:
    """The game that such a name stands for and the options that it sets. UsageError where it means nothing."""
    if found := BY_SIZE.fullmatch(name):
        sight, size, height, robots, difficulty = found.groups()
        rows, columns = map(str, SIZES[size])
        requests = int(int(robots) * REQUESTS[difficulty])
        reward = "individual"
    elif found := IN_FULL.fullmatch(name):
        sight, *numbers, asked, reward_name = found.groups()
        rows, columns, height, robots = numbers
        requests, reward = int(asked), REWARDS[reward_name]
    else:
        raise UsageError(
            f"unknown environment {name!r}; known: {GAME}, warehouse/SIZE-Nag, SIZE-Nag-easy and SIZE-Nag-hard with N "
            f"robots and SIZE one of {', '.join(SIZES)}, and ROWSxCOLUMNS-Hh-Nag-Nreq-REWARD with REWARD one of "
            f"{', '.join(REWARDS)}"
        )
    return GAME, {
        "shelf_columns": int(columns),
        "column_height": int(height or 8),
        "shelf_rows": int(rows),
        "n_agents": int(robots),
        "request_queue_size": requests,
        "sensor_range": int(sight or 1),
        "reward_type": reward,
    }
