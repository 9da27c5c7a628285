"""Playing back without a window: time, keys, mouse."""

from __future__ import annotations

import numpy as np
import pytest

from tests.recording import record
from viz.keys import HELP, KEYS
from viz.page import HEADER, Mark
from viz.playback import SPEEDS, Playback
from viz.scene import Bubble, Scene, Text
from viz.timeline import TIMELINE, TRACK_LEFT, TRACK_RIGHT
from viz.viewer import Viewer


@pytest.fixture
def playback() -> Playback:
    """100 steps of a tenth of a second."""
    return Playback(101, 0.1, [Mark(20, "a"), Mark(50, "b"), Mark(50, "c", "bad")])


@pytest.fixture
def viewer() -> Viewer:
    """Spread, 25 steps."""
    return Viewer(record("particle/spread"))


def test_time_moves_the_frame_at_every_speed(playback: Playback) -> None:
    assert playback.playing and playback.frame == 0
    assert playback.advance(0.09) and playback.frame == 0 and playback.share == pytest.approx(0.9)
    assert playback.advance(0.02) and playback.frame == 1 and playback.share == pytest.approx(0.1)
    playback.speed = 16.0
    playback.advance(0.1)
    assert playback.frame == 17
    playback.speed = 0.25
    playback.advance(0.2)
    playback.advance(0.2)
    assert playback.frame == 18


def test_a_long_pause_of_the_program_is_not_played(playback: Playback) -> None:
    playback.advance(60.0)
    assert playback.frame == 2


def test_it_stops_at_the_end_and_starts_over(playback: Playback) -> None:
    playback.seek(99)
    playback.advance(0.2)
    assert playback.frame == 100 and not playback.playing
    playback.command("toggle")
    assert playback.playing and playback.frame == 0


def test_looping_shows_the_last_frame_before_the_first(playback: Playback) -> None:
    playback.command("loop")
    playback.seek(99)
    playback.advance(0.15)
    assert playback.frame == 100 and playback.playing and playback.share == 0  # there is nothing to be on the way to
    playback.advance(0.06)
    assert playback.frame == 0 and playback.playing


def test_a_range_is_played_again_and_again(playback: Playback) -> None:
    playback.seek(30)
    playback.command("range start")
    assert playback.range == (30, 100)
    playback.seek(33)
    playback.command("range end")
    assert playback.range == (30, 33)
    playback.playing = True
    seen = []
    for _ in range(9):
        seen.append(playback.frame)
        playback.advance(0.1001)
    assert seen == [33, 30, 31, 32, 33, 30, 31, 32, 33]
    playback.command("restart")
    assert playback.frame == 30
    playback.command("range clear")
    assert playback.range is None
    playback.command("range end")  # from the start to here
    assert playback.range == (0, 30)
    playback.seek(0)
    playback.command("range clear")
    playback.command("range end")  # nothing lies between the start and itself
    assert playback.range is None


@pytest.mark.parametrize(
    ("key", "frame"),
    [
        ("right", 41),
        ("left", 39),
        ("shift right", 50),
        ("shift left", 30),
        ("page down", 50),
        ("page up", 30),
        ("home", 0),
        ("end", 100),
        ("n", 50),
        ("p", 20),
    ],
)
def test_keys_that_move_also_pause(playback: Playback, key: str, frame: int) -> None:
    playback.seek(40)
    playback.command(KEYS[key])
    assert playback.frame == frame and not playback.playing


def test_movement_ends_at_the_ends(playback: Playback) -> None:
    playback.command("back 10")
    assert playback.frame == 0
    playback.seek(95)
    playback.command("forward 10")
    assert playback.frame == 100
    playback.command("next mark")
    assert playback.frame == 100
    assert not playback.advance(1.0)


def test_speeds(playback: Playback) -> None:
    seen = []
    for _ in range(8):
        playback.command("faster")
        seen.append(playback.speed)
    assert seen == [2.0, 4.0, 8.0, 16.0, 32.0, 32.0, 32.0, 32.0]
    for _ in range(9):
        playback.command("slower")
    assert playback.speed == SPEEDS[0] == 0.25
    playback.speed = 3.0
    playback.command("faster")
    assert playback.speed == 4.0


def test_escape_goes_one_step_back(viewer: Viewer) -> None:
    viewer.press("tab")
    viewer.press("h")
    viewer.press("escape")
    assert not viewer.help and viewer.selected == 0 and not viewer.quit
    viewer.press("escape")
    assert viewer.selected is None and not viewer.quit
    viewer.press("escape")
    assert viewer.quit


TIME = {"toggle", "first", "last", "faster", "slower", "next mark", "previous mark", "restart", "loop"}


def test_one_frame_can_be_shown() -> None:
    for command in KEYS.values():
        if command in TIME or command.split()[0] in ("forward", "back", "range"):
            still = Playback(1, 0.1)
            still.command(command)
            still.advance(1.0)
            assert still.frame == 0 and not still.playing


def test_every_key_has_a_meaning_and_unknown_commands_none(viewer: Viewer, playback: Playback) -> None:
    for command in set(KEYS.values()):
        viewer.command(command)
    for command in ("", "forward", "forward x", "explode", "range of mountains"):
        with pytest.raises(ValueError, match="unknown command"):
            playback.command(command)
    explained = " ".join(keys for keys, _ in HELP).split()
    for key in "nprlabcgfvi0hq":
        assert key in KEYS and key in explained


def test_the_mouse_scrubs(viewer: Viewer) -> None:
    width, height = viewer.size
    track = width - TRACK_RIGHT - TRACK_LEFT
    y = height - TIMELINE / 2  # anywhere on it
    assert not viewer.mouse_move(TRACK_LEFT + track * 0.8, y)
    assert viewer.mouse_down(TRACK_LEFT + track * 0.4, y)
    assert viewer.playback.frame == 10 and not viewer.playback.playing
    assert viewer.mouse_move(TRACK_LEFT + track * 2, 0)  # anywhere, while the button is held
    assert viewer.playback.frame == 25
    viewer.mouse_move(-100, y)
    assert viewer.playback.frame == 0
    viewer.mouse_up()
    assert not viewer.mouse_move(TRACK_LEFT + track * 0.8, y)
    assert viewer.playback.frame == 0


def test_the_mouse_plays_and_closes_the_help(viewer: Viewer) -> None:
    height = viewer.size[1]
    viewer.mouse_down(30, height - TIMELINE / 2)
    assert not viewer.playback.playing
    assert not viewer.mouse_down(300, HEADER + 50)
    viewer.press("?")
    assert viewer.help
    viewer.mouse_down(300, HEADER + 50)
    assert not viewer.help


def test_keys_of_the_viewer(viewer: Viewer) -> None:
    assert viewer.press("shift right") and viewer.playback.frame == 10
    assert viewer.press("shift space") and viewer.playback.playing  # shift means nothing to it
    assert not viewer.press("f7")


def test_the_wheel_scrolls_where_agents_do_not_fit() -> None:
    many = Viewer(record("particle/collect_treasure"))
    many.resize(700, 450)
    over_the_panel = (600, 200)
    assert not many.wheel(1, *over_the_panel)
    for _ in range(20):
        many.wheel(-1, *over_the_panel)
    assert many.scroll > 0
    assert words(many).count("deposit_1") == 1 and "collector_0" not in words(many)
    few = Viewer(record("particle/simple"))
    assert not few.wheel(-1, few.size[0] - 20, 200)


def words(viewer: Viewer) -> list[str]:
    """All text of the page."""
    return [s.text for pane in viewer.page() for s in pane.scene.shapes if isinstance(s, Text | Bubble)]


def test_the_panel_shows_the_decision_of_now_and_the_reward_of_before() -> None:
    recorded = record("particle/spread")
    viewer = Viewer(recorded)
    viewer.playback.seek(7)
    track = recorded.groups["agent"]
    rows = viewer.moment.agents
    for n, row in enumerate(rows):
        assert row.action == track.action[7, n]
        assert row.reward == track.reward[6, n]
        assert row.value == track.value[7, n]
        assert row.total == pytest.approx(track.reward[:7, n].sum(), rel=1e-5)
        np.testing.assert_array_equal(row.probabilities, track.probabilities[7, n].astype(np.float32))
    moves = ("stay", "left", "right", "down", "up")
    shown = words(viewer)
    for n, row in enumerate(rows):
        assert row.name in shown and f"{row.reward:+.2f}" in shown and f"{row.value:+.2f}" in shown
        assert shown.count(moves[track.action[7, n]]) > 3  # a label under each card's bars, and the choice itself
    assert "step 7 / 25" in shown and "7 / 25" in shown


def test_the_panel_shows_the_environments_own_sums() -> None:
    recorded = record("toy/siege", seed=2)
    viewer = Viewer(recorded)
    viewer.resize(1120, 1200)
    viewer.playback.command("last")
    lost = recorded.frames["hit"].sum(axis=1).cumsum()[-1]
    assert sum(value for _, value in viewer.moment.metrics) == lost > 0
    assert "guards lost" in words(viewer) and "raiders lost" in words(viewer)


def test_the_ends_of_an_episode(viewer: Viewer) -> None:
    first = viewer.moments[0]
    assert all(row.reward is None and row.total == 0.0 for row in first.agents) and not first.over
    last = viewer.moments[25]
    assert last.over and all(row.action is None and not row.acting for row in last.agents)
    assert last.outcome is not None and last.scores[0] == pytest.approx(float(last.outcome[0]), rel=1e-5)
    with pytest.raises(IndexError):
        viewer.moments[26]


def test_marks_are_where_things_happen() -> None:
    recorded = record("toy/siege", seed=2)
    *marks, end = Viewer(recorded).playback.marks
    assert end.frame == recorded.steps and end.name.startswith("the end: guard ")
    fallen = {
        (int(t) + 1, recorded.spec.agents[i]) for t, i in zip(*np.nonzero(recorded.frames["hit"][1:]), strict=True)
    }
    assert fallen and {(mark.frame, mark.name.split()[0]) for mark in marks} == fallen


def test_pages_fit_every_size(viewer: Viewer) -> None:
    for size in ((640, 420), (1120, 820), (3000, 500)):
        viewer.resize(*size)
        for pane in viewer.page():
            assert pane.x >= 0 and pane.y >= 0 and pane.width > 0 and pane.height > 0
            assert pane.x + pane.width <= size[0] and pane.y + pane.height <= size[1]
            assert isinstance(pane.scene, Scene)
    viewer.resize(10, 10)
    assert viewer.size == (640, 420)
