"""Level-based foraging: a field of cells, food with its level, players with theirs, and who loads with whom.

Who loads is ringed and joined to the food beside it: green where it has just been loaded, grey where that was in vain.
With a limited sight, the cells in which a player sees food lie in a frame of its colour.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import Moment
from viz.page import Mark
from viz.scene import (
    GREEN,
    GRID,
    INK,
    PANEL,
    RED,
    SOFT_INK,
    TEAM_COLORS,
    WHITE,
    Box,
    Circle,
    Color,
    LegendEntry,
    Line,
    Point,
    Scene,
    Shape,
    Text,
    View,
)

ACTIONS = ("none", "north", "south", "west", "east", "load")
LOAD = ACTIONS.index("load")
APPLE = Color(214, 72, 72)
MOST_LINES = 60
"""Rows or columns beyond which no lines are drawn between them."""
RADIUS = 0.34


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """The whole field, row 0 at the top."""
    rows, columns = _size(spec)
    return View(-0.25, rows + 0.25, columns + 0.25, -0.25)


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """The one choice that there is."""
    return (ACTIONS,)


def draw(moment: Moment, view: View) -> Scene:
    """Field, food, players."""
    rows, columns = _size(moment.spec)
    shapes: list[Shape] = [Box((0, 0), (columns, rows), PANEL, GRID, 0.04, 0.06)]
    if max(rows, columns) <= MOST_LINES:
        shapes += [Line(((0, r), (columns, r)), GRID, 0.02) for r in range(1, rows)]
        shapes += [Line(((c, 0), (c, rows)), GRID, 0.02) for c in range(1, columns)]
    shapes += [*_sights(moment, rows, columns), *_loading(moment), *_food(moment), *_players(moment)]
    told = (LegendEntry("food and its level", APPLE), LegendEntry("loaded", GREEN), LegendEntry("in vain", SOFT_INK))
    return Scene(view, shapes, legend=told)


def _size(spec: EnvSpec) -> tuple[int, int]:
    return int(spec.options["rows"]), int(spec.options["columns"])


def _center(place: Array) -> Point:
    """Middle of a cell (row, column)."""
    return float(place[1]) + 0.5, float(place[0]) + 0.5


def _color(i: int) -> Color:
    """Players are one team: what tells them apart is a colour each (food has the red)."""
    known = [color for color in TEAM_COLORS if color not in (RED, GREEN)]
    return known[i % len(known)]


def _before(moment: Moment) -> Array:
    """Levels of the food one step earlier; those of now where that is not known."""
    past = moment.past.get("food_level")
    levels = np.asarray(moment.arrays["food_level"])
    return levels if past is None or not len(past) else np.asarray(past[-1])


def _sights(moment: Moment, rows: int, columns: int) -> list[Shape]:
    frames = [_frame(moment, i, rows, columns) for i in range(len(moment.agents))]
    return [
        Box(*frame, _color(i).faded(0.06), _color(i).faded(0.45), 0.03, 0.12) for i, frame in enumerate(frames) if frame
    ]


def _frame(moment: Moment, i: int, rows: int, columns: int) -> tuple[Point, Point] | None:
    """Two corners of what a player sees; None where that is everything."""
    sight = moment.spec.options["sight"]
    if sight is None or int(sight) >= max(rows, columns):
        return None
    row, column = _at(moment, i)
    near = (max(column - sight, 0) + 0.05, max(row - sight, 0) + 0.05)
    return near, (min(column + sight + 1, columns) - 0.05, min(row + sight + 1, rows) - 0.05)


def _at(moment: Moment, i: int) -> Point:
    """Row and column of a player, on its way between two frames."""
    row, column = moment.smooth("player_position")[i]
    return float(row), float(column)


def spot(moment: Moment, place: int) -> Spot:
    """The player's token."""
    return Spot(_center(np.asarray(_at(moment, place))), RADIUS)


def sight(moment: Moment, place: int) -> tuple[Point, ...]:
    """The square of cells that a player sees."""
    frame = _frame(moment, place, *_size(moment.spec))
    if frame is None:
        return ()
    (left, top), (right, bottom) = frame
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _loading(moment: Moment) -> list[Shape]:
    """A line from everybody who loads to the food beside it."""
    before, now = _before(moment), np.asarray(moment.arrays["food_level"])
    food = np.asarray(moment.arrays["food_position"])
    shapes: list[Shape] = []
    for place, action in zip(moment.arrays["player_position"], moment.arrays["action"], strict=True):
        if action != LOAD:
            continue
        for f in np.flatnonzero(before):
            if np.abs(food[f] - place).sum() == 1:
                color = SOFT_INK if now[f] else GREEN
                shapes.append(Line((_center(place), _center(food[f])), color.faded(0.7), 0.12))
                shapes.append(Circle(_center(place), RADIUS + 0.09, color.faded(0.35)))
    return shapes


def _food(moment: Moment) -> list[Shape]:
    """Apples; those just loaded as an empty ring."""
    before = _before(moment)
    shapes: list[Shape] = []
    for f, (place, level) in enumerate(
        zip(moment.arrays["food_position"], moment.arrays["food_level"].tolist(), strict=True)
    ):
        x, y = _center(place)
        if level > 0:
            stalk = Line(((x + 0.02, y - 0.2), (x + 0.1, y - 0.38)), GREEN.mixed(INK, 0.4), 0.06)
            shapes += [stalk, Circle((x, y + 0.03), 0.3, APPLE, WHITE, 0.03)]
            shapes.append(Text((x, y + 0.04), str(level), 0.3, WHITE, bold=True, max_width=0.55))
        elif before[f]:
            shapes.append(Circle((x, y + 0.03), 0.3, GREEN.faded(0.15), GREEN, 0.04))
    return shapes


def _players(moment: Moment) -> list[Shape]:
    """Tokens with levels and small numbers; players in one cell stand a little apart."""
    places = [tuple(place) for place in np.asarray(moment.arrays["player_position"]).tolist()]
    shapes: list[Shape] = []
    for row in moment.agents:
        i = row.place
        together = [j for j, place in enumerate(places) if place == places[i]]
        shift = 0.22 * (together.index(i) - (len(together) - 1) / 2)
        radius = RADIUS if len(together) == 1 else 0.24
        x, y = _center(np.asarray(_at(moment, i)))
        at = (x + shift, y + 0.5 * shift)
        number = row.name.rpartition("_")[2]
        shapes += [
            Box((at[0] - radius, at[1] - radius), (at[0] + radius, at[1] + radius), _color(i), WHITE, 0.04, 0.12),
            Text((at[0], at[1] + 0.05), str(int(moment.arrays["player_level"][i])), radius, WHITE, bold=True),
            Text((at[0] - 0.62 * radius, at[1] - 0.62 * radius), number, 0.42 * radius, WHITE.mixed(SOFT_INK, 0.1)),
        ]
    return shapes


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Food that is loaded, and who did it."""
    marks = []
    levels, actions, places = (np.asarray(frames[name]) for name in ("food_level", "action", "player_position"))
    for t, f in zip(*np.nonzero((levels[:-1] > 0) & (levels[1:] == 0)), strict=True):
        beside = np.abs(places[t + 1] - frames["food_position"][t, f]).sum(-1) == 1
        who = np.flatnonzero(beside & (actions[t + 1] == LOAD))
        names = " and ".join(spec.agents[i] for i in who)
        marks.append(Mark(int(t) + 1, f"{names} loaded food of level {levels[t, f]}"))
    return marks


DRAWING = Drawing(view, draw, actions, events, spot, sight)
