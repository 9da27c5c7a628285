"""Playing as a person does: a real window on a screen in memory, real clicks and held keys, pictures looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from environments import replay
from environments.replay import verify
from tests.recording import record
from tests.viz.desktop import Desktop, Picture, count, need_a_desktop
from viz.page import FOOTER
from viz.playing import HEADER, SIDE
from viz.scene import BLUE, GOLD, RED, View, fit
from viz.timeline import TIMELINE

WIDTH, HEIGHT = 1280, 720
INNER = WIDTH - SIDE


@pytest.fixture(scope="module")
def desktop() -> Iterator[Desktop]:
    """One screen for all tests."""
    need_a_desktop()
    screen = Desktop()
    yield screen
    screen.close()


def cell(number: int) -> tuple[float, float]:
    """Where a cell of tic-tac-toe is seen."""
    x, y = fit(View(-0.3, -0.3, 3.3, 3.3), INNER, HEIGHT - HEADER).pixel((number % 3 + 0.5, 2.5 - number // 3))
    return x, y + HEADER


def stone(seen: Picture, number: int) -> str:
    """What lies in a cell: `x`, `o` or nothing."""
    x, y = (round(at) for at in cell(number))
    around = seen[y - 60 : y + 60, x - 60 : x + 60]
    crosses, rings = count(around, BLUE), count(around, RED)
    return "x" if crosses > 300 else "o" if rings > 300 else ""


def board(seen: Picture) -> str:
    return "".join(stone(seen, number) or "." for number in range(9))


def test_a_board_game_by_clicks_to_its_end(desktop: Desktop, tmp_path: Path) -> None:
    out = tmp_path / "game.replay"
    desktop.start("play", "board/tictactoe", "--others", "bot:board/tictactoe/perfect", "--out", str(out))
    moves = 0
    seen = desktop.see(lambda seen: board(seen) == "." * 9 and count(seen[:HEADER], (38, 44, 56)) > 0, "an empty board")
    while not out.exists():
        free = board(seen).index(".")
        desktop.click(*cell(free))
        moves += 1

        def answered(seen: Picture, moves: int = moves) -> bool:
            return out.exists() or (board(seen).count("x") == moves and board(seen).count("o") == moves)

        seen = desktop.see(answered, "an answer")
    played = replay.load(out)
    assert verify(played).exact and played.header["human"] == "player_0"
    final = played.frames["board"][-1]
    wanted = "".join("xo."[value] for value in final)
    desktop.see(lambda seen: board(seen) == wanted, "the final board")
    desktop.keys("Return")
    footer = slice(HEIGHT - TIMELINE - FOOTER, HEIGHT - TIMELINE)
    desktop.see(lambda seen: count(seen[footer, :40], BLUE) > 50, "the viewer of what was played")
    desktop.keys("Escape")
    desktop.see(lambda seen: board(seen) == wanted, "the game again")
    desktop.keys("Escape")
    assert desktop.ended() == 0


def test_arrows_that_are_held_move_the_agent(desktop: Desktop, tmp_path: Path) -> None:
    out = tmp_path / "game.replay"
    desktop.start("play", "particle/spread", "--out", str(out))
    desktop.see(lambda seen: count(seen[:, :INNER], GOLD) > 100, "a ring around the person's agent")
    desktop.do("keydown", "Right")
    desktop.see(lambda seen: count(seen[HEADER:, INNER:], GOLD) > 300, "the held key")
    desktop.see(lambda seen: out.exists(), "the end")
    desktop.do("keyup", "Right")
    desktop.keys("Escape")
    assert desktop.ended() == 0
    played = replay.load(out)
    own = played.groups["agent"].action[:, 0]
    assert verify(played).exact and (own == 2).sum() > len(own) // 2 and (own == 2)[:3].any()
    assert np.diff(played.frames["agent_position"][:, 0, 0])[5:].min() > 0


def test_going_on_by_hand_from_a_recorded_step(desktop: Desktop, tmp_path: Path) -> None:
    recorded = record("board/tictactoe")
    recorded.save(tmp_path / "a.replay")
    desktop.start("watch", str(tmp_path / "a.replay"))
    desktop.see(lambda seen: count(seen, BLUE) > 0, "the viewer")
    desktop.keys("g", "2", "Return", "w")
    desktop.see(lambda seen: count(seen[:, :200], (252, 233, 196), 12) > 2000, "the list of who may go on")
    desktop.keys("Return")
    desktop.see(lambda seen: board(seen).count("x") == 1 and board(seen).count("o") == 1, "the board of step 2")
    before = board(desktop.picture())
    free = before.index(".")
    desktop.click(*cell(free))
    desktop.see(lambda seen: stone(seen, free) == "x", "the person's cross")
    desktop.keys("Escape", "Escape", "q")
    assert desktop.ended() == 0
