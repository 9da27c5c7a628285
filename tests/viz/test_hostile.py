"""Replays whose numbers are no numbers, or wild: a page, a refusal in words, never a crash."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import RefusedFile
from environments.replay import GroupTrack, Replay
from tests.recording import record
from viz.drawings import SIZES
from viz.video import image
from viz.viewer import Viewer

NAMES = [
    "board/connect_four",
    "board/hex",
    "colorgrid/leader_follower",
    "foraging/field",
    "matrix/climbing",
    "particle/collect_treasure",
    "particle/crypto",
    "particle/tag",
    "particle/world_comm",
    "roshambo/repeated",
    "skirmish/battle",
    "toy/dock",
    "toy/siege",
    "warehouse/robots",
]
FLOATS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 1e30}


def filled(array: np.ndarray, kind: str) -> np.ndarray:
    """The array with something else in every place: no number, or the most extreme of its type."""
    if array.dtype.kind == "f":
        return np.full_like(array, min(FLOATS[kind], float(np.finfo(array.dtype).max)))
    if array.dtype.kind == "b":
        return np.full_like(array, kind in ("nan", "inf"))
    ends = np.iinfo(array.dtype)
    return np.full_like(array, ends.min if kind in ("nan", "-inf") else ends.max)


def wild(recorded: Replay, kind: str) -> Replay:
    """The replay with such numbers in its states and in all that policies thought and got."""
    groups = {}
    for name, track in recorded.groups.items():
        fields: dict[str, Any] = {f: filled(getattr(track, f), kind) for f in ("reward", "probabilities", "value")}
        groups[name] = GroupTrack(**{**track._asdict(), **fields})
    frames = {name: filled(array, kind) for name, array in recorded.frames.items()}
    header = {**recorded.header, "outcome": [FLOATS[kind]] * recorded.spec.num_teams}
    return replace(recorded, groups=groups, frames=frames, metrics=filled(recorded.metrics, kind), header=header)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_wild_numbers_are_shown_or_refused(name: str, kind: str) -> None:
    try:
        viewer = Viewer(wild(record(name), kind))
        for frame in (0, viewer.replay.steps):
            viewer.playback.seek(frame)
            viewer.page()
        assert image(viewer, 1, 240, panel=True).shape[0] == 240
    except RefusedFile as error:
        assert "do not look like those of" in str(error)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("board/hex", "size", 10**9),
        ("toy/siege", "guards", 2**40),
        ("toy/meet", "cells", -1),
        ("toy/dock", "carts", "many"),
        ("toy/siege", "raiders", float("inf")),
    ],
)
def test_options_that_would_be_drawn_for_days_are_refused(name: str, option: str, value: Any) -> None:
    recorded = record(name)
    spec = replace(recorded.spec, options={**recorded.spec.options, option: value})
    with pytest.raises(RefusedFile, match="do not look like those of"):
        Viewer(replace(recorded, spec=spec))


def test_sizes_name_options_that_there_are() -> None:
    for name, options in SIZES.items():
        known = {field.name for field in fields(environments.game(name).options)}
        assert set(options) <= known, name
