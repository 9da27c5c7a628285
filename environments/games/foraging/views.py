"""What a player of level-based foraging sees: a list of food and players, or layers of cells around it."""

from __future__ import annotations

import numpy as np

from environments.compile import kernel

F = np.float32
U = np.uint64
ZERO, ONE, NOTHING = F(0.0), F(1.0), F(-1.0)


@kernel
def write_food(row, column, state, f, top, left):
    """A piece of food as seen from a corner; returns the column after it."""
    row[column] = F(state.food_position[f, 0] - top)
    row[column + U(1)] = F(state.food_position[f, 1] - left)
    row[column + U(2)] = F(state.food_level[f])
    return column + U(3)


@kernel
def write_player(row, column, state, params, i, top, left):
    """A player as seen from a corner; returns the column after it."""
    row[column] = F(state.player_position[i, 0] - top)
    row[column + U(1)] = F(state.player_position[i, 1] - left)
    if not params.sees_levels:
        return column + U(2)
    row[column + U(2)] = F(state.player_level[i])
    return column + U(3)


@kernel
def observe_list(state, params, row, i):
    """Player i's list: the first table above."""
    sight = params.sight
    own_row, own_column = state.player_position[i, 0], state.player_position[i, 1]
    top, left = max(own_row - sight, 0), max(own_column - sight, 0)
    column = U(0)
    for f in range(state.food_level.shape[0]):
        down, right = state.food_position[f, 0] - own_row, state.food_position[f, 1] - own_column
        if state.food_level[f] > 0 and max(abs(down), abs(right)) <= sight:
            column = write_food(row, column, state, f, top, left)
    players = U(3 * state.food_level.shape[0])
    while column < players:
        row[column], row[column + U(1)], row[column + U(2)] = NOTHING, NOTHING, ZERO
        column += U(3)
    column = write_player(row, column, state, params, i, top, left)
    for j in range(state.player_level.shape[0]):
        down, right = state.player_position[j, 0] - top, state.player_position[j, 1] - left
        if j != i and min(down, right) >= 0 and max(down, right) <= 2 * sight:
            column = write_player(row, column, state, params, j, top, left)
    while column < U(row.shape[0]):
        row[column], row[column + U(1)] = NOTHING, NOTHING
        column += U(2)
        if params.sees_levels:
            row[column] = ZERO
            column += U(1)


@kernel
def observe_grid(state, params, row, i):
    """Player i's three layers."""
    sight = params.sight
    side = 2 * sight + 1
    cells = side * side
    top, left = state.player_position[i, 0] - sight, state.player_position[i, 1] - sight
    for k in range(2 * cells):
        row[U(k)] = ZERO
    place = U(2 * cells)
    for r in range(top, top + side):
        for c in range(left, left + side):
            row[place] = ONE if r >= 0 and r < params.rows and c >= 0 and c < params.columns else ZERO
            place += U(1)
    for j in range(state.player_level.shape[0]):
        down, right = state.player_position[j, 0] - top, state.player_position[j, 1] - left
        if min(down, right) >= 0 and max(down, right) < side:
            row[U(down * side + right)] = F(state.player_level[j]) if params.sees_levels else ONE
            row[U(2 * cells + down * side + right)] = ZERO
    for f in range(state.food_level.shape[0]):
        down, right = state.food_position[f, 0] - top, state.food_position[f, 1] - left
        if state.food_level[f] > 0 and min(down, right) >= 0 and max(down, right) < side:
            row[U(cells + down * side + right)] = F(state.food_level[f])
            row[U(2 * cells + down * side + right)] = ZERO
