"""Hex: connect your two edges of a rhombus of hexagons (`board/hex`; scenarios `board/hex-3` to `board/hex-11`).

Purpose        a game of pure connection: no draws, no captures, any size.
Agents         player_0, player_1, one group `player`; they take turns.
Teams          one kind, `player`, with two teams of one agent: one learner plays both sides.
Actions        Discrete(size * size): the cell, row by row *in one's own view*. Taken cells are illegal (masked); who
               takes one, or a cell that does not exist, loses at once.
Rewards        with the last move 1 to the winner and -1 to the loser. There is always a winner.
Ends           terminated for both when one has connected its edges, or at an illegal move.
Options        size, random_start, random_opening; see `Options`.
Source         Hein 1942, Nash 1948; the same game as OpenSpiel's hex. Who moves first wins if both play perfectly.
Version        1

The neighbours of (row, column) are those left, right, above, below, above to the right and below to the left.
player_0 connects top and bottom, player_1 left and right. **In its own view everyone connects top and bottom**:
player_1 sees the board with rows and columns exchanged, which leaves the neighbours as they are, and its actions are
cells of that view.

Observation, uint8, of the one whose turn it is (zeros otherwise):

    columns        what                                      unit
    size * size    one's own stones, row by row              0 or 1
    size * size    the other's stones, row by row            0 or 1

State: the stones of player_0, those of player_1 (both as they lie, not as player_1 sees them), and 1 where player_1 is
to move.

Metrics: `first_wins`, `second_wins` (games won by who moved first, and by the other), `illegal` (moves).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.errors import UsageError
from environments.games.board import common
from environments.games.board.common import EMPTY, ON, REFUSED, WON, U
from environments.intrinsics import scratch_row
from environments.native import Game, options_of
from environments.spec import EnvSpec
from environments.vector import Array

SMALLEST, LARGEST = 2, 19
DOWN = (0, 0, -1, 1, -1, 1)
RIGHT = (-1, 1, 0, 0, 1, -1)
"""Steps to the six neighbours."""


@dataclass(frozen=True)
class Options(common.BoardOptions):
    """What may be set."""

    size: int = 5
    """Cells along an edge; 2 to 19."""

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            raise UsageError(f"size must be {SMALLEST} to {LARGEST} cells, not {self.size}")
        self.check_opening(self.size**2)


@kernel
def as_seen(cell, size, player):
    """Where a cell of the board is in a player's view, or the other way round: for `player_1` rows are columns."""
    return cell if player == 0 else cell % size * size + cell // size


@kernel
def connects(board, size, cell, player):
    """True where the player's stones around a cell reach from one of its edges to the other (flood fill)."""
    waiting = scratch_row(board, np.int64)
    seen = scratch_row(board, np.bool_)
    for c in range(board.shape[0]):
        seen[c] = False
    waiting[0] = cell
    seen[U(cell)] = True
    count = 1
    near, far = False, False
    while count > 0 and not (near and far):
        count -= 1
        row, column = waiting[U(count)] // size, waiting[U(count)] % size
        place = row if player == 0 else column
        near |= place == 0
        far |= place == size - 1
        for side in range(6):
            r, c = row + DOWN[side], column + RIGHT[side]
            if 0 <= r < size and 0 <= c < size:
                neighbour = U(r * size + c)
                if board[neighbour] == player and not seen[neighbour]:
                    seen[neighbour] = True
                    waiting[U(count)] = r * size + c
                    count += 1
    return near and far


@kernel
def move(state, params, cell):
    """Take a cell for whose turn it is; says what came of it."""
    if cell < 0 or state.board[U(cell)] != EMPTY:
        return REFUSED
    state.board[U(cell)] = np.uint8(state.mover)
    return WON if connects(state.board, params.size, cell, state.mover) else ON


reset_one = common.reset_with(move, common.drawn_cell)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Take a cell; see whether that connects."""
    size = params.size
    chosen = actions[0][e, U(state.mover)]
    legal = 0 <= chosen < size * size
    cell = as_seen(np.int64(chosen), size, state.mover) if legal else -1
    common.settle(state, out, e, move(state, params, cell))


@kernel
def observe_one(state, params, clock, out, e):
    """Write both views, the state, and who may move where."""
    common.show_mover(state, out, e)
    cells = state.board.shape[0]
    group = out.groups[0]
    for player in range(2):
        for row in range(params.size):
            for column in range(params.size):
                cell = U(row * params.size + column)
                stone = state.board[cell if player == 0 else U(column * params.size + row)]
                group.obs[e, player, cell] = stone == np.uint8(player)
                group.obs[e, player, U(cells) + cell] = stone == np.uint8(1 - player)
                group.action_mask[e, player, cell] = stone == EMPTY


def spec(options: Options) -> EnvSpec:
    """The description."""
    return common.spec_of("board/hex", options_of(options), options.size, options.size, options.size**2)


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state; see `state_of`."""
    return common.state_of(options.size**2)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_of(options, size=options.size)


GAME = Game("board/hex", Options, spec, params, state_type, reset_one, step_one, observe_one)
