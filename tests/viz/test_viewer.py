"""The viewer's parts: camera, selected agent, its page, what it sees, two replays side by side. No window."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.replay import GroupTrack, Recorder, Replay
from tests.contracts.play import random_actions
from tests.recording import record
from tests.viz.test_playback import words
from viz.camera import Camera
from viz.charts import columns
from viz.compare import first_difference
from viz.detail import identity_lines, middle_cut
from viz.drawings import draw, drawing_of, marks_of
from viz.moment import ReplayMoments
from viz.page import HEADER
from viz.scene import GOLD, Circle, Polygon, Scene, View, fit
from viz.screen.raster import Painter, pygame
from viz.screen.window import desktop_scale
from viz.shown import Extra, Shown, Stack
from viz.teams import amount, policy_names
from viz.timeline import TIMELINE, TRACK_LEFT
from viz.viewer import PANEL_WIDTH, Viewer

HOME = View(-1, -1, 1, 1)


@pytest.fixture
def viewer() -> Viewer:
    """Tag, 25 steps, at rest on its start."""
    viewer = Viewer(record("particle/tag"))
    viewer.playback.pause()
    return viewer


def center_of(viewer: Viewer) -> tuple[int, int]:
    """Pixels of the picture's middle."""
    return (viewer.size[0] - PANEL_WIDTH) // 2, HEADER + 100


def test_the_wheel_keeps_what_is_under_the_mouse() -> None:
    camera = Camera()
    size = (400, 300)
    for turns, x, y in ((3, 20, 280), (-1, 390, 10), (7, 111, 222)):
        before = fit(camera.view(HOME), *size).point(x, y)
        camera.turn(turns, x, y, size, HOME, None)
        assert fit(camera.view(HOME), *size).point(x, y) == pytest.approx(before)
    assert camera.zoom == pytest.approx(1.15**9) and camera.view(HOME) != HOME
    camera.reset()
    assert camera.view(HOME) == HOME


@pytest.mark.parametrize("home", [HOME, View(0, 8, 10, 0)])
def test_dragging_moves_the_picture_with_the_mouse(home: View) -> None:
    camera, size = Camera(), (400, 300)
    camera.turn(4, 200, 150, size, home, None)
    seen = fit(camera.view(home), *size)
    grabbed = seen.point(100, 100)
    camera.drag(30, -20, seen, home, None)
    assert fit(camera.view(home), *size).point(130, 80) == pytest.approx(grabbed)


def test_following_keeps_an_agent_in_the_middle(viewer: Viewer) -> None:
    viewer.press("tab")
    viewer.press("f")
    for step in (3, 17):
        viewer.playback.seek(step)
        view = viewer.page()[1].scene.view
        place = viewer.replay.frames["agent_position"][step, 0]
        assert ((view.left + view.right) / 2, (view.bottom + view.top) / 2) == pytest.approx(tuple(place), abs=1e-5)
    viewer.mouse_down(300, 300)
    viewer.mouse_move(360, 300)
    viewer.mouse_up()
    assert not viewer.camera.follows and viewer.selected == 0  # a drag, not a click


def test_a_click_selects_who_is_there_and_another_nobody(viewer: Viewer) -> None:
    left, top, width, height = viewer._boards()[0]
    seen = fit(viewer.view, width, height)
    for place in range(4):
        x, y = seen.pixel(tuple(viewer.replay.frames["agent_position"][0, place]))
        viewer.mouse_down(left + x, top + y)
        assert viewer.mouse_up() and viewer.selected == place
    viewer.mouse_down(left + 3, top + 3)
    viewer.mouse_up()
    assert viewer.selected is None


def test_tab_goes_round_and_cards_are_clicked(viewer: Viewer) -> None:
    viewer.press("shift tab")
    assert viewer.selected == 3
    viewer.press("tab")
    assert viewer.selected == 0
    viewer.press("escape")
    viewer.mouse_down(viewer.size[0] - 100, HEADER + 40 + 122 + 30)
    assert viewer.selected == 1


def test_the_selected_agent_wears_a_ring_and_has_a_page(viewer: Viewer) -> None:
    viewer.press("tab")
    viewer.playback.seek(7)
    place = tuple(float(x) for x in viewer.replay.frames["agent_position"][7, 0])
    rings = [s for s in viewer.page()[1].scene.shapes if isinstance(s, Circle) and s.line == GOLD]
    assert [ring.center for ring in rings] == [place]
    shown = words(viewer)
    track = viewer.replay.groups["adversary"]
    taken = ("stay", "left", "right", "down", "up")[track.action[7, 0]]
    assert f"action: {taken}" in shown and "random" in shown
    for p in track.probabilities[7, 0]:
        assert f"{100 * float(p):.0f} %" in shown
    assert f"{track.value[7, 0]:+.2f}" in shown


def test_a_step_is_typed(viewer: Viewer) -> None:
    for key in ("g", "1", "7", "2", "backspace", "return"):
        assert viewer.press(key)
    assert viewer.playback.frame == 17 and viewer.typed is None
    for key in ("g", "9", "9", "[9]", "enter"):
        viewer.press(key)
    assert viewer.playback.frame == 25  # the last one
    for key in ("g", "3", "escape"):
        viewer.press(key)
    assert viewer.playback.frame == 25 and not viewer.quit


def test_between_two_frames_things_are_on_their_way() -> None:
    recorded = record("particle/tag")
    moments = ReplayMoments(recorded)
    one, other = recorded.frames["agent_position"][4], recorded.frames["agent_position"][5]
    np.testing.assert_allclose(moments.at(4, 0.25).smooth("agent_position"), 0.75 * one + 0.25 * other, atol=1e-6)
    np.testing.assert_array_equal(moments.at(4, 0.0).smooth("agent_position"), one)
    np.testing.assert_array_equal(moments.at(25, 0.9).smooth("agent_position"), recorded.frames["agent_position"][25])
    np.testing.assert_array_equal(
        moments.at(4, 0.25).smooth("agent_position", leap=0.0)[other != one], one[other != one]
    )


@pytest.mark.parametrize("name", environments.names(toys=True))
def test_every_drawing_is_smooth_and_knows_where_agents_are(name: str) -> None:
    """Where agents have a place, it is inside the picture, at both ends of a step and between them."""
    recorded = record(name)
    moments, drawing = ReplayMoments(recorded), drawing_of(name)
    view = drawing.view(recorded.spec, recorded.frames)
    low, high = sorted((view.bottom, view.top))
    for moment in (moments.at(0, 0.0), moments.at(0, 0.5), moments.at(recorded.steps, 0.0)):
        assert draw(moment, view).shapes
        for place in range(len(recorded.spec.agents)):
            spot = drawing.spot(moment, place)
            if spot is not None:
                assert view.left <= spot.at[0] <= view.right and low <= spot.at[1] <= high and spot.radius > 0
            assert all(len(corner) == 2 for corner in drawing.sight(moment, place))
    for mark in marks_of(recorded):
        assert 0 < mark.frame <= recorded.steps and mark.name


def test_what_an_agent_cannot_see_is_veiled() -> None:
    viewer = Viewer(record("foraging/field", sight=1))
    viewer.press("v")
    assert viewer.selected == 0
    row, column = viewer.replay.frames["player_position"][0, 0]
    veil = next(s for s in viewer.page()[1].scene.shapes if isinstance(s, Polygon) and len(s.points) == 11)
    inside = [point for point in veil.points if abs(point[0] - column - 0.5) < 2 and abs(point[1] - row - 0.5) < 2]
    assert len(inside) == 5  # the corners of the hole, its first one twice
    everything = Viewer(record("board/connect_four"))
    before = len(everything.page()[1].scene.shapes)
    everything.press("v")
    assert len(everything.page()[1].scene.shapes) == before


def test_marks_of_the_end_and_of_events_are_pointed_at(viewer: Viewer) -> None:
    end = viewer.playback.marks[-1]
    assert end.frame == 25 and end.name.startswith("time is up: adversary ") and end.tone == "end"
    y = viewer.size[1] - TIMELINE + 12
    assert viewer.mouse_move(viewer.size[0] - 92, y)
    assert f"25: {end.name}" in words(viewer)
    assert viewer.mouse_move(TRACK_LEFT + 200, y - 200)
    assert f"25: {end.name}" not in words(viewer)


@pytest.mark.parametrize(
    ("name", "arrays", "wanted"),
    [
        ("skirmish/battle", {"health": [[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 0, 0]]}, {"ally_1 falls", "allies win"}),
        ("board/tictactoe", {"board": [[0, 0, 2, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 2, 2, 2, 2]]}, {"player_0 wins"}),
        ("toy/noughts", {"board": [[0, 0, 2, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 2, 2, 2, 2]]}, {"player_0 wins"}),
        ("toy/meet", {"cell": [[0, 1, 1], [1, 1, 1]]}, {"all met"}),
        ("toy/dock", {"position": [[0.0, 0.0], [0.5, 0.0]], "berth": [[0.5, 1.0], [0.5, 1.0]]}, {"cart_0 docks"}),
        (
            "particle/push",
            {"agent_position": [[[0, 0], [1, 1]], [[0, 0], [0.5, 0.5]]], "landmark_position": [[[0.5, 0.5]]] * 2},
            {"agent_0 reaches the goal"},
        ),
    ],
)
def test_events_are_known_from_two_states(name: str, arrays: dict[str, object], wanted: set[str]) -> None:
    game = environments.game(name)
    spec = game.spec(game.options())
    frames = {key: np.asarray(value) for key, value in arrays.items()}
    if name == "particle/push":
        frames["goal"] = np.zeros((2, 1), int)
    marks = drawing_of(name).events(spec, frames)
    assert wanted <= {mark.name for mark in marks} and {mark.frame for mark in marks} == {1}


def recorded_by(seed: int, later: int, name: str = "particle/tag") -> Replay:
    """An episode of key 5 whose actions are drawn from `seed`, from step `later` on from another stream."""
    env = environments.make(name, num_envs=1, seed=5)
    rng = np.random.default_rng(1)
    recorder = Recorder(env, 0, {"policies": {"adversary": {"player": f"a/{seed}.safetensors", "steps": 2_000_000}}})
    t, over = 0, False
    while not over:
        if t == later:
            rng = np.random.default_rng(seed)
        actions = random_actions(env, rng)
        over = recorder.add(actions, env.step(actions))
        t += 1
    return recorder.finish()


def test_the_first_difference_is_found_and_told() -> None:
    one, other = recorded_by(2, 9), recorded_by(3, 9)
    differ = (one.groups["adversary"].action != other.groups["adversary"].action).any(1)
    differ |= (one.groups["agent"].action != other.groups["agent"].action).any(1)
    step = int(np.flatnonzero(differ)[0])
    assert 9 <= step < 14
    mark = first_difference(one, other)
    assert mark is not None and mark.frame == step and mark.name.startswith("first difference: ") and " | " in mark.name
    assert first_difference(one, one) is None
    elsewhere = first_difference(one, record("particle/tag"))
    assert elsewhere is not None and (elsewhere.frame, elsewhere.name) == (0, "they begin differently")
    before = replace(other, digests=np.where(np.arange(26) >= 4, one.digests + np.uint64(1), one.digests))
    mark = first_difference(one, before)  # the state differs before any action does
    assert mark is not None and mark.frame == 4
    drifted = replace(one, digests=np.where(np.arange(26) >= 11, one.digests + np.uint64(1), one.digests))
    mark = first_difference(one, drifted)
    assert mark is not None and mark.frame == 11 and "after the same actions" in mark.name


def test_two_replays_go_in_step() -> None:
    one, other = recorded_by(2, 9), recorded_by(3, 9)
    viewer = Viewer(one, other=other, names=("left", "right"))
    assert {"left", "right"} <= set(words(viewer))
    viewer.playback.seek(20)
    left, right = (take.moments.at(viewer.playback.frame, 0.0) for take in viewer.takes)
    assert left.step == right.step == 20
    assert (left.arrays["agent_position"] != right.arrays["agent_position"]).any()
    viewer.press("n"), viewer.press("home"), viewer.press("n")
    found = first_difference(one, other)
    assert found is not None and found in viewer.playback.marks
    assert any(text.startswith(f"step {found.frame}: first difference") for text in words(viewer)) or (
        found.name in words(viewer)
    )
    viewer.press("tab")
    assert words(viewer).count("adversary_0") == 2  # its page, from both
    boards = [pane for pane in viewer.page() if pane.height > 300 and pane.x < viewer.size[0] - PANEL_WIDTH]
    assert len({pane.x for pane in boards}) == 2


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not particle/tag and particle/spread"):
        Viewer(record("particle/tag"), other=record("particle/spread"))
    recorded = record("particle/tag")
    groups = tuple(
        replace(group, agents=tuple(f"other_{name}" for name in group.agents)) for group in recorded.spec.groups
    )
    agents = tuple(name for group in groups for name in group.agents)
    renamed = replace(recorded, spec=replace(recorded.spec, agents=agents, groups=groups))
    with pytest.raises(UsageError, match="same agents"):
        Viewer(record("particle/tag"), other=renamed)


def test_identities_are_told_in_few_words() -> None:
    assert [amount(n) for n in (7, 950, 16_000, 1_015_808, 10_010_624)] == ["7", "950", "16k", "1.02M", "10M"]
    assert policy_names(recorded_by(2, 9)) == ("2", "")
    said = {"algorithm": "mappo", "steps": 2_000_000, "scenario": "particle/tag", "seed": 3, "sha256": "ab" * 32}
    assert identity_lines({**said, "player": "runs/x/good.safetensors"}) == [
        "mappo, 2M steps, on particle/tag, seed 3",
        "good.safetensors · sha256 abababababab",
    ]
    assert identity_lines({"name": "random"}) == ["random"] and identity_lines({}) == ["player unknown"]
    assert middle_cut("adversary_seen_0_dx", 12) == "adver…n_0_dx" and middle_cut("x", 12) == "x"


def test_columns_keep_the_largest() -> None:
    values = np.zeros(1000)
    values[501], values[777], values[3] = 4.0, -9.0, np.nan
    assert columns(values, 10).tolist() == [0, 0, 0, 0, 0, 4, 0, -9, 0, 0]
    assert columns(np.array([1.0, np.inf]), 10)[1] == 1e30


def test_what_is_opened_lies_on_top_until_it_ends(viewer: Viewer) -> None:
    other = Shown()
    extra = Extra("w", "another", lambda asked: other if asked is stacked else None)
    stacked = Viewer(record("particle/tag"), extras=[extra])
    stack = Stack(stacked)
    assert not stack.settle() and stacked.press("w") and stack.settle()
    assert stack.top is other and other.size == stacked.size and not stack.over
    other.quit = True
    assert stack.settle() and stack.top is stacked
    stacked.press("h")
    assert "another" in words(stacked)
    stacked.escape()
    assert not stack.settle() and stack.over


def test_dense_desktops_get_larger_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARL_SCALE", raising=False)
    assert [desktop_scale(size) for size in ((1280, 720), (1920, 1080), (3200, 2000), (3840, 2800), (900, 2800))] == [
        *(1.0, 1.0, 1.5, 2.0, 900 / 640),
    ]
    for asked, scale in (("1.25", 1.25), ("99", 1.0), ("large", 1.0)):
        monkeypatch.setenv("MARL_SCALE", asked)
        assert desktop_scale((1920, 1080)) == scale


def test_panes_are_painted_anew_only_where_they_changed(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    from viz.screen import raster

    painted: list[Scene] = []
    real = raster.paint

    def paint(scene: Scene, width: int, height: int, smoothness: int) -> object:
        painted.append(scene)
        return real(scene, width, height, smoothness)

    monkeypatch.setattr(raster, "paint", paint)
    surface, painter = pygame.Surface((2560, 1440), depth=32), Painter()
    painter.paint_page(surface, viewer.page(), 1, 2.0)
    first = len(painted)
    assert first == len(viewer.page())
    painter.paint_page(surface, viewer.page(), 1, 2.0)
    assert len(painted) == first
    viewer.playback.seek(5)
    painter.paint_page(surface, viewer.page(), 1, 2.0)
    assert first < len(painted) < 2 * first  # what stands still on the time line is kept
    # twice the pixels: the play button is in the corner of the larger picture
    corner = pygame.surfarray.array3d(surface)[40:100, 1440 - 2 * TIMELINE + 30 : 1440 - 2 * TIMELINE + 80]
    assert (corner.max(axis=-1) < 80).sum() > 300


def test_scrubbing_a_long_replay_is_no_slower_than_a_short_one() -> None:
    short = record("particle/tag", max_cycles=100)
    long = repeated(short, 10_000)
    times = []
    for recorded in (short, long):
        viewer = Viewer(recorded)
        viewer.page()
        taken = []
        for share in np.random.default_rng(0).uniform(size=60):
            start = time.perf_counter()
            viewer.playback.scrub(float(share))
            viewer.page()
            taken.append(time.perf_counter() - start)
        times.append(float(np.median(taken)))
    assert times[1] < 4 * times[0]


def repeated(recorded: Replay, steps: int) -> Replay:
    """A longer replay to look at: the same steps again and again."""
    times = -(-steps // recorded.steps)

    def again(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array] * times)[:steps]

    return replace(
        recorded,
        groups={name: GroupTrack(*(again(x) for x in track)) for name, track in recorded.groups.items()},
        frames={name: np.concatenate([x[:1], again(x[1:])]) for name, x in recorded.frames.items()},
        digests=np.concatenate([recorded.digests[:1], again(recorded.digests[1:])]),
        metrics=again(recorded.metrics),
    )
