"""Robots that mean it: they walk to a requested shelf, bring it to a goal, put it down somewhere, and begin again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from environments.games.warehouse.layout import Layout
from environments.games.warehouse.robots import FORWARD, LIFT, REQUESTED, TURN_LEFT, TURN_RIGHT
from environments.vector import Array

Place = tuple[int, int]
CLOCKWISE = ((0, -1), (1, 0), (0, 1), (-1, 0))
QUARTERS = {0: 0, 3: 1, 1: 2, 2: 3}
"""Direction of the game -> place in CLOCKWISE."""


def actions(arrays: Mapping[str, Array], floor: Layout, chance: np.random.Generator, folly: float = 0.1) -> Array:
    """`[N]` int32 what each robot should do; at random with probability `folly`, so that nobody waits for ever."""
    chosen = [act(arrays, floor, i) for i in range(len(arrays["direction"]))]
    at_random = chance.random(len(chosen)) < folly
    return np.where(at_random, chance.integers(0, 5, len(chosen)), chosen).astype(np.int32)


def act(arrays: Mapping[str, Array], floor: Layout, i: int) -> int:
    """What robot i should do."""
    shelves = arrays["floor"]
    x, y = (int(c) for c in arrays["position"][i])
    wanted = np.zeros(shelves.shape, bool)
    passable = np.ones(shelves.shape, bool)
    if not arrays["carrying"][i]:
        wanted = shelves == REQUESTED
        for (there_x, there_y), carries in zip(arrays["position"], arrays["carrying"], strict=True):
            wanted[there_y, there_x] &= not carries
    else:
        passable = shelves == 0
        if shelves[y, x] == REQUESTED:
            for goal_x, goal_y in floor.goals:
                wanted[goal_y, goal_x] = True
        else:
            wanted = floor.highway == 0
    step = first_step((x, y), wanted, passable)
    if step is None:
        return 0
    if step == (0, 0):
        return LIFT
    turn = (CLOCKWISE.index(step) - QUARTERS[int(arrays["direction"][i])]) % 4
    return (FORWARD, TURN_RIGHT, TURN_RIGHT, TURN_LEFT)[turn]


def first_step(start: Place, wanted: Array, passable: Array) -> Place | None:
    """First move of a shortest way to a wanted place, (0, 0) where it is reached, None where there is no way."""
    if wanted[start[1], start[0]]:
        return 0, 0
    height, width = wanted.shape
    came: dict[Place, Place] = {start: (0, 0)}
    line = [start]
    for x, y in line:
        for dx, dy in CLOCKWISE:
            to = x + dx, y + dy
            inside = 0 <= to[0] < width and 0 <= to[1] < height
            if to in came or not inside or not passable[to[1], to[0]]:
                continue
            came[to] = (dx, dy) if (x, y) == start else came[x, y]
            if wanted[to[1], to[0]]:
                return came[to]
            line.append(to)
    return None
