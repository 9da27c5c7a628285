"""Starts of level-based foraging: who and what is where, drawn as lbforaging draws its first episode."""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.games.foraging.options import MOST_LEVEL
from environments.rng import integer

U = np.uint64
DRAWS = 1000  # places tried for all food together


@kernel
def deal(order, clock):
    """0, 1, 2, ... in random order: whose level is drawn from which range."""
    for i in range(order.shape[0]):
        order[i] = i
    for left in range(order.shape[0], 1, -1):
        last, k = U(left - 1), U(integer(clock, left))
        order[last], order[k] = order[k], order[last]


@kernel
def weakest_three(player_level):
    """Levels of the three weakest players together."""
    a = b = c = MOST_LEVEL + 1
    for i in range(player_level.shape[0]):
        level = player_level[i]
        if level < a:
            a, b, c = level, a, b
        elif level < b:
            b, c = level, b
        elif level < c:
            c = level
    total = a
    if player_level.shape[0] > 1:
        total += b
    if player_level.shape[0] > 2:
        total += c
    return total


@kernel
def nobody_at(state, count, row, column):
    """True where none of the first `count` players is."""
    for i in range(count):  # noqa: SIM110 - kernels know no generators
        if state.player_position[i, 0] == row and state.player_position[i, 1] == column:
            return False
    return True


@kernel
def no_food_near(state, count, row, column):
    """True where each of the first `count` pieces of food is three steps away or more."""
    for f in range(count):
        if abs(state.food_position[f, 0] - row) + abs(state.food_position[f, 1] - column) < 3:
            return False
    return True


@kernel
def place_players(state, params, clock):
    """Players anywhere, no two in one cell."""
    deal(state.player_level, clock)
    for i in range(state.player_level.shape[0]):
        row, column = integer(clock, params.rows), integer(clock, params.columns)
        while not nobody_at(state, i, row, column):
            row, column = integer(clock, params.rows), integer(clock, params.columns)
        state.player_position[i, 0] = row
        state.player_position[i, 1] = column
        k = U(state.player_level[i])
        state.player_level[i] = params.player_low[k] + integer(clock, params.player_high[k] - params.player_low[k] + 1)
        state.action[i] = 0


@kernel
def place_food(state, params, clock):
    """Food off the border, where nobody is, as long as places are found that are far enough from one another."""
    highest = weakest_three(state.player_level)
    deal(state.food_level, clock)
    placed = U(0)
    for _ in range(DRAWS):
        if placed == state.food_level.shape[0]:
            break
        row, column = 1 + integer(clock, params.rows - 2), 1 + integer(clock, params.columns - 2)
        if not no_food_near(state, placed, row, column):
            continue
        if not nobody_at(state, state.player_level.shape[0], row, column):
            continue
        state.food_position[placed, 0] = row
        state.food_position[placed, 1] = column
        k = U(state.food_level[placed])
        high = highest if params.weakest_counts else params.food_high[k]
        low = high if params.coop else params.food_low[k]
        state.food_level[placed] = low + integer(clock, high - low + 1)
        placed += U(1)
    for missing in range(placed, U(state.food_level.shape[0])):
        state.food_position[missing, 0] = 0
        state.food_position[missing, 1] = 0
        state.food_level[missing] = 0
    return placed


@kernel
def sort_food(state, placed):
    """The first `placed` pieces in the order of rows, then columns: as lists of food are read."""
    position, level = state.food_position, state.food_level
    for newest in range(U(1), placed):
        f = U(newest)
        while f > 0:
            g = f - U(1)
            up = position[g, 0] - position[f, 0]
            if up < 0 or (up == 0 and position[g, 1] < position[f, 1]):
                break
            position[g, 0], position[f, 0] = position[f, 0], position[g, 0]
            position[g, 1], position[f, 1] = position[f, 1], position[g, 1]
            level[g], level[f] = level[f], level[g]
            f = g


@kernel
def reset_one(state, params, clock):
    """Players, then food."""
    place_players(state, params, clock)
    sort_food(state, place_food(state, params, clock))
    total = 0
    for f in range(state.food_level.shape[0]):
        total += state.food_level[f]
    state.food_spawned = total
