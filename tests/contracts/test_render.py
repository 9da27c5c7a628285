"""Every environment can be looked at through its faces: PettingZoo's own test, and what a picture must be."""

from __future__ import annotations

import time

import numpy as np
import pygame
import pytest
from pettingzoo.test import render_test

from tests.contracts.cases import CASES, Case
from tests.contracts.strict import choose_all, equal
from viz.screen.window import LiveWindow

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window keeps to the environment's own pace; a test need not."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@every_case
def test_pettingzoo_accepts_the_pictures(case: Case) -> None:
    render_test(case.aec)


@every_case
def test_a_picture_shows_the_state_and_changes_nothing(case: Case) -> None:
    """Equal states give equal pictures, other states other ones; looking does not change what comes."""
    seen, unseen = case.parallel(render_mode="rgb_array"), case.parallel()
    rng = np.random.default_rng(4)
    views, infos = seen.reset(seed=9)
    unseen.reset(seed=9)
    first = seen.render()
    assert np.array_equal(first, seen.render())
    pictures = {first.tobytes()}
    for _ in range(8):
        if not seen.agents:
            break
        actions = choose_all(seen, views, infos, rng)
        step = seen.step(actions)
        assert equal(list(step), list(unseen.step(actions)))
        pictures.add(seen.render().tobytes())
        views, infos = step[0], step[-1]
    assert len(pictures) > 1, "the picture never changes"
    seen.reset(seed=9)
    assert np.array_equal(first, seen.render()), "the picture depends on more than the state"


def test_closing_a_face_closes_its_window() -> None:
    face = Case("particle/spread").parallel(render_mode="human")
    assert LiveWindow._open is None
    face.reset()
    assert LiveWindow._open is not None and pygame.display.get_surface() is not None
    face.close()
    assert LiveWindow._open is None and not pygame.display.get_init()
