"""The warehouse: aisles, places for shelves, goals, shelves, and robots with what they carry.

A shelf that is asked for is gold wherever it is. A robot's wedge points ahead; one that carries a shelf has a frame of
its colour around both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from environments.games.warehouse import layout
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    FAINT_INK,
    GOLD,
    GREEN,
    GRID,
    INK,
    PANEL,
    TEAM_COLORS,
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

ACTIONS = ("nothing", "forward", "left", "right", "lift")
WOOD = Color(173, 150, 126)
MOST_CELLS = 4000
"""Beyond it no lines are drawn between cells."""
AHEAD = ((0.0, -1.0), (0.0, 1.0), (-1.0, 0.0), (1.0, 0.0))
FREE, REQUESTED = 0, 2
ROBOT_COLORS = tuple(color for color in TEAM_COLORS if color not in (GOLD, GREEN))


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """The whole floor, row 0 at the top."""
    floor = layout.of(spec.options)
    return View(-0.4, floor.height + 0.4, floor.width + 0.4, -0.4)


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """The one choice that there is."""
    return (ACTIONS,)


def draw(moment: Moment, view: View) -> Scene:
    """Floor, shelves, robots."""
    plan = layout.of(moment.spec.options)
    floor = np.asarray(moment.arrays["floor"])
    if floor.shape != plan.highway.shape:
        raise ValueError(f"shelves on {floor.shape} cells of {plan.highway.shape}")
    shapes: list[Shape] = [Box((0, 0), (plan.width, plan.height), PANEL, EDGE, 0.05, 0.05)]
    shapes += [Box((x, y), (x + 1, y + 1), GRID.mixed(PANEL, 0.3)) for y, x in np.argwhere(plan.highway == 0).tolist()]
    if plan.cells <= MOST_CELLS:
        shapes += [Line(((0, y), (plan.width, y)), GRID, 0.02) for y in range(1, plan.height)]
        shapes += [Line(((x, 0), (x, plan.height)), GRID, 0.02) for x in range(1, plan.width)]
    occupied = np.asarray(moment.arrays["position"]).tolist()
    for x, y in plan.goals:
        shapes.append(Box((x + 0.04, y + 0.04), (x + 0.96, y + 0.96), GREEN.faded(0.25), GREEN, 0.05, 0.08))
        if [x, y] not in occupied:
            shapes.append(Text((x + 0.5, y + 0.5), "goal", 0.26, GREEN, bold=True))
    shapes += _trails(moment)
    carried = _carried(moment)
    for y, x in np.argwhere(floor != FREE).tolist():
        at = spot(moment, carried[x, y]).at if (x, y) in carried else (x + 0.5, y + 0.5)
        shapes += _shelf(at[0] - 0.5, at[1] - 0.5, GOLD if floor[y, x] == REQUESTED else WOOD)
    for row in moment.agents:
        shapes += _robot(moment, row.place, floor)
    told = (
        LegendEntry("shelf that is asked for", GOLD),
        LegendEntry("shelf", WOOD),
        LegendEntry("goal, handed over", GREEN),
    )
    return Scene(view, shapes, legend=told)


def _color(i: int) -> Color:
    """Robots are one team: what tells them apart is a colour each."""
    return ROBOT_COLORS[i % len(ROBOT_COLORS)]


def _center(place: Array) -> Point:
    return float(place[0]) + 0.5, float(place[1]) + 0.5


def _carried(moment: Moment) -> dict[tuple[int, int], int]:
    """Cell of every shelf that is carried, and who carries it."""
    places, carrying = np.asarray(moment.arrays["position"]), np.asarray(moment.arrays["carrying"])
    return {(int(places[i][0]), int(places[i][1])): int(i) for i in np.flatnonzero(carrying)}


def spot(moment: Moment, place: int) -> Spot:
    """The robot's disc, on its way between two frames."""
    return Spot(_center(moment.smooth("position")[place]), 0.36)


def sight(moment: Moment, place: int) -> tuple[Point, ...]:
    """The square of cells around a robot that it senses."""
    (x, y), far = spot(moment, place).at, int(moment.spec.options["sensor_range"]) + 0.5
    return (x - far, y - far), (x + far, y - far), (x + far, y + far), (x - far, y + far)


def _shelf(x: float, y: float, color: Color) -> list[Shape]:
    return [
        Box((x + 0.08, y + 0.08), (x + 0.92, y + 0.92), color, color.mixed(INK, 0.3), 0.04, 0.06),
        Line(((x + 0.08, y + 0.5), (x + 0.92, y + 0.5)), color.mixed(INK, 0.3), 0.03),
        Line(((x + 0.5, y + 0.08), (x + 0.5, y + 0.92)), color.mixed(INK, 0.3), 0.03),
    ]


def _robot(moment: Moment, i: int, floor: Array) -> list[Shape]:
    """A disc with a wedge, and a frame where it carries: of its colour, green where it has just handed over."""
    at = spot(moment, i).at
    dx, dy = AHEAD[int(moment.arrays["direction"][i])]
    carries = bool(moment.arrays["carrying"][i])
    column, row = (int(c) for c in moment.arrays["position"][i])
    under = not carries and floor[row, column] != FREE
    radius = 0.3 if carries or under else 0.36
    color = _color(i)
    shapes: list[Shape] = []
    if carries:
        handed = bool(moment.step > 0 and moment.arrays["idle"] == 0 and floor[row, column] != REQUESTED)
        goals = layout.of(moment.spec.options).goals
        frame = GREEN if handed and (column, row) in goals else color
        shapes.append(Box((at[0] - 0.5, at[1] - 0.5), (at[0] + 0.5, at[1] + 0.5), None, frame, 0.1, 0.1))
    tip = (at[0] + 1.6 * radius * dx, at[1] + 1.6 * radius * dy)
    side = (-dy * 0.85 * radius, dx * 0.85 * radius)
    middle = (at[0] + 0.6 * radius * dx, at[1] + 0.6 * radius * dy)
    wedge = (tip, (middle[0] + side[0], middle[1] + side[1]), (middle[0] - side[0], middle[1] - side[1]))
    shapes += [
        Polygon(wedge, INK),
        Circle(at, radius, color, WHITE, 0.04),
        Text(at, str(i), 1.1 * radius, WHITE, bold=True),
    ]
    return shapes


def _trails(moment: Moment) -> list[Shape]:
    """Where each robot was in the last steps."""
    before = np.asarray(moment.past.get("position", np.zeros((0, len(moment.agents), 2))))
    path = [*before, np.asarray(moment.arrays["position"])]
    shapes: list[Shape] = []
    for row in moment.agents:
        for k in range(len(path) - 1):
            ends = tuple(_center(path[t][row.place]) for t in (k, k + 1))
            if ends[0] != ends[1]:
                shade = (FAINT_INK if len(moment.agents) > 12 else _color(row.place)).faded(0.15 + 0.5 * k / len(path))
                shapes.append(Line(ends, shade, 0.1))
    return shapes


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Who lifts a shelf that is asked for, and who hands one over."""
    goals = set(layout.of(spec.options).goals)
    marks = []
    for t in range(1, len(frames["idle"])):
        for i, (x, y) in enumerate(frames["position"][t].tolist()):
            old_x, old_y = frames["position"][t - 1][i]
            was_asked = frames["floor"][t - 1][old_y, old_x] == REQUESTED
            carried, carries = bool(frames["carrying"][t - 1][i]), bool(frames["carrying"][t][i])
            if carries and not carried and was_asked:
                marks.append(Mark(t, f"{spec.agents[i]} lifts", "end"))
            if carried and was_asked and (x, y) in goals and frames["floor"][t][y, x] != REQUESTED:
                marks.append(Mark(t, f"{spec.agents[i]} hands over", "good"))
    return marks


DRAWING = Drawing(view, draw, actions, events, spot, sight)
