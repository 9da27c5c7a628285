"""Games of memory: what each agent was shown, how long ago, what it says, and whether that is right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import AgentRow, Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    FAINT_INK,
    GREEN,
    GRID,
    PANEL,
    RED,
    SOFT_INK,
    WHITE,
    Box,
    Bubble,
    Circle,
    LegendEntry,
    Line,
    Point,
    Scene,
    Shape,
    Text,
    View,
)
from viz.teams import team_color

LETTERS = "ABCDEFGHIJKLMNOP"
HIGH, WIDE = 1.5, 8.0
"""Of an agent's row."""
CARD, FACE, TRACK = 1.0, 2.6, (3.9, 7.7)
"""Where the card with the sign, the agent and its way through the episode are, across."""


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """A row for every agent, the vertical axis pointing down."""
    return View(0, HIGH * len(spec.agents) + 0.5, WIDE, 0)


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """The signs by letter."""
    return (tuple(LETTERS[: int(spec.options["signs"])]),)


def draw(moment: Moment, view: View) -> Scene:
    """A card that lies open for one step, a face that says something, a bead on its way to the question."""
    waited, delay = int(moment.arrays["waited"]), int(moment.spec.options["delay"])
    if np.asarray(moment.arrays["sign"]).shape != (len(moment.agents),) or not 0 <= waited <= delay + 1:
        raise ValueError(f"signs {np.asarray(moment.arrays['sign']).shape}, step {waited}")
    shapes: list[Shape] = []
    for row in moment.agents:
        shapes += _row(moment, row, waited, delay)
    y = HIGH * len(moment.agents) + 0.15
    shapes.append(Text((TRACK[0], y), "shown", 0.2, FAINT_INK))
    shapes.append(Text((TRACK[1], y), "asked", 0.2, FAINT_INK, "right"))
    return Scene(view, shapes, legend=(LegendEntry("right", GREEN), LegendEntry("wrong", RED)))


def spot(moment: Moment, place: int) -> Spot:
    """The agent's face."""
    return Spot((FACE, _middle(place)), 0.42)


def _middle(place: int) -> float:
    return HIGH * (place + 0.5)


def _row(moment: Moment, row: AgentRow, waited: int, delay: int) -> list[Shape]:
    i, y, color = row.place, _middle(row.place), team_color(moment.spec, row.team)
    sign, said = int(moment.arrays["sign"][i]), int(moment.arrays["said"][i])
    opened, answered = waited == 0, waited > delay
    verdict = (GREEN if sign == said else RED) if answered else None
    shapes: list[Shape] = [
        Box((CARD - 0.4, y - 0.5), (CARD + 0.4, y + 0.5), WHITE if opened or answered else PANEL, EDGE, 0.03, 0.1),
        Text((CARD, y), LETTERS[sign], 0.6 if opened else 0.4, color if opened or answered else FAINT_INK, bold=True),
        Circle((FACE, y), 0.42, color, verdict or WHITE, 0.09),
        Text((FACE, y), str(i), 0.4, WHITE, bold=True),
        Line(((TRACK[0], y + 0.35), (TRACK[1], y + 0.35)), GRID, 0.05),
    ]
    share = min(1.0, (waited + (moment.share if waited < delay else 0.0)) / delay)
    bead: Point = (TRACK[0] + share * (TRACK[1] - TRACK[0]), y + 0.35)
    shapes.append(Circle(bead, 0.13, verdict or color, WHITE, 0.03))
    if said >= 0:
        shapes.append(Bubble((FACE + 0.5, y - 0.3), LETTERS[said], 0.3, verdict or SOFT_INK))
    return shapes


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Who was right in the end."""
    marks: list[Mark] = []
    for t in np.flatnonzero(np.asarray(frames["waited"]) > int(spec.options["delay"])).tolist():
        right = np.asarray(frames["sign"])[t] == np.asarray(frames["said"])[t]
        for name, ok in zip(spec.agents, right, strict=True):
            marks.append(Mark(t, f"{name} is right" if ok else f"{name} is wrong", "good" if ok else "bad"))
    return marks


DRAWING = Drawing(view, draw, actions, events, spot)
