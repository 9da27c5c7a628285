"""The viewer as a person uses it: a real window on a screen in memory, real keys, a real mouse, pictures looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.recording import record
from tests.viz.desktop import Desktop, Picture, count, need_a_desktop
from viz.page import FOOTER, HEADER
from viz.scene import BLUE, GOLD, INK, RED
from viz.timeline import TIMELINE, TRACK, TRACK_LEFT, TRACK_RIGHT
from viz.viewer import PANEL_WIDTH

WIDTH, HEIGHT = 1280, 720
STEPS = 100
BOARD = (slice(HEADER, HEIGHT - TIMELINE - FOOTER), slice(0, WIDTH - PANEL_WIDTH))
SIDE = (slice(HEADER, HEIGHT - TIMELINE), slice(WIDTH - PANEL_WIDTH, WIDTH))


@pytest.fixture(scope="module")
def shared() -> Iterator[Desktop]:
    """One screen for all tests."""
    need_a_desktop()
    desktop = Desktop()
    yield desktop
    desktop.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two episodes of tag, 100 steps each."""
    folder = tmp_path_factory.mktemp("replays")
    for seed in (0, 1):
        record("particle/tag", seed=seed, max_cycles=STEPS).save(folder / f"{seed}.replay")
    return folder / "0.replay", folder / "1.replay"


@pytest.fixture
def watched(shared: Desktop, files: tuple[Path, Path]) -> Desktop:
    """The viewer of the first episode; one for all tests, until it is ended."""
    if shared.program is None:
        shared.start("watch", str(files[0]))
    return shared


@pytest.fixture
def window(watched: Desktop) -> Desktop:
    """The same, at its first frame, with nothing selected, moved or typed."""
    watched.move(300, 300)
    watched.keys("g", "1", "2", "Return", "Escape" if selected(watched.picture()) else "0", "0", "Home")
    watched.see(lambda seen: frame(seen) == 0 and not selected(seen), "the first frame")
    return watched


def frame(picture: Picture, width: int = WIDTH, height: int = HEIGHT, steps: int = STEPS) -> int:
    """Number of the shown frame: where the head of the time line is."""
    y = height - TIMELINE + TRACK
    strip = np.abs(picture[y - 5 : y + 6, :width].astype(int) - INK[:3]).max(axis=(0, 2)) < 40
    columns = np.flatnonzero(strip[TRACK_LEFT - 9 :]) + TRACK_LEFT - 9
    columns = columns[columns < width - TRACK_RIGHT + 9]
    if not len(columns):
        return -1
    return round((columns.mean() - TRACK_LEFT) / (width - TRACK_LEFT - TRACK_RIGHT) * steps)


def selected(picture: Picture) -> bool:
    """True where an agent wears the golden ring."""
    return count(picture[BOARD], GOLD) > 40


def blue(picture: Picture) -> tuple[float, float]:
    """Where the one blue agent is; its arrow is of another blue."""
    places = np.argwhere(np.abs(picture[BOARD].astype(int) - BLUE[:3]).max(axis=-1) < 24)
    y, x = places.mean(axis=0) if len(places) else (0, 0)
    return float(x), float(y) + HEADER


def test_without_a_desktop_tests_are_skipped_and_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Xvfb and no xdotool: apt-get install"):
        need_a_desktop()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Xvfb and xdotool must be there"):
        need_a_desktop()


def test_it_opens_with_board_panel_and_time_line(window: Desktop) -> None:
    seen = window.picture()
    assert count(seen[BOARD], RED) > 200 and count(seen[BOARD], BLUE) > 20, "agents of both teams"
    assert count(seen[SIDE], INK) > 300, "names in the panel"
    assert count(seen[SIDE], RED) > 300, "bars of what agents thought"
    footer = seen[HEIGHT - TIMELINE - 46 : HEIGHT - TIMELINE, : WIDTH - PANEL_WIDTH]
    assert count(footer, RED) > 60 and count(footer, BLUE) > 60, "both teams in the legend"


def test_space_plays_and_pauses(window: Desktop) -> None:
    window.keys("space")
    window.see(lambda seen: frame(seen) > 3, "it plays")
    window.keys("space")

    def rests(seen: Picture) -> bool:
        time.sleep(0.3)
        return frame(seen) == frame(window.picture())

    assert frame(window.see(rests, "it rests")) < STEPS


def test_arrows_step_both_ways(window: Desktop) -> None:
    window.keys("Right", "Right", "Right", "Left")
    window.see(lambda seen: frame(seen) == 2, "two steps on")
    window.keys("shift+Right")
    window.see(lambda seen: frame(seen) == 12, "ten more")
    window.keys("End", "Left")
    window.see(lambda seen: frame(seen) == STEPS - 1, "one before the end")


def test_the_time_line_is_dragged(window: Desktop) -> None:
    y = HEIGHT - TIMELINE + TRACK
    track = WIDTH - TRACK_LEFT - TRACK_RIGHT
    window.drag((TRACK_LEFT + 0.1 * track, y), (TRACK_LEFT + 0.7 * track, y + 60))
    window.see(lambda seen: frame(seen) == 70, "where it was dragged to")
    window.click(TRACK_LEFT + 0.25 * track, y)
    window.see(lambda seen: frame(seen) == 25, "where it was clicked")


def test_a_step_is_typed(window: Desktop) -> None:
    window.keys("g", "4", "2")
    window.see(lambda seen: count(seen[HEIGHT - TIMELINE - 60 : HEIGHT - TIMELINE, 400:900], GOLD) > 300, "the prompt")
    window.keys("Return")
    window.see(lambda seen: frame(seen) == 42, "step 42")


def test_an_agent_is_clicked_followed_and_left(window: Desktop) -> None:
    window.click(*blue(window.picture()))
    seen = window.see(selected, "the ring around it")
    assert count(seen[SIDE], INK) > 300
    window.keys("f")
    middle = ((WIDTH - PANEL_WIDTH) / 2, HEADER + (HEIGHT - HEADER - TIMELINE - FOOTER) / 2)
    window.see(lambda seen: bool(np.allclose(blue(seen), middle, atol=8)), "the agent in the middle")
    window.keys("Escape", "0")
    window.see(lambda seen: not selected(seen), "no ring")
    window.keys("Tab")
    window.see(selected, "another ring")


def test_the_wheel_zooms_and_dragging_moves(window: Desktop) -> None:
    before = window.picture()[BOARD]
    window.wheel(5, 470, 320)
    seen = window.see(lambda now: count(now[BOARD], RED) > 1.5 * count(before, RED), "larger agents")
    window.drag((470, 320), (600, 380))
    window.see(lambda now: (now[BOARD] != seen[BOARD]).mean() > 0.02, "another part of the picture")
    window.keys("0")
    window.see(lambda now: bool((now[BOARD] == before).mean() > 0.99), "all of it again")


def test_the_keys_are_listed(window: Desktop) -> None:
    window.keys("h")
    window.see(lambda seen: count(seen[100:620, 200:1080], GOLD, 8) > 1500, "the frame of the list")
    window.keys("h")
    window.see(lambda seen: count(seen[100:620, 200:1080], GOLD, 8) < 300, "no list")


def test_another_size(window: Desktop) -> None:
    window.do("windowsize", window.window, "900", "560")
    seen = window.see(lambda seen: frame(seen, 900, 560) == 0, "the time line of a smaller window")
    assert count(seen[HEADER : 560 - TIMELINE, : 900 - PANEL_WIDTH], RED) > 80
    window.do("windowsize", window.window, str(WIDTH), str(HEIGHT))
    window.see(lambda seen: frame(seen) == 0, "the first size")


def test_it_ends_by_q_and_two_are_compared(watched: Desktop, files: tuple[Path, Path]) -> None:
    watched.keys("q")
    assert watched.ended() == 0
    watched.start("watch", str(files[0]), "--compare", str(files[1]))
    left, right = ((BOARD[0], slice(470 * k, 470 * (k + 1))) for k in (0, 1))
    seen = watched.see(lambda now: frame(now) >= 0, "the time line")
    for half in (left, right):
        assert count(seen[half], RED) > 60 and count(seen[half], BLUE) > 10
    above = (slice(HEIGHT - TIMELINE, HEIGHT - TIMELINE + 20), slice(TRACK_LEFT - 8, TRACK_LEFT + 9))
    assert count(seen[above], GOLD) > 30, "the mark of the first difference, at the start"
    watched.keys("space", "Tab", "g", "5", "0", "Return")
    seen = watched.see(lambda now: frame(now) == 50, "both at step 50")
    for half in (left, right):
        watched.see(lambda now, half=half: count(now[half], GOLD) > 20, "the ring in both")  # type: ignore[misc]
    watched.keys("q")
    assert watched.ended() == 0
