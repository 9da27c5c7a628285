"""Frames per second: pictures of a running environment beside other people's, and a replay played and scrubbed."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

import environments
from marl.cli import bench_peers
from marl.cli.bench_env import Contender, medians
from marl.cli.bench_rows import Rounds, row
from scenarios.scenario import Scenario

if TYPE_CHECKING:
    from viz.viewer import Viewer

FRAMES = "frames/s"
SCREEN = ("a screen's 60 frames/s", 60.0)
SMOOTHNESS = 2
"""As the window paints."""


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario. The contenders take turns in every round.

    `render()`: a step and the picture of it, as a PettingZoo environment in mode `rgb_array`. `watching`: a whole
    window of the viewer, at the usual speed; `scrubbing`: the same at places of the episode drawn by lot.
    """
    theirs = other(scenario)
    ours = environments.parallel_env(scenario.environment, render_mode="rgb_array", **scenario.options)
    contenders = [] if theirs is None else [theirs]
    contenders += [
        Contender("render()", pictures(ours)),
        Contender("watching", watching(viewer(scenario))),
        Contender("scrubbing", scrubbing(viewer(scenario))),
    ]
    found = medians(contenders, options)
    peer = None if theirs is None else (theirs.name, found[theirs.name])
    beside = {"render()": peer, "watching": SCREEN, "scrubbing": SCREEN}
    for name, speed in found.items():
        yield row(f"{scenario.name}, {name}", speed, beside.get(name), FRAMES)


def other(scenario: Scenario) -> Contender | None:
    """mpe2's environment of the same rules, drawn as its own users draw it; None, said aloud, where it is missing."""
    if scenario.environment not in bench_peers.MPE2:
        return None
    try:
        module = importlib.import_module(f"mpe2.{bench_peers.MPE2[scenario.environment]}")
    except ImportError:
        print("skipped: mpe2 is not installed; pip install 'marl[envs]'", file=sys.stderr)
        return None
    env = module.parallel_env(render_mode="rgb_array", **scenario.options)
    return Contender(f"mpe2 {importlib.metadata.version('mpe2')} render()", pictures(env))


def pictures(env: Any) -> Callable[[int], object]:
    """Steps a PettingZoo parallel environment, and draws it."""
    step = bench_peers.parallel(env)

    def draw(k: int) -> None:
        step(k)
        env.render()

    return draw


def viewer(scenario: Scenario) -> Viewer:
    """A viewer with an episode of random play."""
    from environments.replay import load
    from marl.cli import evaluate
    from viz.viewer import Viewer

    with TemporaryDirectory() as folder:
        asked = evaluate.Evaluate(scenario.name, episodes=1, record=1, out=Path(folder), threads=1)
        result = evaluate.measure(evaluate.find(scenario.name), asked)
        return Viewer(load(result["replays"][0]))


def watching(shown: Viewer) -> Callable[[int], object]:
    """A frame of a replay that plays, again and again."""
    paint = painted(shown)
    shown.playback.loop = True

    def frame(k: int) -> None:
        shown.advance(1 / SCREEN[1])
        paint()

    return frame


def scrubbing(shown: Viewer) -> Callable[[int], object]:
    """A frame of a replay whose time line is dragged to anywhere."""
    paint, shares = painted(shown), np.random.default_rng(0).random(bench_peers.DRAWS).tolist()

    def frame(k: int) -> None:
        shown.playback.scrub(shares[k % len(shares)])
        paint()

    return frame


def painted(shown: Viewer) -> Callable[[], object]:
    """Paints the present page as the window does, without one."""
    from viz.screen.raster import Painter, blank

    surface, painter = blank(*shown.size), Painter()
    return lambda: painter.paint_page(surface, shown.page(), SMOOTHNESS)
