"""Pages: several scenes side by side, in pixels. What is shown where, as plain data; `viz.screen.raster` paints it.

`board_page` is a picture of the environment with a title and scores, for images and films; the viewer's page holds
more (`viz.viewer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from viz.letters import width_of
from viz.moment import Moment
from viz.scene import (
    EDGE,
    GOLD,
    GREEN,
    INK,
    PANEL,
    RED,
    SOFT_INK,
    Box,
    Circle,
    Color,
    Line,
    Scene,
    Shape,
    Text,
    View,
)
from viz.teams import team_color

HEADER = 52
FOOTER = 46
EVENT_COLORS = {"good": GREEN, "bad": RED, "end": INK, "difference": GOLD}


class Pane(NamedTuple):
    """A scene and the rectangle of pixels that it fills."""

    x: int
    y: int
    width: int
    height: int
    scene: Scene


class Mark(NamedTuple):
    """Something on the time line."""

    frame: int
    name: str
    tone: str = "good"
    """A key of `EVENT_COLORS`."""


def pixels(width: int, height: int, shapes: Sequence[Shape], background: Color = PANEL) -> Scene:
    """A scene whose units are pixels, with the vertical axis pointing down."""
    return Scene(View(0, height, width, 0), shapes, background)


def board_page(moment: Moment, scene: Scene, width: int, height: int) -> list[Pane]:
    """Title, board, and a legend with the teams' scores."""
    body = height - HEADER - FOOTER
    return [
        Pane(0, 0, width, HEADER, header(moment, width)),
        Pane(0, HEADER, width, body, scene),
        Pane(0, height - FOOTER, width, FOOTER, footer(moment, scene, width)),
    ]


def header(moment: Moment, width: int, note: str = "") -> Scene:
    """Name of what is played, step counter, and a thin bar of the episode's progress."""
    steps = f" / {moment.steps}" if moment.steps else ""
    shapes: list[Shape] = [
        Text((18, 25), moment.title, 18, INK, "left", True, width * 0.5),
        Text((width - 18, 25), f"step {moment.step}{steps}", 15, SOFT_INK, "right"),
    ]
    if note:
        shapes.append(Text((width / 2 + 60, 25), note, 13, SOFT_INK, "center", False, width * 0.34))
    shapes.append(Box((0, HEADER - 3), (width, HEADER), EDGE.faded(0.55)))
    if moment.steps:
        shapes.append(Box((0, HEADER - 3), (width * min(1.0, moment.step / moment.steps), HEADER), INK.faded(0.7)))
    return pixels(width, HEADER, shapes)


def footer(moment: Moment, scene: Scene, width: int, title: str = "") -> Scene:
    """Teams with their policies and returns on the left, the drawing's legend on the right, as far as there is room."""
    shapes: list[Shape] = [Line(((0, 0.5), (width, 0.5)), EDGE, 1)]
    x = 18.0
    middle = FOOTER / 2
    if title:
        shapes.append(Text((x, middle), title, 13, SOFT_INK, "left", True, width * 0.24))
        x += min(width * 0.24, width_of(title, 13, True)) + 14
    names = moment.spec.team_names
    scores = [f"{score:+z.1f}" for score in moment.scores]
    policies = moment.policies or ("",) * len(scores)
    score_at = [19 + width_of(name, 14) + 7 for name in names]
    policy_at = [at + width_of(score, 14, True) + 10 for at, score in zip(score_at, scores, strict=True)]
    ends = [at + (width_of(who, 12) + 22 if who else 12) for at, who in zip(policy_at, policies, strict=True)]
    if x + sum(ends) > width:
        policies, ends = ("",) * len(scores), [at + 12 for at in policy_at]
    for team, name in enumerate(names):
        if x + ends[team] > width:
            shapes.append(Text((x, middle), "…", 15, SOFT_INK, "left"))
            return pixels(width, FOOTER, shapes)
        shapes.append(Circle((x + 6, middle), 6, team_color(moment.spec, team)))
        shapes.append(Text((x + 19, middle), name, 14, INK, "left"))
        shapes.append(Text((x + score_at[team], middle), scores[team], 14, INK, "left", True))
        shapes.append(Text((x + policy_at[team], middle), policies[team], 12, SOFT_INK, "left"))
        x += ends[team]
    right = width - 18.0
    for entry in reversed(scene.legend):
        start = right - width_of(entry.name, 13)
        if start - 22 < x:
            break
        shapes.append(Text((start, middle), entry.name, 13, SOFT_INK, "left"))
        shapes.append(Circle((start - 12, middle), 5, entry.color, EDGE, 1))
        right = start - 38
    return pixels(width, FOOTER, shapes)
