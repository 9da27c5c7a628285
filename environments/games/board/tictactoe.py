"""Tic-tac-toe: three in a row on a board of nine (`board/tictactoe`).

Purpose        the smallest game in which a move must be answered; solved, so a player can be judged exactly.
Agents         player_0, player_1, one group `player`; they take turns.
Teams          one kind, `player`, with two teams of one agent: one learner plays both sides.
Actions        Discrete(9): the cell to mark, row by row. Marked cells are illegal (masked); who marks one, or a cell
               that does not exist, loses at once.
Rewards        with the last move 1 to the winner and -1 to the loser, 0 to both at a draw.
Ends           terminated for both at three in a row, column or diagonal, at a full board, or at an illegal move.
Options        random_start, random_opening; see `Options`.
Source         folklore; the same game as PettingZoo's tictactoe_v3 (there an illegal move pays the other 0).
Version        1

Observation, uint8, of the one whose turn it is (zeros otherwise):

    columns  what                                     unit
    9        cells marked by oneself, row by row      0 or 1
    9        cells marked by the other, row by row    0 or 1

State: the cells of player_0, those of player_1, and 1 where player_1 is to move.

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
from environments.spec import EnvSpec
from environments.vector import Array

CELLS = 9


@dataclass(frozen=True)
class Options(common.BoardOptions):
    """What may be set."""

    def __post_init__(self) -> None:
        self.check_opening(CELLS)


@kernel
def three(board, a, b, c, player):
    """True where all three cells are the player's."""
    return board[a] == player and board[b] == player and board[c] == player


@kernel
def has_line(board, player):
    """True where the player owns a row, a column or a diagonal."""
    won = three(board, 0, 4, 8, player) or three(board, 2, 4, 6, player)
    for i in range(3):
        won |= three(board, 3 * i, 3 * i + 1, 3 * i + 2, player) or three(board, i, i + 3, i + 6, player)
    return won


@kernel
def move(state, params, cell):
    """Mark a cell for whose turn it is; says what came of it."""
    if cell < 0 or cell >= CELLS or state.board[U(cell)] != EMPTY:
        return REFUSED
    state.board[U(cell)] = np.uint8(state.mover)
    if has_line(state.board, np.uint8(state.mover)):
        return WON
    return DRAWN if state.turn == CELLS - 1 else ON


reset_one = common.reset_with(move, common.drawn_cell)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Mark a cell; see whether that ends the game."""
    common.settle(state, out, e, move(state, params, np.int64(actions[0][e, U(state.mover)])))


@kernel
def observe_one(state, params, clock, out, e):
    """Write both views, the state, and who may move where."""
    common.show_mover(state, out, e)
    common.show_stones(state, out, e)
    for player in range(2):
        for cell in range(CELLS):
            out.groups[0].action_mask[e, player, cell] = state.board[cell] == EMPTY


def spec(options: Options) -> EnvSpec:
    """The description."""
    return common.spec_of("board/tictactoe", options_of(options), 3, 3, CELLS)


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state; see `state_of`."""
    return common.state_of(CELLS)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_of(options)


GAME = Game("board/tictactoe", Options, spec, params, state_type, reset_one, step_one, observe_one)
