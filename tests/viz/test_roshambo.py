"""The drawing of roshambo: who threw what, who wins, who leads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from environments.errors import RefusedFile
from environments.games.roshambo.names import BOTS, THROWS
from environments.replay import Replay
from tests.recording import record
from viz import drawings
from viz.moment import ReplayMoments
from viz.scene import INK, Box, Text
from viz.viewer import Viewer


def texts(recorded: Replay, frame: int) -> list[Text]:
    """All that is written in one frame."""
    scene = drawings.draw(ReplayMoments(recorded)[frame])
    return [shape for shape in scene.shapes if isinstance(shape, Text)]


@pytest.mark.parametrize("frame", [1, 6, 13, 30])
def test_what_is_written_is_what_was_thrown(frame: int) -> None:
    recorded = record("roshambo/repeated", throws=30)
    rewards = recorded.groups["player"].reward
    written = texts(recorded, frame)
    wins = [text for text in written if text.text == "wins"]
    paid = rewards[frame - 1]
    assert len(wins) == int(np.abs(paid).max())
    assert all((text.at[0] < 5) == (paid[0] > 0) for text in wins)
    assert f"{rewards[:frame, 0].sum():+.0f}" in [text.text for text in written]
    letters: dict[float, str] = {}
    for text in written:
        if text.text in ("R", "P", "S"):
            letters[text.at[1]] = letters.get(text.at[1], "") + text.text
    thrown = recorded.groups["player"].action[max(0, frame - 13) : frame]
    assert [letters[y] for y in sorted(letters)] == ["".join("RPS"[k] for k in thrown[:, seat]) for seat in (0, 1)]


def test_a_bot_is_called_by_its_rule() -> None:
    recorded = record("roshambo/repeated", throws=30, opponent="population")
    bot = BOTS[int(recorded.frames["bot"][0])]
    assert f"bot: {bot}" in [text.text for text in texts(recorded, 3)]


def test_nothing_is_thrown_before_the_first_throw() -> None:
    recorded = record("roshambo/repeated", throws=30)
    scene = drawings.draw(ReplayMoments(recorded)[0])
    assert not {"wins", "R", "P", "S"} & {text.text for text in texts(recorded, 0)}
    assert not [shape for shape in scene.shapes if isinstance(shape, Box) and shape.line == INK]
    assert drawings.drawing_of("roshambo/repeated").actions(recorded.spec, recorded.spec.groups[0]) == (THROWS,)
    assert Viewer(recorded).page()


def test_marks_are_where_the_lead_changes() -> None:
    recorded = record("roshambo/repeated", throws=30)
    lead = recorded.groups["player"].reward[:, 0].cumsum()
    wanted, leader = [], 0
    for t, now in enumerate(np.sign(lead)):
        if now and now != leader:
            wanted.append((t + 1, "good" if now > 0 else "bad"))
            leader = now
    marks = [mark for mark in drawings.marks_of(recorded) if mark.tone != "end"]
    assert [(mark.frame, mark.tone) for mark in marks] == wanted and wanted


def test_what_a_file_says_wrongly_is_refused() -> None:
    recorded = record("roshambo/repeated", throws=30)
    for frames in ({"counts": np.zeros((31, 3))}, {"recent": np.zeros((31, 1))}, {"recent": np.full((31, 1, 2), 7)}):
        with pytest.raises(RefusedFile, match="do not look like those of roshambo/repeated"):
            Viewer(replace(recorded, frames={**recorded.frames, **frames})).page()
