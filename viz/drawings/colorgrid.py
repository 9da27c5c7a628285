"""The grid of coloured blocks: leader and follower, where they were, and above it the goal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    GREEN,
    GRID,
    INK,
    OBJECT_COLORS,
    PANEL,
    RED,
    SOFT_INK,
    WHITE,
    Box,
    Circle,
    LegendEntry,
    Line,
    Polygon,
    Scene,
    Shape,
    Text,
    View,
)

NAMES = ("up", "down", "left", "right")
COLOR_NAMES = ("red", "green", "blue", "gold", "violet", "brown")
HEAD = 1.3
"""Room above the grid, in cells."""
LETTERS = ("L", "F")


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """The grid with a margin and a line above; cells are squares of side 1, from below."""
    return View(-0.4, -0.4, int(spec.options["width"]) + 0.4, int(spec.options["height"]) + HEAD)


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """The one choice that there is."""
    return (NAMES,)


def draw(moment: Moment, view: View) -> Scene:
    """Blocks, trails, agents, goal."""
    grid, place = np.asarray(moment.arrays["grid"]), np.asarray(moment.arrays["place"])
    height, width = int(moment.spec.options["height"]), int(moment.spec.options["width"])
    if grid.shape != (height, width) or place.shape != (2, 2):
        raise ValueError(f"a grid {grid.shape} and places {place.shape} on {height} x {width} cells")
    goal = int(moment.arrays["goal"])
    shapes: list[Shape] = [Box((0, 0), (width, height), PANEL, EDGE, 0.04)]
    shapes += [Line(((x, 0), (x, height)), GRID, 0.02) for x in range(1, width)]
    shapes += [Line(((0, y), (width, y)), GRID, 0.02) for y in range(1, height)]
    for y, x in zip(*grid.nonzero(), strict=True):
        kind = int(grid[y, x]) - 1
        color = OBJECT_COLORS[kind]
        shapes.append(Box((x + 0.14, y + 0.14), (x + 0.86, y + 0.86), color, None, 0, 0.1))
        if kind == goal:
            shapes.append(Box((x + 0.06, y + 0.06), (x + 0.94, y + 0.94), None, INK, 0.05, 0.14))
    shapes += _trails(moment, width, height)
    for i in range(2):
        shapes += _agent(moment, i, *spot(moment, i).at)
    size = min(0.5, width / 12)
    words = f"goal: {COLOR_NAMES[goal]}"
    shapes += [
        Box((0.05, height + 0.35), (0.05 + size, height + 0.35 + size), OBJECT_COLORS[goal], INK, 0.05, 0.08),
        Text((0.2 + size, height + 0.35 + size / 2), words, 0.8 * size, INK, "left", True, 0.45 * width),
        Text(
            (width, height + 0.35 + size / 2),
            _who_knows(moment.spec),
            0.7 * size,
            SOFT_INK,
            "right",
            False,
            0.5 * width,
        ),
    ]
    return Scene(view, shapes, legend=(LegendEntry("the goal's colour", INK),))


def spot(moment: Moment, place: int) -> Spot:
    """The agent's token."""
    x, y = moment.smooth("place")[place]
    return Spot((float(x) + 0.5, float(y) + 0.5), 0.45)


def _who_knows(spec: EnvSpec) -> str:
    return "both know it" if spec.options["knows_goal"] == "both" else "the leader knows it"


def _agent(moment: Moment, i: int, x: float, y: float) -> list[Shape]:
    """The leader a diamond, the follower a disc; a ring tells that it has just taken the right or a wrong block."""
    shapes: list[Shape] = []
    took = int(moment.arrays["took"][i])
    if took >= 0 and len(moment.past.get("goal", ())):
        right = took == int(moment.past["goal"][-1])
        shapes.append(Circle((x, y), 0.62, None, GREEN if right else RED, 0.1))
    if i == 0:
        corners = ((x, y + 0.5), (x + 0.5, y), (x, y - 0.5), (x - 0.5, y))
        shapes.append(Polygon(corners, INK, WHITE, 0.05))
    else:
        shapes.append(Circle((x, y), 0.4, SOFT_INK, WHITE, 0.05))
    shapes.append(Text((x, y), LETTERS[i], 0.42, WHITE, bold=True))
    return shapes


def _trails(moment: Moment, width: int, height: int) -> list[Shape]:
    """Where each was in the last steps, without the lines that would cross the whole grid."""
    before = np.asarray(moment.past.get("place", np.zeros((0, 2, 2))))
    path = [*before, np.asarray(moment.arrays["place"])]
    shapes: list[Shape] = []
    for i, color in enumerate((INK, SOFT_INK)):
        for k, (a, b) in enumerate(pairwise(path)):
            if np.abs(b[i] - a[i]).sum() == 1:
                ends = tuple((float(p[i, 0]) + 0.5, float(p[i, 1]) + 0.5) for p in (a, b))
                shapes.append(Line(ends, color.faded(0.1 + 0.4 * k / len(path)), 0.1))
    return shapes


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Every change of the goal, and the wrong blocks taken."""
    goal, took = np.asarray(frames["goal"]), np.asarray(frames["took"])
    marks = []
    for t in range(1, len(goal)):
        if goal[t] != goal[t - 1]:
            marks.append(Mark(t, f"the goal is now {COLOR_NAMES[int(goal[t])]}", "end"))
        for i, agent in enumerate(spec.agents):
            if took[t, i] >= 0 and took[t, i] != goal[t - 1]:
                marks.append(Mark(t, f"{agent} takes {COLOR_NAMES[int(took[t, i])]}", "bad"))
    return marks


DRAWING = Drawing(view, draw, actions, events, spot)
