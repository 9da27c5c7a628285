"""How environments look: one literal table, name -> drawing.

A drawing is a handful of functions of plain data (a `viz.moment.Moment`, named state arrays), never a method of an
environment: replays are drawn without any environment at hand.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from environments.errors import RefusedFile, UsageError
from environments.replay import Replay
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.moment import Film, Moment
from viz.page import Mark
from viz.scene import SOFT_INK, Picture, Point, Scene, Text, View


class Spot(NamedTuple):
    """Where an agent is drawn, in the drawing's units: for clicks, rings, and following it."""

    at: Point
    radius: float


def round_sight(center: Point, radius: float, corners: int = 72) -> tuple[Point, ...]:
    """A round field of view, as `Drawing.sight` gives it."""
    turns = [2 * math.pi * k / corners for k in range(corners)]
    return tuple((center[0] + radius * math.cos(turn), center[1] + radius * math.sin(turn)) for turn in turns)


def no_spot(moment: Moment, place: int) -> Spot | None:
    """Agents have no place."""
    return None


def no_sight(moment: Moment, place: int) -> tuple[Point, ...]:
    """Agents see everything, or what they see is no part of the picture."""
    return ()


@dataclass(frozen=True)
class Drawing:
    """One family's way to be drawn."""

    view: Callable[[EnvSpec, Mapping[str, Array]], View]
    """What must be visible; the arrays may be one instant's or have a leading axis over many."""
    draw: Callable[[Moment, View], Scene]
    actions: Callable[[EnvSpec, AgentGroup], tuple[tuple[str, ...], ...]]
    """A name for every action, one tuple per choice (Discrete: one); Box: one tuple with a name per dimension."""
    events: Callable[[EnvSpec, Mapping[str, Array]], Sequence[Mark]]
    """What happened, from state arrays over a whole episode `[T + 1, ...]`; each mark from two frames that follow."""
    spot: Callable[[Moment, int], Spot | None] = no_spot
    """Where the agent at a place of `spec.agents` is drawn; None where it is not."""
    sight: Callable[[Moment, int], tuple[Point, ...]] = no_sight
    """Corners of the part of the picture that such an agent sees; none where there is no such limit."""
    pick: Callable[[EnvSpec, str, Point], int | None] | None = None
    """The action that an agent means by a place on the picture, None where it means none; for boards."""


DRAWINGS = {
    "colorgrid/leader_follower": "viz.drawings.colorgrid:DRAWING",
    "foraging/field": "viz.drawings.foraging:DRAWING",
    "board/tictactoe": "viz.drawings.board:NINE",
    "board/connect_four": "viz.drawings.board:COLUMN",
    "board/hex": "viz.drawings.board:HEX",
    "memory/recall": "viz.drawings.memory:DRAWING",
    "matrix/climbing": "viz.drawings.matrix:DRAWING",
    "matrix/penalty": "viz.drawings.matrix:DRAWING",
    "matrix/prisoners_dilemma": "viz.drawings.matrix:DRAWING",
    "matrix/stag_hunt": "viz.drawings.matrix:DRAWING",
    "matrix/matching_pennies": "viz.drawings.matrix:DRAWING",
    "matrix/game": "viz.drawings.matrix:DRAWING",
    "particle/simple": "viz.drawings.particle:DRAWING",
    "particle/adversary": "viz.drawings.particle:DRAWING",
    "particle/crypto": "viz.drawings.crypto:DRAWING",
    "particle/push": "viz.drawings.particle:DRAWING",
    "particle/reference": "viz.drawings.particle:DRAWING",
    "particle/speaker_listener": "viz.drawings.particle:DRAWING",
    "particle/spread": "viz.drawings.particle:DRAWING",
    "particle/tag": "viz.drawings.particle:DRAWING",
    "particle/world_comm": "viz.drawings.particle:DRAWING",
    "particle/formation": "viz.drawings.particle:DRAWING",
    "particle/line": "viz.drawings.particle:DRAWING",
    "particle/collect_treasure": "viz.drawings.particle:DRAWING",
    "skirmish/battle": "viz.drawings.skirmish:DRAWING",
    "warehouse/robots": "viz.drawings.warehouse:DRAWING",
    "roshambo/repeated": "viz.drawings.roshambo:DRAWING",
    "toy/meet": "viz.drawings.toy:MEET",
    "toy/dock": "viz.drawings.toy:DOCK",
    "toy/noughts": "viz.drawings.toy:NOUGHTS",
    "toy/siege": "viz.drawings.toy:SIEGE",
}
SIZES = {
    "board/hex": ("size",),
    "colorgrid/leader_follower": ("width", "height"),
    "foraging/field": ("rows", "columns"),
    "warehouse/robots": ("shelf_columns", "column_height", "shelf_rows"),
    "toy/meet": ("cells", "agents"),
    "toy/dock": ("carts",),
    "toy/siege": ("guards", "raiders"),
}
"""Options that say how much there is to draw."""
LARGEST = 100
"""Of such an option: those of a file may be anything, and a drawing that goes on for days is no drawing."""
FALLBACK = "viz.drawings.plain:DRAWING"
"""For environments that nobody drew: agents as tokens in a ring."""


@cache
def drawing_of(name: str) -> Drawing:
    """The drawing for an environment's name."""
    module, attribute = DRAWINGS.get(name, FALLBACK).split(":")
    found: Drawing = getattr(importlib.import_module(module), attribute)
    return found


def draw(moment: Moment, view: View | None = None) -> Scene:
    """A moment's scene; `view` defaults to what this moment alone needs.

    RefusedFile where the state arrays are not what the environment's name promises (they may come from a file).
    """
    if moment.film is not None:
        return film_scene(moment.film)
    drawing = drawing_of(moment.spec.name)
    with _refusing_what_does_not_fit(moment.spec):
        _check_sizes(moment.spec)
        return drawing.draw(moment, view or drawing.view(moment.spec, moment.arrays))


def view_of(replay: Replay) -> View:
    """One view for a whole replay, so that the picture stands still. RefusedFile as in `draw`."""
    if replay.pictures is not None:
        return film_view(replay.pictures.size)
    with _refusing_what_does_not_fit(replay.spec):
        _check_sizes(replay.spec)
        return drawing_of(replay.spec.name).view(replay.spec, replay.frames)


def marks_of(replay: Replay) -> list[Mark]:
    """What to mark on a replay's time line: the family's events and ended lives, in order. RefusedFile as in `draw`."""
    with _refusing_what_does_not_fit(replay.spec):
        marks = list(drawing_of(replay.spec.name).events(replay.spec, replay.frames))
    told = {(mark.frame, mark.name.split()[0]) for mark in marks}
    for group in replay.spec.groups:
        for t, n in zip(*replay.groups[group.name].terminated.nonzero(), strict=True):
            frame, name = int(t) + 1, group.agents[n]
            if frame < replay.steps and (frame, name) not in told:
                marks.append(Mark(frame, f"{name} ended", "end"))
    return sorted(marks, key=lambda mark: mark.frame)


def film_view(size: tuple[int, int]) -> View:
    """Recorded pictures of that height and width, in pixels."""
    height, width = size
    return View(0, height, width, 0)


def film_scene(film: Film) -> Scene:
    """What an environment drew itself, or words where that is missing."""
    height, width = film.size
    if film.pixels is None:
        words = "no picture of this step"
        return Scene(film_view(film.size), [Text((width / 2, height / 2), words, 0.05 * height, SOFT_INK)])
    return Scene(film_view(film.size), [Picture((0, 0), (width, height), film.pixels)])


def _check_sizes(spec: EnvSpec) -> None:
    for name in SIZES.get(spec.name, ()):
        if not 0 <= int(spec.options[name]) <= LARGEST:
            raise ValueError(f"{name} is {str(spec.options[name])[:20]}")


@contextmanager
def _refusing_what_does_not_fit(spec: EnvSpec) -> Iterator[None]:
    try:
        with np.errstate(all="ignore"):  # recorded numbers may be anything
            yield
    except (KeyError, IndexError, ValueError, TypeError, OverflowError, UsageError) as error:
        raise RefusedFile(
            f"the recorded states do not look like those of {spec.name} ({type(error).__name__}: {error})"
        ) from error
