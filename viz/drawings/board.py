"""The board games: marks on nine cells, stones that fall into columns, stones on hexagons.

Cells are numbered row by row from the top left, as in the games. The last stone has a dot, and what won is ringed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing
from viz.moment import Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    FAINT_INK,
    GOLD,
    INK,
    PANEL,
    SOFT_INK,
    WHITE,
    Box,
    Circle,
    Color,
    LegendEntry,
    Line,
    Point,
    Polygon,
    Scene,
    Shape,
    Text,
    View,
)
from viz.teams import team_colors

EMPTY = 2
ROWS, COLUMNS = 6, 7
NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, 1), (1, -1))
TALL = math.sqrt(3) / 2
"""Distance between two rows of hexagons whose centres in a row are 1 apart."""
WON = LegendEntry("the winner's line", GOLD)


def _last_stone(moment: Moment) -> int | None:
    """The cell that was taken last; None where that is not known or nothing was."""
    before = moment.past.get("board")
    if before is None or not len(before):
        return None
    new = np.flatnonzero(before[-1] != moment.arrays["board"])
    return int(new[0]) if len(new) == 1 else None


def _line(board: Array, columns: int, length: int) -> list[int]:
    """Cells of all lines of that many equal stones."""
    rows = len(board) // columns
    found: set[int] = set()
    for start in range(len(board)):
        row, column = divmod(start, columns)
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if row + down * (length - 1) >= rows or not 0 <= column + right * (length - 1) < columns:
                continue
            cells = [start + k * (down * columns + right) for k in range(length)]
            stones = set(board[cells].tolist())
            if len(stones) == 1 and stones != {EMPTY}:
                found.update(cells)
    return sorted(found)


def _connection(board: Array, size: int) -> list[int]:
    """Cells of the group of stones that joins its player's edges; none where there is no such group."""
    for player in (0, 1):
        place = 0 if player == 0 else 1
        starts = [cell for cell in range(size * size) if divmod(cell, size)[place] == 0]
        for start in starts:
            group = _group(board, size, start, player)
            if any(divmod(cell, size)[place] == size - 1 for cell in group):
                return sorted(group)
    return []


def _group(board: Array, size: int, start: int, player: int) -> set[int]:
    group: set[int] = set()
    waiting = [start] if board[start] == player else []
    while waiting:
        cell = waiting.pop()
        group.add(cell)
        row, column = divmod(cell, size)
        for down, right in NEIGHBOURS:
            r, c = row + down, column + right
            other = r * size + c
            if 0 <= r < size and 0 <= c < size and board[other] == player and other not in group:
                waiting.append(other)
    return group


def _winning(spec: EnvSpec, board: Array) -> list[int]:
    """The cells that won, if any."""
    if spec.name == "board/hex":
        return _connection(board, int(spec.options["size"]))
    return _line(board, COLUMNS, 4) if spec.name == "board/connect_four" else _line(board, 3, 3)


def _events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Who wins."""
    last = len(frames["board"]) - 1
    cells = _winning(spec, frames["board"][last])
    return [Mark(last, f"player_{int(frames['board'][last][cells[0]])} wins", "good")] if cells else []


def _numbered(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    space = group.action_space
    assert isinstance(space, spaces.Discrete)
    return (tuple(str(k) for k in range(int(space.n))),)


def _disc(at: Point, radius: float, color: Color) -> list[Shape]:
    return [
        Circle((at[0] + 0.04 * radius, at[1] - 0.08 * radius), radius, INK.faded(0.14)),
        Circle(at, radius, color, color.mixed(INK, 0.25), radius * 0.1),
    ]


def _rings(places: Iterable[Point], radius: float) -> list[Shape]:
    return [Circle(at, radius, None, GOLD, 0.07) for at in places]


def _nine_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    return View(-0.3, -0.3, 3.3, 3.3)


def _nine(moment: Moment, view: View) -> Scene:
    """`player_0` plays crosses."""
    first, second = team_colors(moment.spec)
    shapes: list[Shape] = [Box((0, 0), (3, 3), PANEL, None, 0, 0.06)]
    for i in (1, 2):
        shapes += [Line(((i, 0.1), (i, 2.9)), EDGE, 0.04), Line(((0.1, i), (2.9, i)), EDGE, 0.04)]
    at = [(cell % 3 + 0.5, 2.5 - cell // 3) for cell in range(9)]
    won = _winning(moment.spec, moment.arrays["board"])
    for x, y in (at[cell] for cell in won):
        shapes.append(Box((x - 0.44, y - 0.44), (x + 0.44, y + 0.44), GOLD.faded(0.3)))
    for (x, y), cell, mark in zip(at, range(9), moment.arrays["board"].tolist(), strict=True):
        if mark == 0:
            shapes += [
                Line(((x - 0.26, y - 0.26), (x + 0.26, y + 0.26)), first, 0.1),
                Line(((x - 0.26, y + 0.26), (x + 0.26, y - 0.26)), first, 0.1),
            ]
        elif mark == 1:
            shapes.append(Circle((x, y), 0.26, None, second, 0.1))
        else:
            shapes.append(Text((x, y), str(cell), 0.16, FAINT_INK.faded(0.8)))
    last = _last_stone(moment)
    shapes += [] if last is None else [Circle((at[last][0] + 0.38, at[last][1] + 0.38), 0.05, INK)]
    return Scene(view, shapes, legend=(WON,) if won else ())


def _columns_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    return View(-0.9, -0.8, COLUMNS + 0.5, ROWS + 0.4)


def _columns(moment: Moment, view: View) -> Scene:
    """A frame with holes; numbers of columns stand below it, of rows beside it."""
    colors = team_colors(moment.spec)
    feet = [Box((x - 0.25, -0.65), (x + 0.25, 0.2), SOFT_INK, None, 0, 0.1) for x in (-0.05, COLUMNS + 0.05)]
    frame = Box((-0.15, -0.15), (COLUMNS + 0.15, ROWS + 0.15), EDGE, FAINT_INK, 0.05, 0.15)
    shapes: list[Shape] = [*feet, frame]
    at = [(cell % COLUMNS + 0.5, ROWS - 0.5 - cell // COLUMNS) for cell in range(ROWS * COLUMNS)]
    for place, stone in zip(at, moment.arrays["board"].tolist(), strict=True):
        shapes += [Circle(place, 0.4, PANEL, FAINT_INK, 0.03)] if stone == EMPTY else _disc(place, 0.4, colors[stone])
    shapes += [Text((column + 0.5, -0.45), str(column), 0.3, FAINT_INK) for column in range(COLUMNS)]
    shapes += [Text((-0.5, ROWS - 0.5 - row), str(row), 0.3, FAINT_INK) for row in range(ROWS)]
    won = _winning(moment.spec, moment.arrays["board"])
    last = _last_stone(moment)
    shapes += [] if last is None else [Circle(at[last], 0.08, WHITE)]
    shapes += _rings((at[cell] for cell in won), 0.4)
    return Scene(view, shapes, legend=(WON,) if won else ())


def _hex_at(cell: int, size: int) -> Point:
    """Middle of a hexagon: every row half a cell further right than the one above it."""
    row, column = divmod(cell, size)
    return column + row / 2, -row * TALL


def _hex_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    size = int(spec.options["size"])
    return View(-1.2, -(size - 1) * TALL - 1.1, 1.5 * (size - 1) + 1.2, 1.1)


def _hex(moment: Moment, view: View) -> Scene:
    """A rhombus of hexagons between its four edges: top and bottom are `player_0`'s, left and right `player_1`'s."""
    size = int(moment.spec.options["size"])
    colors = team_colors(moment.spec)
    radius = 1 / math.sqrt(3)
    corners = [(radius * math.sin(k * math.pi / 3), radius * math.cos(k * math.pi / 3)) for k in range(6)]
    shapes = _hex_edges(size, colors)
    at = [_hex_at(cell, size) for cell in range(size * size)]
    for (x, y), stone in zip(at, moment.arrays["board"].tolist(), strict=True):
        shapes.append(Polygon(tuple((x + u, y + v) for u, v in corners), PANEL, EDGE, 0.03))
        shapes += [] if stone == EMPTY else _disc((x, y), 0.36, colors[stone])
    won = _winning(moment.spec, moment.arrays["board"])
    last = _last_stone(moment)
    shapes += [] if last is None else [Circle(at[last], 0.08, WHITE)]
    shapes += _rings((at[cell] for cell in won), 0.36)
    for k in range(size):
        shapes.append(Text((_hex_at(k, size)[0] - 0.45, 0.92), str(k), 0.26, FAINT_INK))
        shapes.append(Text((_hex_at(k * size, size)[0] - 0.98, -k * TALL), str(k), 0.26, FAINT_INK))
    return Scene(view, shapes, legend=(WON,) if won else ())


def _hex_edges(size: int, colors: tuple[Color, ...]) -> list[Shape]:
    """A thick zigzag along each side, in the colour of the player who owns it."""
    radius = 1 / math.sqrt(3)
    up, down = (0.0, radius), (0.0, -radius)
    high_left, low_left = (-0.5, radius / 2), (-0.5, -radius / 2)
    high_right, low_right = (0.5, radius / 2), (0.5, -radius / 2)
    last = size * (size - 1)
    sides = (
        (range(size), (high_left, up, high_right), 0),
        (range(last, last + size), (low_left, down, low_right), 0),
        (range(0, last + 1, size), (high_left, low_left, down), 1),
        (range(size - 1, last + size, size), (up, high_right, low_right), 1),
    )
    shapes: list[Shape] = []
    for cells, corners, player in sides:
        points = [_hex_at(cell, size) for cell in cells]
        shapes.append(Line(tuple((x + u, y + v) for x, y in points for u, v in corners), colors[player], 0.22))
    return shapes


def _hex_actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """Rows and columns of one's own view."""
    size = int(spec.options["size"])
    return (tuple(f"{row},{column}" for row in range(size) for column in range(size)),)


def pick_of_nine(spec: EnvSpec, agent: str, at: Point) -> int | None:
    """The cell at a place."""
    column, row = math.floor(at[0]), math.floor(3 - at[1])
    return 3 * row + column if 0 <= column < 3 and 0 <= row < 3 else None


def _pick_column(spec: EnvSpec, agent: str, at: Point) -> int | None:
    column = math.floor(at[0])
    return column if 0 <= column < COLUMNS else None


def _pick_hexagon(spec: EnvSpec, agent: str, at: Point) -> int | None:
    """The nearest hexagon; the second player sees rows and columns exchanged."""
    size = int(spec.options["size"])
    cell = min(range(size * size), key=lambda k: math.dist(at, _hex_at(k, size)))
    row, column = divmod(cell, size)
    if math.dist(at, _hex_at(cell, size)) > 1 / math.sqrt(3):
        return None
    return cell if agent == spec.agents[0] else column * size + row


NINE = Drawing(_nine_view, _nine, _numbered, _events, pick=pick_of_nine)
COLUMN = Drawing(_columns_view, _columns, _numbered, _events, pick=_pick_column)
HEX = Drawing(_hex_view, _hex, _hex_actions, _events, pick=_pick_hexagon)
