"""The skirmish family: units as discs with bars for health and shield, what they see, whom they strike or heal.

Sizes and ranges are those of the table of units; only named state arrays are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from environments.games.skirmish.units import UNITS, Roster, Unit
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot, round_sight
from viz.moment import Moment
from viz.page import Mark
from viz.scene import (
    BLUE,
    EDGE,
    FAINT_INK,
    GOLD,
    GREEN,
    GRID,
    INK,
    PANEL,
    RED,
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

WIDTH, HEIGHT = 12.0, 9.0  # half of the plane
MARGIN = 1.1
LEAP = 4.0
"""Further than any unit goes in one step."""
MOVES = ("stop", "forward", "back", "up", "down")
LETTERS = {
    "marine": "m",
    "marauder": "r",
    "medivac": "+",
    "stalker": "s",
    "zealot": "z",
    "colossus": "c",
    "zergling": "g",
    "hydralisk": "h",
}
SHIELD = Color(35, 158, 178)
SIDES = (BLUE, RED)


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """The whole plane."""
    return View(-WIDTH - MARGIN, -HEIGHT - MARGIN, WIDTH + MARGIN, HEIGHT + MARGIN)


def draw(moment: Moment, view: View) -> Scene:
    """Plane, sight of those who act, strikes of the last step, units with their bars; crosses where units fell."""
    roster, names = _units(moment)
    units = [UNITS[name] for name in names]
    allies = len(roster.allies)
    shapes: list[Shape] = [Box((-WIDTH, -HEIGHT), (WIDTH, HEIGHT), PANEL, EDGE, 0.06, 0.2)]
    shapes += [Line(((x, -HEIGHT), (x, HEIGHT)), GRID, 0.02) for x in np.arange(3 - WIDTH, WIDTH, 3).tolist()]
    shapes += [Line(((-WIDTH, y), (WIDTH, y)), GRID, 0.02) for y in np.arange(3 - HEIGHT, HEIGHT, 3).tolist()]
    for row in moment.agents:
        if row.acting:
            at, color = _place(moment, row.place), SIDES[row.place >= allies]
            shapes.append(Circle(at, units[row.place].sight, None, color.faded(0.18), 0.03))
    shapes += _strikes(moment, units, allies)
    for i, (unit, name) in enumerate(zip(units, names, strict=True)):
        shapes += _unit(moment, i, unit, name, SIDES[i >= allies])
    legend = (LegendEntry("ally", BLUE), LegendEntry("enemy", RED), LegendEntry("health", GREEN))
    return Scene(view, shapes, legend=legend + ((LegendEntry("shield", SHIELD),) if roster.shielded else ()))


def _place(moment: Moment, i: int) -> Point:
    """Where a unit is, on its way between two frames."""
    return float(moment.smooth("x", LEAP)[i]), float(moment.smooth("y", LEAP)[i])


def _units(moment: Moment) -> tuple[Roster, list[str]]:
    """The two sides, and the name of every unit's type."""
    roster = Roster.of(moment.spec.options)
    return roster, [roster.types[min(int(kind), len(roster.types) - 1)] for kind in moment.arrays["kind"]]


def spot(moment: Moment, place: int) -> Spot:
    """The unit's disc."""
    return Spot(_place(moment, place), UNITS[_units(moment)[1][place]].radius)


def sight(moment: Moment, place: int) -> tuple[Point, ...]:
    """A disc around a unit that stands; who has fallen sees nothing."""
    far = UNITS[_units(moment)[1][place]].sight if moment.arrays["health"][place] > 0 else 0.01
    return round_sight(_place(moment, place), far)


def _unit(moment: Moment, i: int, unit: Unit, name: str, color: Color) -> list[Shape]:
    arrays = moment.arrays
    x, y = _place(moment, i)
    r = unit.radius
    health = float(arrays["health"][i])
    if health <= 0:
        cross = [Line(((x - r, y - s * r), (x + r, y + s * r)), color.mixed(FAINT_INK, 0.6), 0.09) for s in (1, -1)]
        return list[Shape](cross)
    body = color.mixed(WHITE, 0.06)
    shapes: list[Shape] = [
        Circle((x + 0.06, y - 0.09), r, INK.faded(0.14)),
        Circle((x, y), r, body, GOLD if arrays["hurt"][i] > 0 else WHITE, 0.09),
        Text((x, y), LETTERS[name], 1.15 * r, WHITE, bold=True),
    ]
    shapes += _bar((x, y + r + 0.24), health / unit.health, GREEN if health > 0.35 * unit.health else GOLD)
    if unit.shield:
        shapes += _bar((x, y + r + 0.44), float(arrays["shield"][i]) / unit.shield, SHIELD)
    return shapes


def _bar(at: Point, share: float, color: Color) -> list[Shape]:
    left, right = at[0] - 0.5, at[0] + 0.5
    filled = left + min(max(share, 0.0), 1.0)
    return [
        Box((left, at[1] - 0.08), (right, at[1] + 0.08), EDGE),
        Box((left, at[1] - 0.08), (filled, at[1] + 0.08), color),
    ]


def _strikes(moment: Moment, units: list[Unit], allies: int) -> list[Shape]:
    """A line from everybody who struck or healed in the last step: its cooldown has just begun, its target felt it."""
    arrays = moment.arrays
    shapes: list[Shape] = []
    for i, unit in enumerate(units):
        place = int(arrays["order"][i]) - len(MOVES)
        if place < 0:
            continue
        heals = unit.heal > 0
        first = 0 if (i < allies) == heals else allies
        target = first + place + (heals and first + place >= i)
        felt = arrays["mended" if heals else "hurt"]
        if target < len(units) and felt[target] > 0 and float(arrays["cooldown"][i]) >= unit.cooldown - 1:
            color = GREEN if heals else SIDES[i >= allies].mixed(GOLD, 0.35)
            start, end = _place(moment, i), _place(moment, target)
            length = math.dist(start, end)
            if 0 < length < 100:
                shapes.append(Line((start, end), color.faded(0.75), 0.08))
    return shapes


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """Moves, then whom to strike (or, for who heals, which of its friends to heal)."""
    places = Roster.of(spec.options).places
    return ((*MOVES, *(f"aim at {k}" for k in range(places))),)


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Who falls, and when nobody of a side is left."""
    allies = len(Roster.of(spec.options).allies)
    stands = frames["health"] > 0
    marks = []
    for t, i in zip(*np.nonzero(stands[:-1] & ~stands[1:]), strict=True):
        name = f"ally_{i}" if i < allies else f"enemy_{i - allies}"
        marks.append(Mark(int(t) + 1, f"{name} falls", "bad" if i < allies else "good"))
    return marks + _wins(np.any(stands[:, :allies], 1), np.any(stands[:, allies:], 1))


def _wins(allies: Array, enemies: Array) -> list[Mark]:
    """When nobody is left of one side alone; `[T + 1]` bool: somebody of each side stands."""
    marks = []
    for own, other, name, tone in ((allies, enemies, "allies", "good"), (enemies, allies, "enemies", "bad")):
        won = other[:-1] & ~other[1:] & own[1:]
        marks += [Mark(int(t) + 1, f"{name} win", tone) for t in np.flatnonzero(won)]
    return marks


DRAWING = Drawing(view, draw, actions, events, spot, sight)
