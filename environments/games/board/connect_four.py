"""Connect Four: stones are dropped into columns, four in a line win (`board/connect_four`).

Purpose        a game deep enough that search pays and small enough to be played by the million.
Agents         player_0, player_1, one group `player`; they take turns.
Teams          one kind, `player`, with two teams of one agent: one learner plays both sides.
Actions        Discrete(7): the column; the stone falls to its lowest empty cell. Full columns are illegal (masked); who
               chooses one, or a column that does not exist, loses at once.
Rewards        with the last move 1 to the winner and -1 to the loser, 0 to both at a draw.
Ends           terminated for both at four in a row, column or diagonal, at a full board, or at an illegal move.
Options        random_start, random_opening; see `Options`.
Source         Wexler and Strongin 1974; the same game as PettingZoo's connect_four_v3 (there an illegal move pays the
               other 0). Who moves first wins if both play perfectly (Allis 1988).
Version        1

Observation, uint8, of the one whose turn it is (zeros otherwise), 6 rows of 7 cells, the top row first:

    columns  what                    unit
    42       one's own stones        0 or 1
    42       the other's stones      0 or 1

State: the stones of player_0, those of player_1, and 1 where player_1 is to move.

Metrics: `first_wins`, `second_wins` (games won by who moved first, and by the other), `illegal` (moves).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.board import common
from environments.games.board.common import DRAWN, EMPTY, ON, REFUSED, WON, U
from environments.native import Game, options_of
from environments.rng import integer
from environments.spec import EnvSpec
from environments.vector import Array

ROWS, COLUMNS, LINE = 6, 7, 4
CELLS = ROWS * COLUMNS


@dataclass(frozen=True)
class Options(common.BoardOptions):
    """What may be set."""

    def __post_init__(self) -> None:
        self.check_opening(CELLS)


@kernel
def landing_row(board, column):
    """The lowest row of a column that is empty, or -1 where it is full; row 0 is the top."""
    row = 0
    while row < ROWS and board[U(row * COLUMNS + column)] == EMPTY:
        row += 1
    return row - 1


@kernel
def reach(board, row, column, down, right, player):
    """Number of the player's stones without a gap from a cell in one direction, the cell itself not counted."""
    count = 0
    row, column = row + down, column + right
    while 0 <= row < ROWS and 0 <= column < COLUMNS and board[U(row * COLUMNS + column)] == player:
        count += 1
        row, column = row + down, column + right
    return count


@kernel
def has_line(board, row, column, player):
    """True where the player's stone at that place is part of four in a line."""
    longest = reach(board, row, column, 1, 0, player)
    for slope in range(-1, 2):
        both = reach(board, row, column, slope, 1, player) + reach(board, row, column, -slope, -1, player)
        longest = max(longest, both)
    return longest + 1 >= LINE


@kernel
def move(state, params, column):
    """Drop a stone for whose turn it is; says what came of it."""
    row = landing_row(state.board, column) if 0 <= column < COLUMNS else -1
    if row < 0:
        return REFUSED
    state.board[U(row * COLUMNS + column)] = np.uint8(state.mover)
    if has_line(state.board, row, column, np.uint8(state.mover)):
        return WON
    return DRAWN if state.turn == CELLS - 1 else ON


@kernel
def drawn_column(state, clock):
    """A column that is not full, all equally likely."""
    column = integer(clock, COLUMNS)
    while state.board[U(column)] != EMPTY:
        column = integer(clock, COLUMNS)
    return column


reset_one = common.reset_with(move, drawn_column)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Drop a stone; see whether that ends the game."""
    common.settle(state, out, e, move(state, params, np.int64(actions[0][e, U(state.mover)])))


@kernel
def observe_one(state, params, clock, out, e):
    """Write both views, the state, and who may move where: into columns whose top cell is empty."""
    common.show_mover(state, out, e)
    common.show_stones(state, out, e)
    for player in range(2):
        for column in range(COLUMNS):
            out.groups[0].action_mask[e, player, column] = state.board[column] == EMPTY


def spec(options: Options) -> EnvSpec:
    """The description."""
    return common.spec_of("board/connect_four", options_of(options), ROWS, COLUMNS, COLUMNS)


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state; see `state_of`."""
    return common.state_of(CELLS)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_of(options)


GAME = Game("board/connect_four", Options, spec, params, state_type, reset_one, step_one, observe_one)
