"""The drawing of foraging: every player and piece of food in its cell, who loads what, what was loaded when."""

from __future__ import annotations

import numpy as np

from environments.games.foraging.field import LOAD
from environments.replay import Replay
from tests.recording import record
from viz import drawings
from viz.drawings.foraging import APPLE
from viz.moment import ReplayMoments
from viz.scene import GREEN, SOFT_INK, Box, Circle, Line, Point, Scene, Text

SMALL = "foraging/5x5-4p-2f"
"""Four on a small field: at random they load now and then, and get in one another's way."""


def scene_of(recorded: Replay, frame: int) -> Scene:
    """The drawing at one frame."""
    return drawings.draw(ReplayMoments(recorded)[frame])


def cell(at: Point) -> list[int]:
    """Row and column of a point."""
    return [int(at[1]), int(at[0])]


def test_everything_is_in_its_cell() -> None:
    recorded = record("foraging/15x15-3p-5f")
    scene, frames = scene_of(recorded, 20), recorded.frames
    there = frames["food_level"][20] > 0
    apples = [cell(s.center) for s in scene.shapes if isinstance(s, Circle) and s.fill == APPLE]
    assert apples == frames["food_position"][20][there].tolist()
    numbers = [(cell(s.at), int(s.text)) for s in scene.shapes if isinstance(s, Text) and s.bold]
    wanted = [*zip(apples, frames["food_level"][20][there].tolist(), strict=True)]
    wanted += zip(frames["player_position"][20].tolist(), frames["player_level"][20].tolist(), strict=True)
    assert numbers == wanted


def test_who_loads_is_joined_to_the_food() -> None:
    recorded = record(SMALL, seed=1)
    levels, actions = recorded.frames["food_level"], recorded.frames["action"]
    loaded = 0
    for t in range(1, recorded.steps + 1):
        scene = scene_of(recorded, t)
        joined = [s for s in scene.shapes if isinstance(s, Line) and s.width == 0.12]
        gone = (levels[t - 1] > 0) & (levels[t] == 0)
        assert [cell(line.points[0]) for line in joined] == recorded.frames["player_position"][t][
            actions[t] == LOAD
        ].tolist()
        for line in joined:
            of = np.flatnonzero((recorded.frames["food_position"][t] == cell(line.points[1])).all(1))[0]
            assert line.color[:3] == (GREEN if gone[of] else SOFT_INK)[:3]
        rings = [cell(s.center) for s in scene.shapes if isinstance(s, Circle) and s.line == GREEN]
        assert rings == recorded.frames["food_position"][t][gone].tolist()
        loaded += int(gone.sum())
    marks = [mark for mark in drawings.marks_of(recorded) if "loaded food of level" in mark.name]
    assert loaded > 0 and len(marks) == loaded
    assert all((levels[mark.frame - 1] != levels[mark.frame]).any() for mark in marks)
    first = marks[0]
    who = [f"agent_{i}" for i in np.flatnonzero(actions[first.frame] == LOAD)]
    assert any(name in first.name for name in who)


def test_those_who_share_a_cell_stand_apart() -> None:
    recorded = record(SMALL, seed=1)
    cells = recorded.frames["player_position"].tolist()
    shared = [t for t, places in enumerate(cells) if len({tuple(place) for place in places}) < 4]
    assert shared, "nobody ever shared a cell"
    scene = scene_of(recorded, shared[0])
    assert len({s.corner for s in scene.shapes if isinstance(s, Box) and s.radius == 0.12 and s.fill}) == 4


def test_a_limited_sight_is_framed() -> None:
    recorded = record("foraging/1s-5x5-4p-2f")
    frames = [s for s in scene_of(recorded, 0).shapes if isinstance(s, Box) and s.width == 0.03]
    for frame, (row, column) in zip(frames, recorded.frames["player_position"][0].tolist(), strict=True):
        assert (round(frame.corner[0]), round(frame.corner[1])) == (max(column - 1, 0), max(row - 1, 0))
        assert (round(frame.opposite[0]), round(frame.opposite[1])) == (min(column + 2, 5), min(row + 2, 5))
    assert not [s for s in scene_of(record(SMALL, seed=1), 0).shapes if isinstance(s, Box) and s.width == 0.03]
