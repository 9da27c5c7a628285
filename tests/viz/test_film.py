"""Recorded pictures on the screen: the whole of one, a part of one, none, and through the viewer's pages."""

from __future__ import annotations

import numpy as np
import pytest

from environments.replay import Replay
from tests.environments.external.drawn import picture
from tests.environments.external.test_pictures import watched
from viz.drawings import draw, film_scene, view_of
from viz.moment import Film, ReplayMoments
from viz.page import FOOTER, HEADER
from viz.scene import Picture, Scene, View
from viz.screen.raster import paint, pygame
from viz.video import image
from viz.viewer import Viewer


def painted(scene: Scene, width: int, height: int, smoothness: int = 1) -> np.ndarray:
    """A scene's pixels, `[height, width, 3]`."""
    return np.asarray(pygame.surfarray.array3d(paint(scene, width, height, smoothness)).swapaxes(0, 1))


@pytest.fixture(scope="module")
def film() -> Replay:
    return watched({"length": 12})[0]


def test_a_picture_at_its_own_size_is_itself() -> None:
    pixels = picture(3)
    np.testing.assert_array_equal(painted(film_scene(Film((40, 48), pixels)), 48, 40), pixels)


def test_an_enlarged_picture_stays_sharp() -> None:
    pixels = picture(3)
    large = painted(film_scene(Film((40, 48), pixels)), 48 * 5, 40 * 5)
    np.testing.assert_array_equal(large, pixels.repeat(5, 0).repeat(5, 1))


def test_a_part_of_a_picture() -> None:
    """Ten by ten points around the middle, enormously enlarged, and one point as large as the surface."""
    pixels = picture(3)
    whole = Picture((0, 0), (48, 40), pixels)
    part = painted(Scene(View(20, 30, 30, 20), [whole]), 100, 100)
    np.testing.assert_array_equal(part, pixels[20:30, 20:30].repeat(10, 0).repeat(10, 1))
    point = painted(Scene(View(20.4, 20.6, 20.6, 20.4), [whole]), 90, 90)
    assert (point == pixels[20, 20]).all()


def test_a_smaller_picture_has_the_same_mean() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    small = painted(film_scene(Film((400, 400), pixels)), 100, 100)
    assert abs(small.mean() - pixels.mean()) < 2


def test_a_picture_elsewhere_is_not_painted() -> None:
    away, nowhere = Picture((100, 100), (140, 140), picture(0)), Picture((0, np.nan), (1, 1), picture(0))
    scene = Scene(View(0, 40, 40, 0), [away, nowhere])
    assert len(np.unique(painted(scene, 60, 60).reshape(-1, 3), axis=0)) == 1


def test_scenes_are_equal_where_their_pictures_are_the_same(film: Replay) -> None:
    moments = ReplayMoments(film)
    view = view_of(film)
    assert draw(moments[3], view) == draw(moments[3], view) != draw(moments[4], view)


def test_a_viewer_shows_pictures(film: Replay) -> None:
    assert view_of(film) == View(0, 40, 48, 0)
    viewer = Viewer(film)
    shown = image(viewer, 7, 400)
    scale = shown.shape[1] / 48
    top = HEADER + (400 - HEADER - FOOTER - 40 * scale) / 2
    rows, columns = (top + (np.arange(40) + 0.5) * scale).astype(int), ((np.arange(48) + 0.5) * scale).astype(int)
    np.testing.assert_allclose(shown[rows[:, None], columns].astype(int), picture(7), atol=3)
    viewer.playback.seek(7)
    assert viewer.page()


def test_a_missing_picture_is_words() -> None:
    late = watched({"length": 12, "trouble": "late"})[0]
    scene = draw(ReplayMoments(late)[9], view_of(late))
    assert "no picture of this step" in str(scene.shapes)
    assert isinstance(draw(ReplayMoments(late)[3]).shapes[0], Picture)
