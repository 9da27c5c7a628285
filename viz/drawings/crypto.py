"""Crypto: who knows, says and hears what, as a diagram; positions mean nothing in this game."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from environments.spec import EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.drawings.particle import actions
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
    Arrow,
    Box,
    Circle,
    Color,
    LegendEntry,
    Point,
    Scene,
    Shape,
    Text,
    View,
)
from viz.teams import team_color

PLACES: dict[str, Point] = {"alice_0": (-0.85, 0.35), "bob_0": (0.85, 0.35), "eve_0": (0.0, -0.75)}
CELL = 0.13


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """A fixed square."""
    return View(-1.5, -1.5, 1.5, 1.5)


def _cells(at: Point, loudness: Array, label: str, color: Color) -> list[Shape]:
    """A row of cells, one per word, the louder the darker."""
    count = len(loudness)
    left = at[0] - count * CELL / 2
    shapes: list[Shape] = [Text((at[0], at[1] + CELL * 0.95), label, 0.075, SOFT_INK)]
    for k, loud in enumerate(np.clip(loudness, 0, 1)):
        x = left + k * CELL
        strength = float(loud) if np.isfinite(loud) else 0.0
        fill = GRID.mixed(color, strength)
        shapes.append(
            Box((x + 0.01, at[1] - CELL / 2 + 0.01), (x + CELL - 0.01, at[1] + CELL / 2 - 0.01), fill, radius=0.02)
        )
        shapes.append(Text((x + CELL / 2, at[1]), chr(65 + k), 0.07, WHITE if strength > 0.5 else SOFT_INK))
    return shapes


def _one_hot(word: int, count: int) -> Array:
    cells: Array = (np.arange(count) == word).astype(np.float32)
    return cells


def draw(moment: Moment, view: View) -> Scene:
    """Alice's message goes to Bob under a shared key; Eve listens in. A ring tells who named the message."""
    said = moment.arrays["communication"]
    message, key = int(moment.arrays["goal"]), int(moment.arrays["key"])
    words = said.shape[1]
    (ax, ay), (bx, by), (ex, ey) = PLACES["alice_0"], PLACES["bob_0"], PLACES["eve_0"]
    shapes: list[Shape] = [
        Box((-1.35, -0.2), (1.35, 1.25), PANEL, EDGE, 0.008, 0.06),
        Arrow((ax + 0.28, ay), (bx - 0.3, by), SOFT_INK.faded(0.8), 0.016),
        Arrow((0, ay - 0.12), (ex, ey + 0.28), RED.faded(0.6), 0.012),
        *_cells((ax, 0.95), _one_hot(message, words), "message", OBJECT_COLORS[3]),
        *_cells((0, 0.95), _one_hot(key, words), "shared key", OBJECT_COLORS[4]),
    ]
    for row in moment.agents:
        x, y = PLACES[row.name]
        color = team_color(moment.spec, row.team)
        own = said[row.place]
        spoke = bool((own > 0).any())
        right = spoke and int(np.argmax(own)) == message and row.name != "alice_0"
        shapes.append(Circle((x, y), 0.18, color, WHITE, 0.016))
        shapes.append(Text((x, y), row.name[0].upper(), 0.18, WHITE, bold=True))
        if moment.step > 0 and row.name != "alice_0":
            shapes.append(Circle((x, y), 0.23, None, GREEN if right else EDGE, 0.026))
        where = (0.0, ay + 0.13) if row.name == "alice_0" else (x, y - 0.43)
        what = "says" if row.name == "alice_0" else "takes it for"
        shapes += _cells(where, own, what if spoke or moment.step == 0 else "is silent", color)
    shapes.append(Text((ax, ay - 0.28), "Alice", 0.08, INK))
    shapes.append(Text((bx, by + 0.3), "Bob", 0.08, INK))
    shapes.append(Text((ex + 0.42, ey), "Eve", 0.08, INK))
    return Scene(view, shapes, legend=(LegendEntry("named the message", GREEN),))


def spot(moment: Moment, place: int) -> Spot:
    """The player's disc."""
    return Spot(PLACES[moment.spec.agents[place]], 0.18)


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Steps at which Eve names the message."""
    said = frames["communication"][1:, spec.agents.index("eve_0")]
    named = (said.argmax(axis=1) == frames["goal"][1:]) & (said > 0).any(axis=1)
    return [Mark(int(t) + 1, "Eve names the message", "bad") for t in np.nonzero(named)[0]]


DRAWING = Drawing(view, draw, actions, events, spot)
