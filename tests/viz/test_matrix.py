"""The drawing of matrix games: what is in the table, which cell is framed, who did what before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from environments.errors import RefusedFile
from environments.replay import Replay
from tests.recording import record
from viz import drawings
from viz.drawings import matrix
from viz.moment import ReplayMoments
from viz.scene import GOLD, INK, Box, Scene, Text
from viz.viewer import Viewer

THREE = (((1, 2.5), (-3, 0)), ((4, 5), (6, 7)), ((0, -1), (2, 3)))


def scene_of(recorded: Replay, frame: int) -> Scene:
    """The drawing at one frame."""
    return drawings.draw(ReplayMoments(recorded)[frame])


def middle(box: Box) -> tuple[float, float]:
    """Of a box."""
    (x, y), (u, v) = box.corner, box.opposite
    return (x + u) / 2, (y + v) / 2


def within(scene: Scene, box: Box) -> list[str]:
    """Texts whose place is inside a box."""
    (x, y), (u, v) = box.corner, box.opposite
    return [s.text for s in scene.shapes if isinstance(s, Text) and x < s.at[0] < u and y < s.at[1] < v]


def frames_of(scene: Scene, color: Any) -> list[Box]:
    """Cells of the table framed in a colour."""
    return [s for s in scene.shapes if isinstance(s, Box) and s.line == color and s.fill is None]


@pytest.mark.parametrize("frame", [1, 2, 7, 13, 25])
@pytest.mark.parametrize("name", ["climbing", "penalty", "stag_hunt", "matching_pennies"])
def test_the_frame_is_around_what_was_paid(name: str, frame: int) -> None:
    recorded = record(f"matrix/{name}")
    scene = scene_of(recorded, frame)
    (chosen,) = frames_of(scene, INK)
    paid = np.concatenate([recorded.groups[g.name].reward[frame - 1] for g in recorded.spec.groups])
    shown = within(scene, chosen)
    assert shown == [f"{x:g}" for x in (paid[:1] if name in ("climbing", "penalty") else paid)]
    row, column = recorded.frames["last"][frame]
    labels = {s.text: s.at for s in scene.shapes if isinstance(s, Text) and s.at[0] < matrix.LEFT}
    names = drawings.drawing_of(recorded.spec.name).actions(recorded.spec, recorded.spec.groups[0])[0]
    assert labels[names[row]][1] == pytest.approx(middle(chosen)[1])
    above = [s for s in scene.shapes if isinstance(s, Text) and s.at[1] < matrix.TOP and s.text == names[column]]
    assert [s.at[0] for s in above] == [pytest.approx(middle(chosen)[0])]


def test_nothing_is_framed_before_the_first_step() -> None:
    scene = scene_of(record("matrix/climbing"), 0)
    assert not frames_of(scene, INK) and len(frames_of(scene, GOLD)) == 1
    assert within(scene, frames_of(scene, GOLD)[0]) == ["11"]


def test_where_all_is_equally_good_nothing_is_called_the_best() -> None:
    scene = scene_of(record("matrix/matching_pennies"), 3)
    assert not frames_of(scene, GOLD) and [entry.name for entry in scene.legend] == ["just played"]
    assert not [mark for mark in drawings.marks_of(record("matrix/matching_pennies")) if "best" in mark.name]


@pytest.mark.parametrize("frame", [0, 5, 25])
def test_the_history_is_what_was_done(frame: int) -> None:
    recorded = record("matrix/prisoners_dilemma")
    shown: dict[float, str] = {}
    for shape in scene_of(recorded, frame).shapes:
        if isinstance(shape, Text) and shape.text in ("C", "D"):
            shown[shape.at[1]] = shown.get(shape.at[1], "") + shape.text
    done = recorded.frames["last"][max(1, frame - 12) : frame + 1]
    assert [shown[y] for y in sorted(shown)] == (
        ["".join("CD"[a] for a in done[:, i]) for i in (0, 1)] if frame else []
    )


def test_with_three_agents_the_table_is_that_of_the_third_ones_action() -> None:
    recorded = record("matrix/game", payoff=THREE)
    seen = set()
    for frame in range(1, 26):
        a, b, c = recorded.frames["last"][frame].tolist()
        scene = scene_of(recorded, frame)
        (chosen,) = frames_of(scene, INK)
        assert within(scene, chosen) == [f"{np.array(THREE)[a, b, c]:g}"]
        assert f"where agent_2: {c}" in [s.text for s in scene.shapes if isinstance(s, Text)]
        seen.add(c)
    assert seen == {0, 1}


@pytest.mark.parametrize("payoff", [(1, 2, 3), ((0,) * 40,) * 20, (((((1, 2),) * 2,) * 2,) * 2,) * 2])
def test_every_size_has_a_picture(payoff: Any) -> None:
    recorded = record("matrix/game", payoff=payoff)
    scene = scene_of(recorded, 4)
    assert len(frames_of(scene, INK)) == 1
    assert all(0 <= x <= matrix.WIDTH and 0 <= y <= matrix.HEIGHT for x, y in map(middle, frames_of(scene, INK)))
    assert Viewer(recorded).page()


def test_marks_are_where_the_best_is_found_and_left() -> None:
    recorded = record("matrix/climbing")
    best = (recorded.frames["last"] == 0).all(axis=1)
    found = {(mark.frame, mark.tone) for mark in drawings.marks_of(recorded)}
    changes = {(t, "good" if best[t] else "bad") for t in range(1, 26) if best[t] != best[t - 1]}
    assert found == changes and len(changes) > 1


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({}, np.full((26, 2), 3)),
        ({}, np.zeros((26, 3), int)),
        ({}, np.zeros((26, 1), int)),
        ({"k": "much"}, None),
        ({"k": None}, None),
        ({"other": 1}, None),
    ],
)
def test_what_a_file_says_wrongly_is_refused(options: dict[str, Any], last: Any) -> None:
    recorded = record("matrix/penalty")
    frames = recorded.frames if last is None else {**recorded.frames, "last": last}
    spec = replace(recorded.spec, options=options or recorded.spec.options)
    with pytest.raises(RefusedFile, match="do not look like those of matrix/penalty"):
        Viewer(replace(recorded, spec=spec, frames=frames)).page()
