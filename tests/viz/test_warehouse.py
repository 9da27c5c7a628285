"""The drawing of the warehouse: shelves, robots and goals where they are, and what is marked on the time line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import environments
from environments.errors import RefusedFile
from environments.games.warehouse import layout
from environments.replay import Recorder, Replay
from tests.environments.warehouse import fetch
from tests.recording import record
from viz import drawings
from viz.drawings import warehouse
from viz.moment import ReplayMoments
from viz.scene import GOLD, GREEN, Box, Circle, Color


@pytest.fixture(scope="module")
def busy() -> Replay:
    """An episode in which shelves are handed over."""
    env = environments.make("warehouse/tiny-2ag", num_envs=1, seed=3, max_cycles=150)
    floor = layout.of(env.spec.options)
    chance = np.random.default_rng(0)
    recorder = Recorder(env, 0, {"policies": {"team": "fetch"}})
    over = False
    while not over:
        actions = fetch.actions(env.capture(0).arrays, floor, chance)[None]
        over = recorder.add({"agent": actions}, env.step({"agent": actions}), None)
    return recorder.finish()


def boxes(replay: Replay, frame: int, color: Color) -> set[tuple[int, int]]:
    """Cells with a box filled in a colour."""
    scene = drawings.draw(ReplayMoments(replay)[frame])
    filled = [s for s in scene.shapes if isinstance(s, Box) and s.fill == color]
    return {(int(s.corner[0]), int(s.corner[1])) for s in filled}


@pytest.mark.parametrize("frame", [0, 7, 80, 150])
def test_what_is_drawn_is_where_it_is(busy: Replay, frame: int) -> None:
    floor = busy.frames["floor"][frame]
    for value, color in ((1, warehouse.WOOD), (2, GOLD)):
        assert boxes(busy, frame, color) == {(x, y) for y, x in np.argwhere(floor == value).tolist()}
    assert boxes(busy, frame, GREEN.faded(0.25)) == {(4, 10), (5, 10)}
    scene = drawings.draw(ReplayMoments(busy)[frame])
    robots = [(s.center[0] - 0.5, s.center[1] - 0.5) for s in scene.shapes if isinstance(s, Circle)]
    assert robots == [tuple(map(float, place)) for place in busy.frames["position"][frame]]


def test_deliveries_are_marked(busy: Replay) -> None:
    marks = drawings.marks_of(busy)
    paid = [
        (int(t) + 1, f"agent_{n} hands over") for t, n in zip(*np.nonzero(busy.groups["agent"].reward), strict=True)
    ]
    assert len(paid) >= 3
    assert [(mark.frame, mark.name) for mark in marks if mark.tone == "good"] == paid
    lifts = sum(mark.name.endswith("lifts") for mark in marks)
    assert lifts >= len(paid)


def test_states_of_another_floor_are_refused() -> None:
    replay = record("warehouse/robots", max_cycles=50)
    frames = {**replay.frames, "floor": replay.frames["floor"][:, :5]}
    with pytest.raises(RefusedFile, match="the recorded states do not look like those of warehouse/robots"):
        drawings.draw(ReplayMoments(replace(replay, frames=frames))[0])
