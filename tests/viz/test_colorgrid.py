"""The drawing of the colour grid: blocks where they are, the goal's framed, marks where it changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from environments.errors import RefusedFile
from tests.recording import record
from viz import drawings
from viz.moment import ReplayMoments
from viz.scene import GREEN, INK, OBJECT_COLORS, RED, WHITE, Box, Circle, Polygon, Text
from viz.viewer import Viewer

NAME = "colorgrid/leader_follower"


@pytest.mark.parametrize("frame", [0, 9, 40])
def test_blocks_and_agents_are_where_the_state_says(frame: int) -> None:
    recorded = record(NAME, max_cycles=40, switch_probability=0.2)
    scene = drawings.draw(ReplayMoments(recorded)[frame])
    grid, goal = recorded.frames["grid"][frame], int(recorded.frames["goal"][frame])
    boxes = [shape for shape in scene.shapes if isinstance(shape, Box) and shape.corner[1] < 8]
    for color in range(3):
        cells = {(int(b.corner[1]), int(b.corner[0])) for b in boxes if b.fill == OBJECT_COLORS[color]}
        assert cells == {(int(y), int(x)) for y, x in np.argwhere(grid == color + 1)}
    framed = {(int(b.corner[1]), int(b.corner[0])) for b in boxes if b.line == INK}
    assert framed == {(int(y), int(x)) for y, x in np.argwhere(grid == goal + 1)}
    leader, follower = recorded.frames["place"][frame]
    (diamond,) = [shape for shape in scene.shapes if isinstance(shape, Polygon)]
    assert diamond.points[0] == (leader[0] + 0.5, leader[1] + 1)
    (disc,) = [shape for shape in scene.shapes if isinstance(shape, Circle) and shape.line == WHITE]
    assert disc.center == (follower[0] + 0.5, follower[1] + 0.5)
    assert f"goal: {('red', 'green', 'blue')[goal]}" in [s.text for s in scene.shapes if isinstance(s, Text)]


def test_rings_tell_right_blocks_from_wrong_ones() -> None:
    recorded = record(NAME, max_cycles=40, switch_probability=0.2)
    seen = set()
    for frame in range(1, 41):
        scene = drawings.draw(ReplayMoments(recorded)[frame])
        rings = sorted(s.line == GREEN for s in scene.shapes if isinstance(s, Circle) and s.line in (GREEN, RED))
        paid = [recorded.groups[name].reward[frame - 1, 0] for name in ("leader", "follower")]
        assert rings == sorted(reward > 0 for reward in paid if reward)
        seen |= set(rings)
    assert seen == {True, False}


def test_marks_are_changes_of_the_goal_and_wrong_blocks() -> None:
    recorded = record(NAME, max_cycles=40, switch_probability=0.2)
    goal = recorded.frames["goal"]
    marks = drawings.marks_of(recorded)
    changes = [mark.frame for mark in marks if "the goal is now" in mark.name]
    assert changes == [t for t in range(1, 41) if goal[t] != goal[t - 1]] and changes
    wrong = sum(int((recorded.groups[name].reward < 0).sum()) for name in ("leader", "follower"))
    assert len([mark for mark in marks if " takes " in mark.name]) == wrong > 0
    assert Viewer(recorded).page()


def test_what_a_file_says_wrongly_is_refused() -> None:
    recorded = record(NAME, max_cycles=40)
    for frames in ({"grid": np.zeros((41, 3, 3))}, {"goal": np.full(41, 9)}, {"place": np.zeros((41, 2))}):
        with pytest.raises(RefusedFile, match="do not look like those of colorgrid/leader_follower"):
            Viewer(replace(recorded, frames={**recorded.frames, **frames})).page()
