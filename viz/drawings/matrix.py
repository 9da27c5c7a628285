"""The matrix family: the table of payoffs with the joint action just taken, and below it who did what before.

Rows are the first agent's actions, columns the second's. With more agents it is the table of the others' last actions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from gymnasium import spaces

from environments.games.matrix import payoffs
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing
from viz.moment import TRAIL_FRAMES, Moment
from viz.page import Mark
from viz.scene import (
    BLUE,
    EDGE,
    FAINT_INK,
    GOLD,
    GREEN,
    GRID,
    INK,
    OBJECT_COLORS,
    PANEL,
    RED,
    SOFT_INK,
    WHITE,
    Box,
    Color,
    LegendEntry,
    Scene,
    Shape,
    Text,
    View,
)
from viz.teams import team_color

NAMES = {
    "matrix/prisoners_dilemma": ("cooperate", "defect"),
    "matrix/stag_hunt": ("stag", "hare"),
    "matrix/matching_pennies": ("heads", "tails"),
}
"""What the actions are called, where they are more than a number."""
WIDTH, HEIGHT = 10.0, 8.2
LEFT, TOP = 2.0, 1.0
"""Corner of the table, from the left and from the top."""
ROOM = (7.6, 4.5)
LARGEST = (2.5, 1.5)
"""Of one cell."""
HISTORY_TOP = 6.2
SHOWN = 4
"""Agents whose actions are listed; `marl watch` shows the others in its panel."""
READABLE = 0.3
"""Height of a cell below which nothing is written into it."""
ACTION_COLORS = (GREEN, RED, BLUE, GOLD, *OBJECT_COLORS[4:])


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """A fixed sheet, the vertical axis pointing down."""
    return View(0, HEIGHT, WIDTH, 0)


def action_names(spec: EnvSpec, size: int) -> tuple[str, ...]:
    """A name for each of `size` actions."""
    return NAMES.get(spec.name, tuple(map(str, range(size))))


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """The one choice that there is."""
    space = group.action_space
    assert isinstance(space, spaces.Discrete)
    return (action_names(spec, int(space.n)),)


def draw(moment: Moment, view: View) -> Scene:
    """Table and history."""
    payoff = payoffs.PAYOFFS[moment.spec.name](moment.spec.options)
    last = [int(action) for action in moment.arrays["last"]]
    if len(last) != len(payoff) or len(last) != len(moment.agents):
        raise ValueError(f"{len(last)} last actions of {len(moment.agents)} agents, payoffs for {len(payoff)}")
    total = payoff.sum(axis=0)
    matters = bool(total.max() > total.min())
    table = payoff if len(last) > 1 else payoff[:, :, None]
    for action in last[2:]:
        table = table[:, :, :, max(action, 0)]
    shapes = [*_table(moment, table, last, total.max() if matters else np.inf), *_history(moment, payoff.shape[1:])]
    best = (LegendEntry("best together", GOLD),) if matters else ()
    return Scene(view, shapes, legend=(LegendEntry("just played", INK), *best))


def _table(moment: Moment, table: Array, last: list[int], best: float) -> list[Shape]:
    """`table [N, rows, columns]`. The sum is green where it is a gain and red where it is a loss."""
    _, rows, columns = table.shape
    wide, high = (min(room / n, most) for room, n, most in zip(ROOM, (columns, rows), LARGEST, strict=True))
    common = bool((table == table[0]).all())
    total = table.sum(axis=0)
    scale = max(float(np.abs(total).max()), 1e-9)
    gap = 0.03 * min(wide, high)
    shapes = _labels(moment, rows, columns, wide, high)
    for i in range(rows):
        for j in range(columns):
            x, y = LEFT + j * wide, TOP + i * high
            share = float(total[i, j]) / scale
            fill = PANEL.mixed(GREEN if share > 0 else RED, 0.45 * abs(share))
            shapes.append(Box((x + gap, y + gap), (x + wide - gap, y + high - gap), fill, EDGE, 0.015, 2 * gap))
            if total[i, j] >= best:
                shapes.append(_frame(x, y, wide, high, GOLD, 3 * gap))
            if high >= READABLE and wide >= READABLE:
                shapes += _numbers(moment, table[:, i, j], common, (x + wide / 2, y + high / 2), wide, high)
    if min(last) >= 0:
        row, column = last[0], last[1] if len(last) > 1 else 0
        shapes.append(_frame(LEFT + column * wide, TOP + row * high, wide, high, INK, 0.0))
    return shapes


def _frame(x: float, y: float, wide: float, high: float, color: Color, inside: float) -> Shape:
    width = 0.06 * min(1.0, high, wide)
    near, far = (x + inside, y + inside), (x + wide - inside, y + high - inside)
    return Box(near, far, None, color, width, width)


def _numbers(
    moment: Moment, paid: Array, common: bool, at: tuple[float, float], wide: float, high: float
) -> list[Shape]:
    """What one cell pays: one number for all, or each agent's in its place from left to right."""
    size = min(0.4 * high, 0.34)
    if common:
        return [Text(at, f"{paid[0]:g}", size, INK, bold=True, max_width=0.9 * wide)]
    step = 0.8 * wide / len(paid)
    if step < READABLE:
        return [Text(at, " ".join(f"{x:g}" for x in paid), 0.7 * size, INK, max_width=0.9 * wide)]
    left = at[0] - step * (len(paid) - 1) / 2
    return [
        Text(
            (left + i * step, at[1]),
            f"{paid[row.place]:g}",
            size,
            team_color(moment.spec, row.team).mixed(INK, 0.2),
            bold=True,
            max_width=0.95 * step,
        )
        for i, row in enumerate(moment.agents)
    ]


def _labels(moment: Moment, rows: int, columns: int, wide: float, high: float) -> list[Shape]:
    """Whose actions the rows and columns are, and what the others are taken to do."""
    spec, agents = moment.spec, moment.agents
    color = [team_color(spec, row.team) for row in agents]
    size = min(0.26, 0.6 * high)
    shapes: list[Shape] = [Text((LEFT - 0.2, TOP - 0.24), agents[0].name, 0.24, color[0], "right", True, LEFT - 0.3)]
    if high >= READABLE / 2:  # a number is lower than it is wide
        for i, name in enumerate(action_names(spec, rows)):
            shapes.append(Text((LEFT - 0.2, TOP + (i + 0.5) * high), name, size, SOFT_INK, "right", False, LEFT - 0.3))
    if len(agents) == 1:
        return shapes
    middle = LEFT + columns * wide / 2
    shapes.append(Text((middle, TOP - 0.66), agents[1].name, 0.24, color[1], bold=True))
    if wide >= READABLE:
        for j, name in enumerate(action_names(spec, columns)):
            shapes.append(Text((LEFT + (j + 0.5) * wide, TOP - 0.24), name, 0.26, SOFT_INK, max_width=0.95 * wide))
    if len(agents) > 2:
        others = [int(action) for action in moment.arrays["last"][2:]]
        said = ", ".join(f"{row.name}: {max(a, 0)}" for row, a in zip(agents[2:], others, strict=True))
        below = (LEFT, TOP + rows * high + 0.28)
        shapes.append(Text(below, f"where {said}", 0.24, SOFT_INK, "left", False, ROOM[0]))
    return shapes


def _history(moment: Moment, sizes: tuple[int, ...]) -> list[Shape]:
    """A row of boxes per agent, the last action on the right of what is filled so far."""
    before = moment.past.get("last", np.zeros((0, len(sizes))))
    played = [*np.asarray(before)[-TRAIL_FRAMES:], np.asarray(moment.arrays["last"])]
    played = [actions for actions in played if actions.min() >= 0]
    step = (WIDTH - LEFT - 0.4) / (TRAIL_FRAMES + 1)
    shown = moment.agents[:SHOWN]
    high = min(0.6, (HEIGHT - HISTORY_TOP - 0.1) / max(1, len(shown)))
    shapes: list[Shape] = []
    for k, row in enumerate(shown):
        y = HISTORY_TOP + k * high
        color = team_color(moment.spec, row.team)
        shapes.append(
            Text((LEFT - 0.2, y + high / 2), row.name, min(0.24, 0.6 * high), color, "right", True, LEFT - 0.3)
        )
        names = action_names(moment.spec, sizes[row.place])
        for t in range(TRAIL_FRAMES + 1):
            x = LEFT + t * step
            corners = (x + 0.04, y + 0.05), (x + step - 0.04, y + high - 0.05)
            if t >= len(played):
                shapes.append(Box(*corners, None, GRID, 0.015, 0.05))
                continue
            taken = int(played[t][row.place])
            now = t == len(played) - 1
            fill = ACTION_COLORS[taken % len(ACTION_COLORS)].mixed(WHITE, 0.15 if now else 0.5)
            shapes.append(Box(*corners, fill, INK if now else None, 0.03, 0.05))
            letter = names[taken][0].upper() if moment.spec.name in NAMES else names[taken]
            shapes.append(Text((x + step / 2, y + high / 2), letter, min(0.24, 0.5 * high), WHITE, bold=True))
    if len(moment.agents) > SHOWN:
        more = f"and {len(moment.agents) - SHOWN} more"
        shapes.append(Text((LEFT - 0.2, HISTORY_TOP - 0.15), more, 0.18, FAINT_INK, "right"))
    return shapes


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Where the agents come to the best joint action, and where they leave it."""
    payoff = payoffs.PAYOFFS[spec.name](spec.options)
    total = payoff.sum(axis=0)
    if total.max() == total.min():
        return []
    best = [bool(total[tuple(actions)] == total.max()) for actions in frames["last"][1:]]
    marks = []
    for t, (before, now) in enumerate(zip([False, *best], best, strict=False)):
        if now != before:
            marks.append(
                Mark(t + 1, "best joint action" if now else "best joint action left", "good" if now else "bad")
            )
    return marks


DRAWING = Drawing(view, draw, actions, events)
