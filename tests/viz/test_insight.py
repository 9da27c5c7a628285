"""What agents saw and thought at a frame: played again, asked for, recorded; and how their page shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from gymnasium import spaces

import environments
from environments.replay import GroupTrack, PolicyTrace, ViewTrack
from environments.vector import VectorEnv
from tests.recording import record
from tests.viz.test_playback import words
from viz.rerun import KEPT, Rerun
from viz.scene import RED, Line, Picture
from viz.thumbnail import thumbnail
from viz.viewer import PANEL_WIDTH, Viewer


@cache
def rerun() -> Rerun:
    """Tag, 150 steps, played again, with somebody who thinks that action `step % 5` is best."""

    def think(env: VectorEnv) -> Mapping[str, PolicyTrace]:
        sure = np.eye(5)[int(env.episode_step[0]) % 5]
        return {"adversary": PolicyTrace(np.tile(sure, (3, 1)), np.full(3, 4.5))}

    found = Rerun(record("particle/tag", traces=False, max_cycles=150), lambda: think)
    found.wait()
    return found


def test_what_agents_saw_is_worked_out() -> None:
    """Equal to what an environment shows that is stepped from the start, at any frame and in any order."""
    recorded = record("particle/tag", traces=False, max_cycles=150)
    env = environments.make("particle/tag", num_envs=2, seed=0, max_cycles=150)
    seen = [np.array(env.buffers.groups[0].obs[1])]
    for t in range(recorded.steps):
        actions = {name: np.repeat(track.action[t : t + 1], 2, 0) for name, track in recorded.groups.items()}
        seen.append(np.array(env.step(actions).groups[0].obs[1]))
    for step in (149, 3, KEPT, 64, 65, 0, 128, 100):
        told = rerun().at(step)
        assert told is not None
        np.testing.assert_array_equal(told["adversary"].obs, seen[step])
        assert told["adversary"].features[0] == "velocity_x" and told["adversary"].action_mask is None
        assert rerun().state(step) is not None
    assert rerun().at(151) is None and rerun().note == ""


def test_thoughts_that_were_not_recorded_are_asked_for() -> None:
    viewer = Viewer(record("particle/tag", traces=False, max_cycles=150), insights=[rerun()])
    viewer.press("tab")
    viewer.playback.pause()
    viewer.playback.seek(73)
    shown = words(viewer)
    assert "asked now" in shown and shown.count("100 %") == 1 and shown.count("0 %") == 4 and "+4.50" in shown
    assert "velocity_x" in shown
    plain = Viewer(record("particle/tag", traces=False, max_cycles=150))
    plain.press("tab")
    assert "not recorded" in words(plain) and not any("%" in text for text in words(plain))


def test_what_was_recorded_of_views_is_shown() -> None:
    """Somebody else's environment: its replay holds what agents saw, and nobody plays it again."""
    recorded = record("board/tictactoe")
    group = recorded.spec.group("player")
    obs = np.arange(recorded.steps * 2 * 18, dtype=np.float32).reshape(recorded.steps, 2, 18) + 0.5
    mask = np.ones((recorded.steps, 2, 9), np.bool_)
    mask[:, :, 4] = False
    viewer = Viewer(replace(recorded, views={group.name: ViewTrack(obs, mask)}))
    viewer.select(1)
    viewer.playback.pause()
    viewer.playback.seek(3)
    assert {f"{number:.4g}" for number in obs[3, 1]} <= set(words(viewer))
    viewer.playback.seek(recorded.steps)
    assert "not recorded" in words(viewer)


def test_what_becomes_known_is_shown_without_a_key() -> None:
    """While the picture rests, it changes once when the simulator is there, and then no more."""
    recorded = record("particle/tag", traces=False, max_cycles=150)
    viewer = Viewer(recorded, insights=[Rerun(recorded)])
    viewer.playback.pause()
    assert not viewer.advance(0.01)  # nobody asked
    viewer.press("tab")
    viewer.page()
    until = time.monotonic() + 60
    while "velocity_x" not in words(viewer) and time.monotonic() < until:
        changed = viewer.advance(0.01)
        assert changed or "velocity_x" not in words(viewer)
    assert "velocity_x" in words(viewer) and not viewer.advance(0.01)


def test_illegal_actions_are_told_from_legal_ones() -> None:
    recorded = record("board/tictactoe")
    told = Rerun(recorded)
    told.wait()
    insight = told.at(3)
    assert insight is not None
    mask = insight["player"].action_mask
    assert mask is not None
    board = recorded.frames["board"][3]
    place = int(recorded.groups["player"].acting[3].argmax())
    np.testing.assert_array_equal(mask[place], board == 2)
    viewer = Viewer(recorded, insights=[told])
    viewer.playback.pause()
    viewer.playback.seek(3)
    viewer.select(place)
    page = next(pane for pane in viewer.page() if pane.x == viewer.size[0] - PANEL_WIDTH)
    struck = [s for s in page.scene.shapes if isinstance(s, Line) and s.color == RED.faded(0.7)]
    assert len(struck) == 3


def test_an_episode_that_goes_another_way_here_is_not_told() -> None:
    recorded = record("particle/tag", traces=False, max_cycles=150)
    changed = recorded.groups["agent"].action.copy()
    changed[70] = (changed[70] + 1) % 5
    track: GroupTrack = recorded.groups["agent"]._replace(action=changed)
    told = Rerun(replace(recorded, groups={**recorded.groups, "agent": track}))
    told.wait()
    assert told.at(60) is not None and told.at(75) is None and told.at(140) is None
    assert "goes another way before step 128" in told.note


def test_rounding_of_another_machine_is_no_other_way() -> None:
    """Recorded where the last bits differ: every state is nearly the one that is found here."""
    recorded = record("particle/tag", traces=False, max_cycles=150)
    frames = {name: x.copy() for name, x in recorded.frames.items()}
    frames["agent_position"][1:] *= np.float32(1 + 1e-6)
    elsewhere = replace(recorded, frames=frames, digests=recorded.digests + np.uint64(1))
    told = Rerun(elsewhere)
    told.wait()
    for step in (60, 64, 149):
        here, there = told.at(step), rerun().at(step)
        assert here is not None and there is not None and told.note == ""
        np.testing.assert_allclose(here["agent"].obs, there["agent"].obs, atol=1e-3)


def test_images_are_shown() -> None:
    """What each agent sees, at its own step, whole and within the page."""
    recorded = record("board/tictactoe")
    spec = recorded.spec
    seen = np.random.default_rng(0).integers(0, 255, (recorded.steps, 2, 12, 20, 3), np.uint8)
    group = replace(spec.group("player"), observation_space=spaces.Box(0, 255, (12, 20, 3), np.uint8), features=())
    views = {"player": ViewTrack(seen, np.ones((recorded.steps, 2, 9), np.bool_))}
    viewer = Viewer(replace(recorded, spec=replace(spec, groups=(group,)), views=views))
    viewer.select(1)
    viewer.playback.pause()
    for size in ((1280, 720), (640, 420), (3000, 2000)):
        viewer.resize(*size)
        viewer.playback.seek(3)
        found = [(shape, pane) for pane in viewer.page() for shape in pane.scene.shapes if isinstance(shape, Picture)]
        if size == (640, 420):
            assert not found, "there is no room"
            continue
        ((shape, pane),) = found
        np.testing.assert_array_equal(shape.pixels, seen[3, 1])
        assert max(shape.opposite[0] / pane.width, shape.opposite[1] / pane.height) < 1
        assert "12 × 20 × 3" in words(viewer)


def test_grids_of_numbers_become_pixels() -> None:
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 255, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(thumbnail(colors), colors)
    np.testing.assert_array_equal(thumbnail(np.moveaxis(colors, -1, 0)), colors)
    grey = thumbnail(np.array([[-2.0, 0.0], [2.0, np.nan]], np.float32))
    assert grey is not None and grey[..., 0].tolist() == [[0, 128], [255, 128]] and (grey[..., 0] == grey[..., 2]).all()
    for planes in (rng.integers(0, 2, (8, 8, 5), np.uint8), rng.integers(0, 2, (5, 8, 8), np.uint8)):
        tiled = thumbnail(planes)
        assert tiled is not None and tiled.shape == (17, 26, 3)
        last = planes[4] if planes.shape[0] == 5 else planes[..., 4]
        np.testing.assert_array_equal(tiled[9:, 9:17, 0], 255 * last)
    assert thumbnail(np.zeros((2, 2), np.float32)).max() == 0  # type: ignore[union-attr]
    assert thumbnail(np.zeros((2, 2, 2, 2))) is None and thumbnail(np.zeros((0, 3))) is None


def test_views_that_were_too_large_are_said_to_be() -> None:
    recorded = record("particle/tag", traces=False)
    for said, shown in (("more than 8192 bytes a step", True), ("\x1b[2J", False), (7, False)):
        viewer = Viewer(replace(recorded, header={**recorded.header, "no_observations": said}))
        viewer.select(0)
        assert (said in words(viewer)) == shown
