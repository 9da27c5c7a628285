"""Episodes under way: a person among others, and forks of recorded ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from environments import replay as replays
from environments.errors import RefusedFile, UsageError
from environments.replay import Replay, verify
from environments.vector import Array
from tests.recording import record
from tests.viz.persons import AtRandom, one_copy
from viz.moment import ReplayMoments
from viz.page import header
from viz.scene import Text
from viz.session import Session, forked
from viz.viewer import Viewer


def play_out(session: Session, own: int | Array = 0) -> Replay:
    while not session.over:
        mask = session.mask if session.asked else None
        mine = own if mask is None or not len(mask) or mask[int(own)] else int(np.argmax(mask))
        session.step(np.asarray(mine, np.int32) if session.asked else None)
    return session.replay()


def test_what_a_person_does_is_what_happens() -> None:
    session = Session(one_copy("particle/spread"), AtRandom(), "agent_1", {"scenario": "particle/spread"})
    played = play_out(session, 3)
    track = played.groups["agent"]
    assert (track.action[:, 1] == 3).all() and not (track.action[:, 0] == 3).all()
    assert np.isnan(track.probabilities[:, 1]).all() and not np.isnan(track.probabilities[:, 0]).any()
    assert verify(played).exact and played.header["scenario"] == "particle/spread"


def test_a_person_is_asked_only_when_its_agent_acts() -> None:
    session = Session(one_copy("board/tictactoe"), AtRandom(), "player_1")
    assert not session.asked
    session.step()
    assert session.asked and session.mask is not None and session.mask.sum() == 8
    with pytest.raises(ValueError, match="nobody says"):
        session.step()


def test_moments_say_what_was_paid_and_where_things_were() -> None:
    session = Session(one_copy("particle/spread"), AtRandom())
    for _ in range(3):
        session.step()
    moment = session.moment()
    assert moment.step == 3 and moment.past["agent_position"].shape[0] == 3 and not moment.over
    while not session.over:
        session.step()
    played = session.replay()
    totals = played.groups["agent"].reward.sum(0, dtype=np.float64)
    assert np.allclose([row.total for row in session.moment().agents], totals)
    assert session.moment().over


def test_a_scenario_is_called_by_its_name_and_not_by_its_environments() -> None:
    session = Session(one_copy("particle/spread"), AtRandom(), header={"scenario": "particle/crowd"})
    session.step()
    played = session.replay()
    assert session.moment().title == "particle/crowd"
    for said, shown in (("particle/crowd", "particle/crowd"), ("", "particle/spread"), (7, "particle/spread")):
        told = replace(played, header={**played.header, "scenario": said})
        assert [shape.text for shape in header(ReplayMoments(told)[0], 900).shapes if isinstance(shape, Text)] == [
            shown,
            "step 0 / 1",
        ]


def test_what_was_left_open_says_so_and_ends_there(tmp_path: Path) -> None:
    session = Session(one_copy("particle/spread"), AtRandom(), "agent_1")
    with pytest.raises(ValueError, match="no step to keep"):
        session.replay()
    session = Session(one_copy("particle/spread"), AtRandom())
    for _ in range(4):
        session.step()
    session.replay().save(tmp_path / "open.replay")
    kept = replays.load(tmp_path / "open.replay")
    assert kept.left_open and kept.steps == 4 and verify(kept).exact
    viewer = Viewer(kept)
    assert viewer.moments[4].outcome is None
    assert viewer.playback.marks[-1] == (4, "left open here: the episode had not ended", "end")
    with pytest.raises(ValueError, match="was left"):
        session.step()
    lied = replace(kept, metrics=kept.metrics, header={**kept.header, "left_open": "yes"})
    assert not lied.left_open and not verify(lied).exact


def test_no_such_agent() -> None:
    with pytest.raises(UsageError, match="has no agent 'agent_9'; it has agent_0, agent_1, agent_2"):
        Session(one_copy("particle/spread"), AtRandom(), "agent_9")


@pytest.mark.parametrize("name", ["particle/spread", "board/tictactoe", "toy/dock", "toy/siege", "foraging/field"])
def test_a_fork_repeats_its_parent_up_to_the_step_and_then_differs(name: str, tmp_path: Path) -> None:
    parent = record(name)
    step = parent.steps // 2
    fork = play_out(forked(parent, step, AtRandom(7), header={"scenario": name}))
    fork.save(tmp_path / "fork.replay")
    fork = replays.load(tmp_path / "fork.replay")
    assert verify(fork).exact and fork.header["scenario"] == name
    assert fork.parent is not None and fork.parent == (parent.identity, step)
    assert (fork.digests[: step + 1] == parent.digests[: step + 1]).all()
    assert fork.steps != parent.steps or (fork.digests != parent.digests).any()
    for group, track in fork.groups.items():
        before = parent.groups[group]
        for field in track._fields:
            ours, theirs = getattr(track, field)[:step], getattr(before, field)[:step]
            assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), field


def test_a_fork_that_decides_as_before_is_its_parent() -> None:
    parent = Session(one_copy("particle/tag", 5), AtRandom(3))
    recorded = play_out(parent)
    again = play_out(forked(recorded, 9, AtRandom(3)))
    assert (again.digests == recorded.digests).all() and again.steps == recorded.steps


def test_who_remembers_is_asked_from_the_start() -> None:
    parent = record("particle/spread")
    forgetful, mindful = AtRandom(), AtRandom()
    mindful.remembers = True
    for others in (forgetful, mindful):
        forked(parent, 6, others).step()
    assert forgetful.asked == [0, 6] and mindful.asked == [0, 1, 2, 3, 4, 5, 6]


def test_thoughts_are_told_after_a_fork_though_none_were_before() -> None:
    parent = record("particle/spread", traces=False)
    told = play_out(forked(parent, 6, AtRandom())).groups["agent"].probabilities
    assert np.isnan(told[:6]).all() and not np.isnan(told[6:]).any()


def test_forks_that_cannot_be() -> None:
    parent = record("particle/spread")
    for step in (-1, parent.steps):
        with pytest.raises(UsageError, match=f"0 to {parent.steps - 1}, not {step}"):
            forked(parent, step, AtRandom())
    actions = parent.groups["agent"].action.copy()
    actions[2] = (actions[2] + 1) % 5
    lied = {"agent": parent.groups["agent"]._replace(action=actions)}
    with pytest.raises(RefusedFile, match="another state at step 4: marl verify"):
        forked(replace(parent, groups=lied), 4, AtRandom())
