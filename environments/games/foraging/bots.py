"""A greedy forager: all who see the same go to the same piece of food, the one that is nearest to them together.

It goes for food that the players it sees are strong enough to load together, waits beside it until enough of them are
there, and loads. Where it sees no such food, or others are in its way, it takes a step at random.

A list of food and players does not say where food ends and players begin, so there is a bot for each number of pieces.
Levels of players must be seen.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError

NONE, NORTH, LOAD = 0, 1, 5
ACTIONS = 6
STEPS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
"""North, south, west, east: actions 1 to 4."""
FAR = 10_000


def greedy(
    obs: NDArray[Any], mask: NDArray[np.bool_] | None, noise: NDArray[np.float32], food: int
) -> NDArray[np.int32]:
    """Goes to the nearest food that all who see the same can load together, waits for the others, and loads.

    `[B]` actions of players that see `[B, 3 * (food + players)]` lists; UsageError where these are none.
    """
    extra = obs.shape[-1] - 3 * food
    fits = obs.ndim == 2 and extra >= 3 and extra % 3 == 0
    if not fits or (obs.any(-1) & (obs[:, 3 * food + 2] < 1)).any():  # its own level is never 0
        raise UsageError(
            f"this bot reads lists of {food} pieces of food and of players, 3 numbers each; here are others"
        )
    things = np.asarray(obs, np.int64).reshape(len(obs), -1, 3)
    places, levels = things[..., :2], things[..., 2]
    seen = levels > 0
    mine, others = places[:, food], seen[:, food + 1 :]
    target = _target(places, levels, seen, food)
    off = np.take_along_axis(places, target[:, None, None], 1)[:, 0] - mine
    known = np.take_along_axis(_loadable(levels, food), target[:, None], 1)[:, 0]
    beside = known & (np.abs(off).sum(-1) == 1)
    strength = _strength_beside(places, levels, target, food)
    enough = strength >= np.take_along_axis(levels, target[:, None], 1)[:, 0]

    legal = np.ones((len(obs), ACTIONS), np.bool_) if mask is None else np.asarray(mask, np.bool_)
    there = mine[:, None] + STEPS
    taken = (places[:, None, food + 1 :] == there[:, :, None]).all(-1) & others[:, None]
    free = legal[:, NORTH:LOAD] & ~taken.any(-1)
    nearer = free & (np.abs(off[:, None] - STEPS).sum(-1) < np.abs(off).sum(-1)[:, None]) & known[:, None]
    walked = _draw(np.where(nearer.any(-1, keepdims=True), nearer, free), noise)
    return np.where(beside, np.where(enough, LOAD, NONE), walked).astype(np.int32)


def _loadable(levels: NDArray[np.int64], food: int) -> NDArray[np.bool_]:
    """`[B, food]`: pieces that all players in sight together can load."""
    together = levels[:, food:].sum(-1, keepdims=True)
    loadable: NDArray[np.bool_] = (levels[:, :food] > 0) & (levels[:, :food] <= together)
    return loadable


def _target(
    places: NDArray[np.int64], levels: NDArray[np.int64], seen: NDArray[np.bool_], food: int
) -> NDArray[np.int64]:
    """`[B]`: the loadable piece with the least steps of all players in sight together; of equals the first."""
    steps = np.abs(places[:, :food, None] - places[:, None, food:]).sum(-1)
    total = np.where(seen[:, None, food:], steps, 0).sum(-1)
    return np.where(_loadable(levels, food), total, FAR * steps.shape[-1]).argmin(-1)


def _strength_beside(
    places: NDArray[np.int64], levels: NDArray[np.int64], target: NDArray[np.int64], food: int
) -> NDArray[np.int64]:
    """`[B]`: levels of all players in sight that are beside the target, together."""
    place = np.take_along_axis(places, target[:, None, None], 1)
    beside = np.abs(places[:, food:] - place).sum(-1) == 1
    strength: NDArray[np.int64] = np.where(beside, levels[:, food:], 0).sum(-1)
    return strength


def _draw(steps: NDArray[np.bool_], noise: NDArray[np.float32]) -> NDArray[np.int64]:
    """`[B]`: one of the steps `[B, 4]` that are marked, as an action; none where there is none."""
    count = steps.sum(-1)
    number = np.minimum((noise * count).astype(np.int64), count - 1)
    chosen = (np.cumsum(steps, -1) > number[:, None]).argmax(-1)
    return np.where(count > 0, NORTH + chosen, NONE)


greedy_1f, greedy_2f, greedy_3f, greedy_4f, greedy_5f = (partial(greedy, food=food) for food in range(1, 6))
"""For 1 to 5 pieces of food."""
