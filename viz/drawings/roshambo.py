"""Rock, paper, scissors: the last throws face to face, who is ahead, how often each was made, and the last dozen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from environments.games.roshambo.names import BOTS, THROWS
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import TRAIL_FRAMES, Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    FAINT_INK,
    GRID,
    INK,
    PANEL,
    SOFT_INK,
    TEAM_COLORS,
    WHITE,
    Box,
    Circle,
    Color,
    Line,
    Point,
    Polygon,
    Scene,
    Shape,
    Text,
    View,
)
from viz.teams import team_color

WIDTH, HEIGHT = 10.0, 8.0
HANDS = 2.9
"""Height at which the hands are."""
HAND_AT, ROUND = (2.5, 7.5), 1.25
"""Where the two hands are across, and how large the discs behind them."""
BARS = 5.5
"""Foot of the bars of how often each throw was made."""
TALL = 0.75
"""The highest bar."""
STRIP = 6.2
"""Upper edge of the strip of the last throws."""


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """A fixed sheet, the vertical axis pointing down."""
    return View(0, HEIGHT, WIDTH, 0)


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """The one choice that there is."""
    return (THROWS,)


def draw(moment: Moment, view: View) -> Scene:
    """The whole sheet."""
    recent, counts = np.asarray(moment.arrays["recent"]), np.asarray(moment.arrays["counts"])
    if recent.shape[1:] != (2,) or counts.shape != (2, 3):
        raise ValueError(f"recent throws {recent.shape}, counts {counts.shape}")
    names, colors = _players(moment)
    last = int(recent[0, 0]), int(recent[0, 1])
    winner = _winner(*last)
    shapes: list[Shape] = [Line(((WIDTH / 2, 1.3), (WIDTH / 2, BARS)), GRID, 0.04)]
    for seat in range(2):
        x = HAND_AT[seat]
        shapes.append(Text((x, 0.55), names[seat], 0.36, colors[seat], bold=True, max_width=4.2))
        shapes.append(
            Circle((x, HANDS), ROUND, colors[seat].faded(0.16 if winner != seat else 0.4), colors[seat], 0.06)
        )
        if winner == seat:
            shapes.append(Text((x, 1.3), "wins", 0.3, colors[seat], bold=True))
        if last[seat] >= 0:
            shapes += _hand((x, HANDS), 0.75, last[seat], colors[seat])
        shapes += _bars(counts[seat], x, colors[seat])
    shapes.append(Text((WIDTH / 2, 0.55), f"{moment.scores[0]:+z.0f}", 0.44, INK, bold=True))
    shapes.append(Text((WIDTH / 2, 1.0), "won minus lost", 0.2, SOFT_INK))
    return Scene(view, [*shapes, *_strip(moment, names, colors)])


def spot(moment: Moment, place: int) -> Spot:
    """The disc behind the hand."""
    return Spot((HAND_AT[place], HANDS), ROUND)


def _players(moment: Moment) -> tuple[list[str], list[Color]]:
    """Names and colours of both seats; a bot has the name of its rule."""
    names = [row.name for row in moment.agents]
    colors = [team_color(moment.spec, row.team) for row in moment.agents]
    if len(names) == 1:
        bot = int(moment.arrays["bot"])
        names.append(f"bot: {BOTS[bot]}")
        colors.append(next(color for color in TEAM_COLORS if color != colors[0]))
    return names, colors


def _winner(first: int, second: int) -> int | None:
    """Seat that wins such a throw, None where nobody does or has thrown yet."""
    if min(first, second) < 0 or first == second:
        return None
    return 0 if (first - second) % 3 == 1 else 1


def _hand(at: Point, size: float, throw: int, color: Color) -> list[Shape]:
    """A stone, a sheet or a pair of scissors."""
    x, y = at
    if THROWS[throw] == "rock":
        corners = [(-0.95, 0.3), (-0.7, -0.45), (-0.1, -0.8), (0.65, -0.55), (0.95, 0.15), (0.55, 0.7), (-0.45, 0.75)]
        points = tuple((x + size * dx, y + size * dy) for dx, dy in corners)
        return [Polygon(points, color, WHITE, 0.08 * size)]
    if THROWS[throw] == "paper":
        shapes: list[Shape] = [
            Box((x - 0.7 * size, y - size), (x + 0.7 * size, y + size), WHITE, color, 0.12 * size, 0.08)
        ]
        for k in range(4):
            height = y + size * (-0.55 + 0.37 * k)
            shapes.append(Line(((x - 0.42 * size, height), (x + 0.42 * size, height)), color.faded(0.6), 0.1 * size))
        return shapes
    blades: list[Shape] = []
    for side in (-1, 1):
        ring, tip = (x - 0.5 * side * size, y + 0.65 * size), (x + 0.55 * side * size, y - size)
        blades += [Line((ring, tip), color, 0.2 * size), Circle(ring, 0.32 * size, None, color, 0.16 * size)]
    return [*blades, Circle((x, y - 0.02 * size), 0.09 * size, WHITE)]


def _bars(counts: Array, x: float, color: Color) -> list[Shape]:
    """How often each throw was made, as shares of all."""
    total = max(1, int(counts.sum()))
    shapes: list[Shape] = []
    for k, name in enumerate(THROWS):
        share = float(counts[k]) / total
        middle = x + 1.2 * (k - 1)
        shapes.append(Box((middle - 0.4, BARS - TALL), (middle + 0.4, BARS), GRID.faded(0.6)))
        if share > 0:
            shapes.append(Box((middle - 0.4, BARS - TALL * share), (middle + 0.4, BARS), color.faded(0.8)))
        shapes.append(Text((middle, BARS + 0.18), name, 0.18, SOFT_INK, max_width=1.15))
        shapes.append(Text((middle, BARS + 0.42), f"{100 * share:.0f} %", 0.18, SOFT_INK, max_width=1.15))
    return shapes


def _strip(moment: Moment, names: list[str], colors: list[Color]) -> list[Shape]:
    """A row of boxes per player, the last throw on the right of what is filled so far; winners in full colour."""
    before = np.asarray(moment.past.get("recent", np.zeros((0, 1, 2))))[-TRAIL_FRAMES:, 0]
    made = [tuple(int(k) for k in pair) for pair in [*before, np.asarray(moment.arrays["recent"])[0]]]
    made = [pair for pair in made if min(pair) >= 0]
    left, step, high = 2.2, (WIDTH - 2.4) / (TRAIL_FRAMES + 1), 0.62
    shapes: list[Shape] = []
    for seat in range(2):
        y = STRIP + 0.75 * seat
        shapes.append(Text((left - 0.2, y + high / 2), names[seat], 0.22, colors[seat], "right", True, left - 0.3))
        for t in range(TRAIL_FRAMES + 1):
            near, far = (left + t * step + 0.04, y), (left + (t + 1) * step - 0.04, y + high)
            if t >= len(made):
                shapes.append(Box(near, far, None, GRID, 0.02, 0.05))
                continue
            won = _winner(*made[t]) == seat
            now = t == len(made) - 1
            shapes.append(Box(near, far, colors[seat] if won else PANEL, INK if now else EDGE, 0.03, 0.05))
            middle = ((near[0] + far[0]) / 2, y + high / 2)
            shapes.append(Text(middle, THROWS[made[t][seat]][0].upper(), 0.28, WHITE if won else FAINT_INK, bold=True))
    return shapes


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Where the lead changes hands."""
    first, second = np.asarray(frames["recent"])[1:, 0].T
    ahead = (first - second) % 3
    lead = np.cumsum((ahead == 1).astype(int) - (ahead == 2).astype(int))
    marks, leader = [], 0
    for t, now in enumerate(np.sign(lead)):
        if now and now != leader:
            leader = int(now)
            marks.append(
                Mark(t + 1, "player_0 leads" if now > 0 else "player_0 falls behind", "good" if now > 0 else "bad")
            )
    return marks


DRAWING = Drawing(view, draw, actions, events, spot)
