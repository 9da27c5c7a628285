"""Pictures of every environment, without a screen; films; what a bad file or a bad number does to them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import environments
from environments.errors import RefusedFile, StorageFailure, UsageError
from environments.replay import Replay
from tests.recording import record
from viz import drawings, panel, plots, video
from viz.drawings import plain
from viz.letters import width_of
from viz.moment import ReplayMoments
from viz.page import FOOTER, HEADER, Pane, footer
from viz.render import render
from viz.scene import OBJECT_COLORS, Arrow, Box, Bubble, Circle, Color, Line, Polygon, Scene, Shape, Text, View
from viz.screen import has_display, pygame_module
from viz.screen.raster import _font, picture
from viz.viewer import PANEL_WIDTH, Viewer

INK = Color(0, 0, 0)


def board(image: np.ndarray) -> np.ndarray:
    """The part of a picture that the drawing fills."""
    return image[HEADER:-FOOTER]


def colors(image: np.ndarray) -> int:
    """Number of different colours."""
    return len(np.unique(image.astype(np.int32) @ (1, 1 << 8, 1 << 16)))


def test_viz_never_imports_torch_and_pygame_only_on_the_screen() -> None:
    code = (
        "import sys, viz.viewer, viz.render, viz.drawings.particle, viz.drawings.toy, viz.drawings.crypto;"
        "assert 'pygame' not in sys.modules, 'pygame';"
        "import viz.video, viz.screen.window;"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_environment_has_a_drawing() -> None:
    assert set(drawings.DRAWINGS) == set(environments.names(toys=True))
    for name in drawings.DRAWINGS:
        assert drawings.drawing_of(name).draw is not plain.draw


@pytest.mark.parametrize("name", environments.names(toys=True))
def test_every_environment_is_drawn_and_moves(name: str) -> None:
    viewer = Viewer(record(name))
    viewer.resize(900, 640)
    images = []
    for frame in (0, viewer.playback.last // 2, viewer.playback.last):
        viewer.playback.seek(frame)
        image = picture(viewer.page(), *viewer.size, smoothness=1)
        assert image.shape == (640, 900, 3) and image.dtype == np.uint8
        assert colors(board(image)[:400, : 900 - PANEL_WIDTH]) > 8
        images.append(board(image)[:400, : 900 - PANEL_WIDTH])
    assert (images[0] != images[-1]).any()


@pytest.mark.parametrize("name", environments.names(toys=True))
def test_every_action_has_a_name(name: str) -> None:
    game = environments.game(name)
    spec = game.spec(game.options())
    for group in spec.groups:
        parts = drawings.drawing_of(name).actions(spec, group)
        space = group.action_space
        sizes = [int(space.n)] if hasattr(space, "n") else list(getattr(space, "nvec", space.shape))
        assert [len(part) for part in parts] == sizes
        assert all(len(set(part)) == len(part) for part in parts)


def test_continuous_actions_are_drawn_with_their_spread() -> None:
    viewer = Viewer(record("particle/spread", continuous_actions=True))
    assert colors(picture(viewer.page(), *viewer.size, smoothness=1)) > 50


def test_what_agents_say_is_shown() -> None:
    recorded = record("particle/speaker_listener")
    moments = ReplayMoments(recorded)
    for frame in (1, 5, 20):
        scene = drawings.draw(moments[frame])
        said = int(recorded.groups["speaker"].action[frame - 1, 0])
        assert [s.text for s in scene.shapes if isinstance(s, Bubble)] == [f"“{'ABC'[said]}”"]
    assert not [s for s in drawings.draw(moments[0]).shapes if isinstance(s, Bubble)]


def test_agents_are_ringed_in_the_colour_of_where_they_should_go() -> None:
    """In reference, the goal that an agent knows is the other one's."""
    recorded = next(r for r in (record("particle/reference", seed=s) for s in range(20)) if len(set(goals(r))) == 2)
    scene = drawings.draw(ReplayMoments(recorded)[0])
    for i, place in enumerate(recorded.frames["agent_position"][0]):
        rings = [s.line for s in scene.shapes if isinstance(s, Circle) and s.fill is None and s.center == tuple(place)]
        assert rings == [OBJECT_COLORS[goals(recorded)[1 - i]]]


def goals(recorded: Replay) -> list[int]:
    """Number of the landmark that each agent knows to be the other's goal."""
    return [int(goal) for goal in recorded.frames["goal"][0]]


def test_the_view_stands_still_and_holds_everything() -> None:
    recorded = record("particle/spread", max_cycles=150)
    view = drawings.view_of(recorded)
    assert np.abs(recorded.frames["agent_position"]).max() < view.right < 8
    assert np.abs(recorded.frames["agent_position"]).max() > 1.3  # they do walk out of the first view


def test_environments_without_a_drawing_are_shown_plainly() -> None:
    recorded = record("particle/tag")
    foreign = replace(recorded, spec=replace(recorded.spec, name="somebody/elses"))
    viewer = Viewer(foreign)
    words = [s.text for pane in viewer.page() for s in pane.scene.shapes if isinstance(s, Text)]
    assert "somebody/elses has no drawing" in words and "adversary_0" in words
    assert colors(picture(viewer.page(), *viewer.size, smoothness=1)) > 8


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("particle/spread", {"agent_position": None}),
        ("particle/spread", {"agent_position": (2,)}),
        ("particle/push", {"goal": None}),
        ("particle/speaker_listener", {"goal": 99}),
        ("toy/meet", {"cell": 10**6}),
        ("particle/collect_treasure", {"holding": None}),
    ],
)
def test_states_that_do_not_fit_are_refused(name: str, change: dict[str, object]) -> None:
    """A file may call anything `particle/spread`."""
    recorded = record(name)
    frames = dict(recorded.frames)
    for array, value in change.items():
        if value is None:
            del frames[array]
        elif isinstance(value, tuple):
            frames[array] = np.zeros((recorded.steps + 1, *value), np.float32)
        else:
            frames[array] = np.full_like(frames[array], value)
    with pytest.raises(RefusedFile, match="do not look like those"):
        Viewer(replace(recorded, frames=frames)).page()


def test_numbers_that_are_no_places_do_not_stop_the_picture() -> None:
    recorded = record("particle/spread")
    positions = recorded.frames["agent_position"].copy()
    positions[3, 0], positions[3, 1], positions[3, 2] = np.nan, np.inf, 3e38
    viewer = Viewer(replace(recorded, frames={**recorded.frames, "agent_position": positions}))
    viewer.playback.seek(3)
    assert colors(picture(viewer.page(), *viewer.size, smoothness=1)) > 8


SHAPES: list[Shape] = [
    Circle((5, 5), 3, INK),
    Circle((5, 5), 3, None, INK, 0.5),
    Line(((1, 1), (9, 9)), INK, 0.5),
    Polygon(((1, 1), (9, 1), (5, 9)), INK),
    Polygon(((1, 1), (9, 1), (5, 9)), None, INK, 0.4),
    Box((1, 1), (9, 9), INK, radius=1),
    Box((1, 1), (9, 9), None, INK, 0.5),
    Arrow((1, 1), (9, 9), INK, 0.4),
    Text((5, 5), "ink", 4, INK),
    Bubble((5, 5), "ink", 3, INK),
]


def painted(*shapes: Shape, smoothness: int = 2) -> np.ndarray:
    """A picture of 100 x 100 pixels of the square from 0 to 10, on white."""
    scene = Scene(View(0, 0, 10, 10), shapes, Color(255, 255, 255))
    return picture([Pane(0, 0, 100, 100, scene)], 100, 100, smoothness)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_every_shape_leaves_ink_in_the_middle_of_its_place(shape: Shape) -> None:
    dark = painted(shape).mean(axis=2) < 128
    assert 20 < dark.sum() < 9000
    ys, xs = np.nonzero(dark)
    assert 25 < xs.mean() < 75 and 25 < ys.mean() < 75
    assert not dark[:4].any() and not dark[:, :4].any()


def test_places_and_sizes_are_right() -> None:
    dark = painted(Circle((2, 8), 1, INK)).mean(axis=2) < 128
    ys, xs = np.nonzero(dark)
    assert xs.mean() == pytest.approx(19.5, abs=0.6) and ys.mean() == pytest.approx(19.5, abs=0.6)  # up is up
    assert dark.sum() == pytest.approx(np.pi * 100, rel=0.1)


def test_translucent_shapes_let_through() -> None:
    image = painted(Box((0, 0), (10, 10), Color(0, 0, 0, 128)))
    assert 118 < image[50, 50, 0] < 138


def test_smooth_edges() -> None:
    circle = Circle((5, 5), 3, INK)
    assert colors(painted(circle, smoothness=3)) > colors(painted(circle, smoothness=1)) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_shapes_at_impossible_places_are_left_out(bad: float) -> None:
    shapes: list[Shape] = [
        Circle((bad, 5), 1, INK, INK, 1),
        Circle((5, 5), bad, None, INK, 0.1),
        Line(((bad, 1), (bad, 9)), INK, 0.5),
        Polygon(((1, bad), (9, 1), (5, bad)), None, None, 0.4),
        Box((bad, bad), (bad, bad), INK),
        Arrow((1, bad), (9, bad), INK, 0.4),
        Text((bad, 5), "ink", 4, INK),
        Bubble((bad, 5), "ink", 3, INK),
    ]
    assert painted(*shapes, Circle((5, 5), 1, INK)).shape == (100, 100, 3)


def test_a_long_text_is_cut() -> None:
    _, xs = np.nonzero(painted(Text((1, 5), "much too long for this", 2, INK, "left", False, 5)).mean(axis=2) < 128)
    assert xs.max() < 62


def test_pictures_survive_a_library_that_quits_pygame() -> None:
    pygame = pygame_module()
    before = painted(Text((5, 5), "ink", 4, INK))
    pygame.quit()
    np.testing.assert_array_equal(painted(Text((5, 5), "ink", 4, INK)), before)
    pygame.quit()
    pygame.font.init()
    np.testing.assert_array_equal(painted(Text((5, 5), "ink", 4, INK)), before)


def test_only_video_and_fonts_are_started() -> None:
    painted(Text((5, 5), "ink", 4, INK))
    assert not pygame_module().mixer.get_init() and not pygame_module().joystick.get_init()


def test_render_of_a_running_environment() -> None:
    env = environments.make("particle/tag", num_envs=3)
    first = render(env, 1)
    assert first is not None and first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    for _ in range(4):
        env.step({g.name: np.ones((3, len(g.agents)), np.int32) for g in env.spec.groups})
    later = render(env, 1)
    assert later is not None and (board(later) != board(first)).any()
    other = render(env, 2)
    assert other is not None and (board(other) != board(later)).any()
    with pytest.raises(ValueError, match="rgb_array"):
        render(env, 0, "ansi")


def test_render_through_the_pettingzoo_face(monkeypatch: pytest.MonkeyPatch) -> None:
    env = environments.parallel_env("particle/spread", render_mode="rgb_array")
    env.reset(seed=1)
    image = env.render()
    assert image is not None and colors(image) > 8
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    human = environments.parallel_env("particle/spread", render_mode="human")
    human.reset(seed=1)  # opens the window by itself
    assert pygame_module().display.get_surface() is not None
    human.close()


def test_without_a_display_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from viz.screen.window import LiveWindow, watch

    LiveWindow.close()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    with pytest.raises(UsageError, match=r"no display.*--gif"):
        watch(Viewer(record("particle/spread")), "spread")
    with pytest.raises(UsageError, match="no display"):
        render(environments.make("particle/spread"), 0, "human")


def test_a_gutted_pygame_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", ModuleType("pygame"))
    with pytest.raises(UsageError, match="pip uninstall -y pygame pygame-ce"):
        pygame_module()


def test_the_window_plays_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loop on SDL's dummy driver: keys and mouse arrive as pygame's own events."""
    from viz.screen import window

    pygame = pygame_module()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    viewer = Viewer(record("particle/spread"))
    played: list[int] = []
    real = window.Painter.paint_page

    def script(self: window.Painter, surface: object, panes: list[Pane], *look: float) -> None:
        real(self, surface, panes, 1)
        played.append(viewer.playback.frame)
        events = {
            0: pygame.event.Event(pygame.KEYDOWN, key=pygame.K_RIGHT, mod=pygame.KMOD_LSHIFT, unicode=""),
            1: pygame.event.Event(pygame.KEYDOWN, key=pygame.K_SLASH, mod=pygame.KMOD_LSHIFT, unicode="?"),
            2: pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=(300, 100)),
            3: pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q, mod=0, unicode="q"),
        }
        if len(played) - 1 in events:
            pygame.event.post(events[len(played) - 1])

    monkeypatch.setattr(window.Painter, "paint_page", script)
    window.watch(viewer, "test")
    assert played[0] == 0 and played[1] == 10
    assert viewer.quit and not viewer.help
    assert not pygame.display.get_init()


def test_png(tmp_path: Path) -> None:
    viewer = Viewer(record("particle/spread"))
    video.save_png(viewer, 25, tmp_path / "deep" / "a.png", height=400, panel=True)
    with Image.open(tmp_path / "deep" / "a.png") as image:
        assert image.size == video.frame_size(400, True)
        assert colors(np.asarray(image)) > 20
    for frame in (-1, 26):
        with pytest.raises(UsageError, match="frames 0 to 25"):
            video.save_png(viewer, frame, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_gif_has_every_frame_at_its_time(tmp_path: Path) -> None:
    viewer = Viewer(record("particle/spread"))
    seen: list[int] = []
    video.save_gif(viewer, tmp_path / "a.gif", height=300, speed=2.0, progress=seen.append)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 26 and film.size == video.frame_size(300, False)  # type: ignore[attr-defined]
        frames, times = [], []
        for frame in range(26):
            film.seek(frame)
            times.append(film.info["duration"])
            frames.append(np.asarray(film.convert("RGB")))
    assert times[:25] == [50] * 25 and times[25] == 1000
    assert all((a != b).any() for a, b in pairwise(frames))
    assert seen == list(range(1, 27))
    assert np.abs(frames[9].astype(int) - video.image(viewer, 9, 300)).mean() < 2.0  # the palette is good enough
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_mp4(tmp_path: Path) -> None:
    import imageio_ffmpeg

    video.save_mp4(Viewer(record("particle/spread")), tmp_path / "a.mp4", height=300)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert frames == 26 * 3 + 30 and seconds == pytest.approx(3.6, abs=0.1)


def test_mp4_without_its_library_gives_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r"pip install .marl\[video\]"):
        video.save_mp4(Viewer(record("particle/spread")), tmp_path / "a.mp4")


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailure, match="cannot write"):
        video.save_png(Viewer(record("particle/spread")), 0, tmp_path / "file" / "a.png")
    viewer = Viewer(record("particle/spread"))

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.save_gif(viewer, tmp_path / "a.gif", height=240, progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "names", [["bot:board/connect_four/depth-2", "random"], ["a", "b"], [f"p{k}" for k in range(9)]]
)
def test_nothing_of_a_heat_map_is_cut_off(tmp_path: Path, names: list[str]) -> None:
    title = "board/connect_four: points per game, row against column"
    plots.draw_table(names, np.full((len(names), len(names)), 0.5), tmp_path / "map.png", title, 0.0, 1.0)
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("L"))
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 255).all()
    assert (picture < 128).any(0).mean() > 0.2 and min(picture.shape) > 150


@pytest.mark.parametrize("suffix", plots.FORMATS)
def test_a_curve_that_cannot_be_written_leaves_the_old_picture(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, out = np.arange(3.0), tmp_path / "deep" / f"a{suffix}"
    curves = [plots.Curve("a", x, x, x - 1, x + 1)]
    plots.draw_curves(curves, out, "title", "x", "y")
    before = out.read_bytes()
    assert len(before) > 1000

    def full(figure: Figure, path: Path, **options: object) -> None:
        path.write_bytes(b"half of a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(StorageFailure, match=r"No space left on device; nothing was replaced$"):
        plots.draw_curves(curves, out, "title", "x", "y")
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]


def test_numbers_fit_into_a_card() -> None:
    numbers = [1.254, -99.99, -177.64, 131.0, 12345.6, -1.2e9, -0.0, -0.001, np.inf]
    assert [panel.short(x) for x in numbers] == [
        *("+1.25", "-99.99", "-177.6", "+131.0", "+12346", "-1.2e+09", "+0.00", "+0.00", "+inf"),
    ]


def test_names_and_scores_stand_in_the_footer_as_far_apart_as_letters_are_wide() -> None:
    for text, bold in (("iiii", False), ("mmmm", True), ("adversary", False), ("+12.5", True)):
        assert abs(width_of(text, 14, bold) - _font(14, bold).size(text)[0]) < 3, "not as it is painted"
    moment = replace(ReplayMoments(record("particle/tag"))[3], scores=np.array([-0.01, -3.0]), policies=())
    texts = [shape for shape in footer(moment, Scene(View(0, 0, 1, 1), []), 900).shapes if isinstance(shape, Text)]
    shown = [text for text in texts if text.text]
    assert [text.text for text in shown] == ["adversary", "+0.0", "good", "-3.0"]
    for name, score in (shown[:2], shown[2:]):
        assert score.at[0] - name.at[0] - width_of(name.text, name.height) == pytest.approx(7)
