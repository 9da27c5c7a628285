"""The judge of tic-tac-toe policies."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

from environments.games.board import bots
from results.tictactoe import FOLDER, against_every_reply


def lowest(seen: np.ndarray) -> np.ndarray:
    """The first free cell."""
    return (seen[:, :9] + seen[:, 9:] == 0).argmax(1)


@pytest.mark.parametrize("seat", [0, 1])
def test_a_perfect_player_is_told_from_one_that_is_not(seat: int) -> None:
    def perfect(seen: np.ndarray) -> np.ndarray:
        return bots.perfect_tictactoe(seen, None, np.full(len(seen), 0.4))

    found = against_every_reply(perfect, seat)
    assert found["lost"] == 0 and found["won"] > 50 and found["drawn"] > 0
    assert against_every_reply(lowest, seat)["lost"] > 0


@pytest.mark.parametrize("seat", [0, 1])
def test_every_line_is_played(seat: int) -> None:
    """Against all orders of replies, counted by another way: play each game of the full product to its end."""
    found: dict[tuple[int, ...], str] = {}
    for wishes in product(range(9), repeat=4 + seat):
        board, played, result = [0] * 9, [], "drawn"
        todo = list(wishes)
        for turn in range(9):
            free = [cell for cell in range(9) if not board[cell]]
            cell = free[0] if turn % 2 == seat else todo.pop(0)
            if cell not in free:
                break
            board[cell] = 1 + turn % 2
            played.append(cell)
            if any(all(board[c] == 1 + turn % 2 for c in range(9) if line >> c & 1) for line in bots.LINES):
                result = "won" if turn % 2 == seat else "lost"
                found[tuple(played)] = result
                break
        else:
            found[tuple(played)] = result
    counts = {name: list(found.values()).count(name) for name in ("won", "drawn", "lost")}
    assert against_every_reply(lowest, seat) == counts


def test_an_illegal_move_is_said() -> None:
    with pytest.raises(ValueError, match="cell 0 is taken"):
        against_every_reply(lambda seen: np.zeros(len(seen), np.int64), 0)


def test_players_from_openings_drawn_by_lot_never_lose() -> None:
    """The committed measurements: every seed, both seats, every line of replies."""
    rows = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("openings-*.json"))]
    assert rows
    for row in rows:
        for seat in ("moving first", "moving second"):
            counts = row["lines"][seat]
            assert counts["lost"] == 0 and counts["won"] + counts["drawn"] > 100, row["command"]
