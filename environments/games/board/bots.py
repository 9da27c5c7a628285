"""Players of the board games: tic-tac-toe without a mistake, Connect Four some moves ahead. numpy alone.

All read the observation of the one whose turn it is: own stones, then the other's, 0 or 1. A row of zeros is an empty
board. See `environments.bots` for what a bot is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError

Rows = NDArray[Any]
NINE = 9
LINES = (0b111, 0b111000, 0b111000000, 0b1001001, 0b10010010, 0b100100100, 0b100010001, 0b001010100)
"""The eight lines of tic-tac-toe as sets of cells: bit c is cell c."""

U = np.uint64
ROWS, COLUMNS, HEIGHT = 6, 7, 7
"""A column of Connect Four is seven bits, from its lowest cell up; the seventh stays empty, so that no line wraps."""
BOTTOM = U(sum(1 << (HEIGHT * column) for column in range(COLUMNS)))
COLUMN = np.array([((1 << ROWS) - 1) << (HEIGHT * column) for column in range(COLUMNS)], U)
BOARD = U(int(COLUMN.sum()))
CELL = np.array([1 << (HEIGHT * c + ROWS - 1 - r) for r in range(ROWS) for c in range(COLUMNS)], U)
"""Bit of each cell, in the order of the observation."""
DIRECTIONS = (1, HEIGHT - 1, HEIGHT, HEIGHT + 1)
WON = 1000
"""Score of a win; one more for every move that it comes sooner."""
CENTRE = ((COLUMN[3], 3), (COLUMN[2] | COLUMN[4], 2), (COLUMN[1] | COLUMN[5], 1))
THREAT = 4
NODES = 1 << 16
"""Positions that are searched side by side at the deepest level: few enough for a processor's cache."""


def perfect_tictactoe(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """One of the moves that lead to the best result that can be forced, all equally likely."""
    _check(obs, 2 * NINE, "tic-tac-toe")
    powers = 1 << np.arange(NINE)
    own, other = ((obs[:, :NINE] != 0) * powers).sum(1), ((obs[:, NINE:] != 0) * powers).sum(1)
    return _pick(_best_moves()[own, other], noise)


@cache
def _best_moves() -> NDArray[np.bool_]:
    """`[own, other, cell]` True for the best moves of the one to move; False all over where there is none to make."""
    best = np.zeros((1 << NINE, 1 << NINE, NINE), np.bool_)
    known: dict[tuple[int, int], int] = {}

    def value(own: int, other: int) -> int:
        """What the one to move can force: 1 a win, 0 a draw, -1 a loss."""
        if (own, other) not in known:
            known[own, other] = solve(own, other)
        return known[own, other]

    def solve(own: int, other: int) -> int:
        if any(other & line == line for line in LINES):
            return -1
        free = [cell for cell in range(NINE) if not (own | other) >> cell & 1]
        values = {cell: -value(other, own | 1 << cell) for cell in free}
        for cell in free:
            best[own, other, cell] = values[cell] == max(values.values())
        return max(values.values(), default=0)

    value(0, 0)
    return best


def depth_1(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """Wins where one move does; plays anywhere otherwise."""
    return search(obs, noise, 1)


def depth_2(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """Looks two moves ahead: wins, or hinders the other from winning at once."""
    return search(obs, noise, 2)


def depth_3(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """Looks three moves ahead."""
    return search(obs, noise, 3)


def depth_4(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """Looks four moves ahead."""
    return search(obs, noise, 4)


def depth_5(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """Looks five moves ahead."""
    return search(obs, noise, 5)


def depth_6(obs: Rows, mask: Rows | None, noise: Rows) -> NDArray[np.int32]:
    """Looks six moves ahead."""
    return search(obs, noise, 6)


def search(obs: Rows, noise: Rows, depth: int) -> NDArray[np.int32]:
    """Columns of the best scores after `depth` moves of Connect Four (negamax), chance among equals.

    The last of them is looked at for wins alone. Positions at the end of the search are scored by the places where a
    stone would make four, and by stones near the centre.
    """
    _check(obs, 2 * ROWS * COLUMNS, "Connect Four")
    own = np.where(obs[:, : ROWS * COLUMNS] != 0, CELL, U(0)).sum(1, dtype=U)
    other = np.where(obs[:, ROWS * COLUMNS :] != 0, CELL, U(0)).sum(1, dtype=U)
    chosen = np.zeros(len(obs), np.int32)
    share = max(1, NODES // COLUMNS ** max(0, depth - 1))
    for first in range(0, len(obs), share):
        rows = slice(first, first + share)
        scores = _scores(own[rows], other[rows], depth)
        chosen[rows] = _pick(scores == scores.max(1, keepdims=True), noise[rows])
    return chosen


def _scores(own: Rows, other: Rows, depth: int) -> NDArray[np.int32]:
    """`[B, 7]` score of every column for the one to move; illegal ones below all others."""
    moves = _moves(own, other)
    scores = np.full(moves.shape, -10 * WON, np.int32)
    scores[moves != 0] = 0
    wins = (_completing(own)[:, None] & moves) != 0
    scores[wins] = WON + depth
    row, column = np.nonzero((moves != 0) & ~wins)
    if depth > 1:
        scores[row, column] = -_search(other[row], own[row] | moves[row, column], depth - 1)
    return scores


def _search(own: Rows, other: Rows, depth: int) -> NDArray[np.int32]:
    """`[B]` score of positions for the one to move."""
    free = BOARD & ~(own | other)
    can_win = (_completing(own) & _landing(own, other)) != 0
    if depth == 1:
        quiet = np.where(free == 0, 0, _standing(own, other))
        return np.where(can_win, WON + depth, quiet).astype(np.int32)
    scores = np.where(can_win, WON + depth, 0).astype(np.int32)
    rest = np.flatnonzero(~can_win & (free != 0))  # of the others the score is known
    if rest.size:
        moves = _moves(own[rest], other[rest])
        row, column = np.nonzero(moves)
        found = np.full(moves.shape, -10 * WON, np.int32)
        found[row, column] = -_search(other[rest][row], own[rest][row] | moves[row, column], depth - 1)
        scores[rest] = found.max(1)
    return scores


def _landing(own: Rows, other: Rows) -> Rows:
    """The cells on which the next stone may come to lie, one bit per column that is not full."""
    return ((own | other) + BOTTOM) & BOARD


def _moves(own: Rows, other: Rows) -> Rows:
    """`[B, 7]` the cell on which a stone in each column comes to lie, 0 where the column is full."""
    moves: Rows = _landing(own, other)[:, None] & COLUMN
    return moves


def _completing(stones: Rows) -> Rows:
    """The cells, also those far above or taken, that would make four in a line with three of these stones."""
    found: Rows = (stones << U(1)) & (stones << U(2)) & (stones << U(3))  # on top of three
    for step in DIRECTIONS[1:]:
        one, two = U(step), U(2 * step)
        up, down = stones << one, stones >> one
        far_up, far_down = stones << two, stones >> two
        found = found | (up & down & (far_up | far_down))
        found = found | (up & far_up & (stones << U(3 * step))) | (down & far_down & (stones >> U(3 * step)))
    return found & BOARD


def _standing(own: Rows, other: Rows) -> NDArray[np.int32]:
    """What a position promises to the one to move, well within a win's score."""
    free = ~(own | other)
    count = np.bitwise_count
    score = THREAT * (count(_completing(own) & free).astype(np.int32) - count(_completing(other) & free))
    for cells, weight in CENTRE:
        score += weight * (count(own & cells).astype(np.int32) - count(other & cells))
    return score.astype(np.int32)


def _pick(good: NDArray[np.bool_], noise: Rows) -> NDArray[np.int32]:
    """One of every row's good actions, all equally likely; 0 where there is none."""
    count = good.sum(1)
    place = np.minimum((noise * count).astype(np.int64), np.maximum(count - 1, 0))
    return (good.cumsum(1) > place[:, None]).argmax(1).astype(np.int32)


def _check(obs: Rows, columns: int, game: str) -> None:
    if obs.ndim != 2 or obs.shape[1] != columns:
        raise UsageError(f"a bot of {game} reads observations of {columns} columns, not {obs.shape[1:]}")
