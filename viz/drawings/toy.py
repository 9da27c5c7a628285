"""The toy games: a line of cells, carts on a rail, a board of nine, two rows that face one another."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.drawings.board import pick_of_nine
from viz.moment import AgentRow, Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    FAINT_INK,
    GOLD,
    GREEN,
    GRID,
    INK,
    PANEL,
    SOFT_INK,
    WHITE,
    Arrow,
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
from viz.teams import team_color, team_colors


def _token(at: Point, radius: float, color: Color, label: str) -> list[Shape]:
    return [
        Circle((at[0] + 0.05 * radius, at[1] - 0.1 * radius), radius, INK.faded(0.12)),
        Circle(at, radius, color, WHITE, radius * 0.1),
        Text(at, label, radius * 1.05, WHITE, bold=True),
    ]


def _color(moment: Moment, row: AgentRow) -> Color:
    return team_color(moment.spec, row.team)


def _begins(flags: Array) -> list[int]:
    """Frames at which a flag becomes True."""
    return [int(t) + 1 for t in np.flatnonzero(flags[1:] & ~flags[:-1])]


def _numbered(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    space = group.action_space
    assert isinstance(space, spaces.Discrete)
    return (tuple(str(k) for k in range(int(space.n))),)


def _meet_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    cells, agents = int(spec.options["cells"]), int(spec.options["agents"])
    return View(-0.6, -0.8, cells - 0.4, 0.6 + agents)


def _meet(moment: Moment, view: View) -> Scene:
    """A line of cells; walkers in one cell stand on one another's shoulders."""
    cells = int(moment.spec.options["cells"])
    standing = [0] * cells
    met = len(set(moment.arrays["cell"].tolist())) == 1
    shapes: list[Shape] = []
    for c in range(cells):
        shapes.append(Box((c - 0.46, -0.5), (c + 0.46, 0.42), PANEL, EDGE, 0.02, 0.08))
        shapes.append(Text((c, -0.64), str(c), 0.16, FAINT_INK))
    for row in moment.agents:
        c = int(moment.arrays["cell"][row.place])
        color = GREEN if met else _color(moment, row)
        shapes += _token((c, 0.78 * standing[c] - 0.03), 0.34, color, row.name.rpartition("_")[2])
        standing[c] += 1
    return Scene(view, shapes, legend=(LegendEntry("all met", GREEN),))


def _meet_events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """All in one cell."""
    cell = np.asarray(frames["cell"])
    return [Mark(t, "all met", "good") for t in _begins((cell == cell[:, :1]).all(1))]


def _meet_actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    return (("stay", "left", "right"),)


def _dock_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    places = np.abs(np.concatenate([np.ravel(arrays["position"]), np.ravel(arrays["berth"])]))
    reach = max(1.4, min(6.0, float(places[np.isfinite(places)].max(initial=0.0)) + 0.3))
    return View(-reach, -0.3 * int(spec.options["carts"]) - 0.1, reach, 0.3)


def _dock(moment: Moment, view: View) -> Scene:
    """One rail per cart, its berth as a bracket, an arrow for its speed."""
    shapes: list[Shape] = []
    for row in moment.agents:
        i, y = row.place, -0.3 * row.place
        x, berth = _dock_spot(moment, i).at[0], float(moment.arrays["berth"][i])
        speed = float(moment.arrays["velocity"][i])
        docked = abs(x - berth) < 0.1
        shapes += [
            Line(((view.left * 3, y - 0.08), (view.right * 3, y - 0.08)), GRID, 0.012),
            Box((berth - 0.13, y - 0.1), (berth + 0.13, y + 0.12), (GREEN if docked else GOLD).faded(0.22)),
            Line(((berth, y - 0.1), (berth, y + 0.12)), GREEN if docked else GOLD, 0.012),
            Box((x - 0.09, y - 0.06), (x + 0.09, y + 0.06), _color(moment, row), WHITE, 0.01, 0.02),
            Text((x, y), str(i), 0.08, WHITE, bold=True),
        ]
        if abs(speed) > 0.02:
            shapes.append(
                Arrow((x, y + 0.1), (x + 0.3 * math.copysign(min(abs(speed), 3), speed), y + 0.1), INK, 0.012)
            )
    return Scene(view, shapes, legend=(LegendEntry("berth", GOLD), LegendEntry("docked", GREEN)))


def _dock_spot(moment: Moment, place: int) -> Spot:
    return Spot((float(moment.smooth("position")[place]), -0.3 * place), 0.1)


def _dock_events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """A cart comes into its berth."""
    docked = np.abs(np.asarray(frames["position"]) - frames["berth"]) < 0.1
    return [Mark(t, f"{agent} docks", "good") for i, agent in enumerate(spec.agents) for t in _begins(docked[:, i])]


def _dock_actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    return (("thrust", "brake"),)


def _noughts_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    return View(-0.3, -0.3, 3.3, 3.3)


def _noughts(moment: Moment, view: View) -> Scene:
    """The board; cell 0 is at the top left, `player_0` plays crosses."""
    first, second = team_colors(moment.spec)
    shapes: list[Shape] = [Box((0, 0), (3, 3), PANEL, None, 0, 0.06)]
    for i in (1, 2):
        shapes += [Line(((i, 0.1), (i, 2.9)), EDGE, 0.04), Line(((0.1, i), (2.9, i)), EDGE, 0.04)]
    for cell, mark in enumerate(moment.arrays["board"].tolist()):
        x, y = cell % 3 + 0.5, 2.5 - cell // 3
        if mark == 0:
            shapes += [
                Line(((x - 0.26, y - 0.26), (x + 0.26, y + 0.26)), first, 0.1),
                Line(((x - 0.26, y + 0.26), (x + 0.26, y - 0.26)), first, 0.1),
            ]
        elif mark == 1:
            shapes.append(Circle((x, y), 0.26, None, second, 0.1))
        else:
            shapes.append(Text((x, y), str(cell), 0.16, FAINT_INK.faded(0.8)))
    return Scene(view, shapes)


LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def _noughts_events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Who wins."""
    board = np.asarray(frames["board"])
    return [
        Mark(t, f"player_{player} wins", "good")
        for player in (0, 1)
        for t in _begins((board[:, np.asarray(LINES)] == player).all(2).any(1))
    ]


MOST_UNITS = 20
"""Of energy that are drawn: a recorded number may be anything."""


def _siege_view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    wide = max(int(spec.options["guards"]), int(spec.options["raiders"]))
    return View(-0.8, -0.9, max(wide, 3) - 0.2, 3.2)


def _siege(moment: Moment, view: View) -> Scene:
    """Raiders above, guards below with their energy; the fallen are crossed out, the absent are outlines."""
    guards = int(moment.spec.options["guards"])
    stands, present, energy = (moment.arrays[name] for name in ("stands", "present", "energy"))
    hit = moment.arrays["hit"]
    shapes: list[Shape] = [Line(((view.left - 9, 1.3), (view.right + 9, 1.3)), GRID, 0.03)]
    for row in moment.agents:
        is_guard = row.place < guards
        n = row.place if is_guard else row.place - guards
        at = _siege_spot(moment, row.place).at
        if is_guard and not present[n]:
            shapes.append(Circle(at, 0.3, None, EDGE, 0.02))
            continue
        alive = bool(stands[row.place])
        shapes += _token(at, 0.3, _color(moment, row) if alive else FAINT_INK, str(n))
        if not alive:
            shapes.append(Line(((at[0] - 0.28, at[1] - 0.28), (at[0] + 0.28, at[1] + 0.28)), SOFT_INK, 0.05))
        if hit[row.place]:
            shapes.append(Circle(at, 0.4, None, GOLD, 0.04))
        for unit in range(min(int(energy[n]), MOST_UNITS) if is_guard and alive else 0):
            shapes.append(Box((at[0] - 0.25 + 0.18 * unit, -0.36), (at[0] - 0.11 + 0.18 * unit, -0.28), GOLD))
    return Scene(view, shapes, legend=(LegendEntry("energy, hit now", GOLD),))


def _siege_spot(moment: Moment, place: int) -> Spot:
    guards = int(moment.spec.options["guards"])
    n, count = (place, guards) if place < guards else (place - guards, len(moment.agents) - guards)
    view = _siege_view(moment.spec, moment.arrays)
    return Spot(((view.left + view.right) / 2 + n - (count - 1) / 2, 0.2 if place < guards else 2.4), 0.3)


def _siege_actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    if group.name == "guard":
        return ("rest", "charge"), tuple(f"at {r}" for r in range(int(spec.options["raiders"])))
    return (("wait", *(f"hit {g}" for g in range(int(spec.options["guards"])))),)


def _siege_events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Who falls."""
    return [
        Mark(int(t) + 1, f"{spec.agents[i]} falls", "bad") for t, i in zip(*np.nonzero(frames["hit"][1:]), strict=True)
    ]


MEET = Drawing(_meet_view, _meet, _meet_actions, _meet_events)
DOCK = Drawing(_dock_view, _dock, _dock_actions, _dock_events, _dock_spot)
NOUGHTS = Drawing(_noughts_view, _noughts, _numbered, _noughts_events, pick=pick_of_nine)
SIEGE = Drawing(_siege_view, _siege, _siege_actions, _siege_events, _siege_spot)
