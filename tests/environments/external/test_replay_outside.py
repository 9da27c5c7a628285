"""Replays of somebody else's environment are played again by their actions, where that is allowed and possible."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from environments.errors import RefusedFile
from environments.external import named, sources
from environments.replay import Recorder, Replay, load, verify
from tests.contracts.play import random_actions

ARENA = "tests.environments.external.arenas:Arena"


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode of the arena, the second of two copies."""
    env = named.make(ARENA, 2, seed=5)
    path = tmp_path_factory.mktemp("replays") / "arena.replay"
    recorder, rng = Recorder(env, 1, path=path), np.random.default_rng(0)
    while True:
        actions = random_actions(env, rng)
        if recorder.add(actions, env.step(actions)):
            break
    recorder.finish()
    return path


def changed(recorded: Replay, name: str, step: int) -> Replay:
    """With another number in one step of a group's track, or of what it saw."""
    group = next(iter(recorded.groups))
    if name == "obs":
        obs = recorded.views[group].obs.copy()
        obs[step] += 1
        return replace(recorded, views={**recorded.views, group: recorded.views[group]._replace(obs=obs)})
    track = getattr(recorded.groups[group], name).copy()
    track[step] = ~track[step] if track.dtype == bool else track[step] + 1
    return replace(recorded, groups={**recorded.groups, group: recorded.groups[group]._replace(**{name: track})})


def test_it_repeats_itself_exactly(arena: Path) -> None:
    verdict = verify(load(arena, ARENA))
    assert verdict.exact and verdict.steps == load(arena).steps > 3
    assert str(verdict).startswith(f"exact: all {verdict.steps} steps give the recorded rewards and views")


@pytest.mark.parametrize(("name", "said"), [("reward", "reward of"), ("terminated", "terminated of"), ("obs", "seen")])
def test_a_change_is_found_where_it_is(name: str, said: str, arena: Path) -> None:
    verdict = verify(changed(load(arena, ARENA), name, 2))
    assert not verdict.exact and not verdict.last_bit and said in verdict.what
    assert verdict.step == (1 if name == "obs" else 2)


def test_what_was_not_recorded_of_views_is_compared_by_its_digest(arena: Path) -> None:
    """And nothing but the digest, the length and the outcome is left to tell."""
    recorded = replace(load(arena, ARENA), views={})
    assert verify(recorded).exact
    digests = recorded.digests.copy()
    digests[2] ^= np.uint64(1)
    verdict = verify(replace(recorded, digests=digests))
    assert verdict.step == 1 and "digest" in verdict.what
    lied = replace(recorded, header={**recorded.header, "outcome": [7.0] * recorded.spec.num_teams})
    assert verify(lied).what == "the outcome"
    assert verify(replace(recorded, header={**recorded.header, "left_open": True})).what == "the episode's end"


def test_a_file_does_not_choose_what_is_run(arena: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that a file names is imported only where somebody else names it too."""
    (tmp_path / "trap.py").write_text("raise SystemExit('sprung')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("trap:make", f"{tmp_path / 'trap.py'}:make", "pettingzoo:trap", "gymnasium:trap:x-v0"):
        recorded = load(arena)
        hostile = replace(recorded, spec=replace(recorded.spec, name=name))
        with pytest.raises(RefusedFile, match=r"names code to run.*say so with --environment"):
            verify(hostile)
        with pytest.raises(RefusedFile, match="names code to run"):
            verify(replace(hostile, vouched=ARENA))
    assert "trap" not in sys.modules
    with pytest.raises(RefusedFile, match="names code to run"):
        verify(load(arena))


def test_known_packages_may_be_named() -> None:
    for name in ("pettingzoo:mpe2.simple_tag_v3", "pettingzoo:classic.tictactoe_v3", "gymnasium:Foraging-8x8-2p-2f-v3"):
        assert sources.is_known(name)
    for name in ("mpe2:simple_tag_v3", "pettingzoo:os.path", "pettingzoo:mpe2x.y", "subprocess:call", "a.py:b"):
        assert not sources.is_known(name)


def test_another_environment_of_that_name_is_refused(arena: Path) -> None:
    recorded = load(arena, ARENA)
    other = replace(recorded, initial=replace(recorded.initial, digest="0" * 16))
    with pytest.raises(RefusedFile, match="is not the environment that was recorded"):
        verify(other)
