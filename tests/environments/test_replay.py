"""Replays: what is recorded comes back, and playing again finds the first step that differs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import environments
from environments import replay as replays
from environments.errors import EnvironmentFailure, RefusedFile, UsageError
from environments.replay import PolicyTrace, Recorder, Replay
from environments.replay_header import describe, spec_of
from tests.recording import record


@pytest.fixture(scope="module")
def spread() -> Replay:
    """150 steps of three agents: three chunks in a file."""
    return record("particle/spread", max_cycles=150)


def with_track(recorded: Replay, group: str, **fields: Any) -> Replay:
    """The replay with some arrays of one group exchanged."""
    return replace(recorded, groups={**recorded.groups, group: recorded.groups[group]._replace(**fields)})


def with_machine(recorded: Replay, **changes: Any) -> Replay:
    """The replay as if recorded on another machine."""
    return replace(recorded, header={**recorded.header, "machine": {**recorded.header["machine"], **changes}})


def assert_same(a: Replay, b: Replay) -> None:
    """Every array is bit for bit the same, and so is the header."""
    assert a.header == b.header
    assert a.spec.agents == b.spec.agents and a.spec.digest == b.spec.digest
    for name in a.groups:
        for field, x, y in zip(a.groups[name]._fields, a.groups[name], b.groups[name], strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), field
    assert a.frames.keys() == b.frames.keys()
    assert all(a.frames[name].tobytes() == b.frames[name].tobytes() for name in a.frames)
    assert a.digests.tobytes() == b.digests.tobytes()
    assert a.metrics.tobytes() == b.metrics.tobytes()
    for mine, other in ((a.initial.arrays, b.initial.arrays), (a.initial.clock, b.initial.clock)):
        assert {n: (x.dtype, x.shape, x.tobytes()) for n, x in mine.items()} == {
            n: (x.dtype, x.shape, x.tobytes()) for n, x in other.items()
        }


def test_imports_neither_torch_nor_numba() -> None:
    code = "import sys, environments.replay; print([m for m in ('torch', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["particle/tag", "toy/dock", "toy/noughts", "toy/siege"])
def test_round_trip_and_verification(name: str, tmp_path: Path) -> None:
    recorded = record(name)
    recorded.save(tmp_path / "a.replay")
    loaded = replays.load(tmp_path / "a.replay")
    assert loaded.damage is None
    assert_same(recorded, loaded)
    verdict = replays.verify(loaded)
    assert verdict.exact and verdict.step is None
    assert f"all {recorded.steps} steps" in str(verdict)


def test_records_what_happened() -> None:
    """Rewards, actions and frames of one copy, against an environment of one that is stepped beside it."""
    env = environments.make("particle/spread", num_envs=6, seed=4, max_cycles=20)
    rng = np.random.default_rng(1)
    env.reset()  # not the first episode of its key
    recorder = Recorder(env, 3, {"policies": {"team": "nobody"}})
    positions = [np.array(env.capture(3).arrays["agent_position"])]
    actions, rewards = [], []
    over = False
    while not over:
        chosen = {"agent": rng.integers(0, 5, (6, 3), dtype=np.int32)}
        out = env.step(chosen)
        actions.append(chosen["agent"][3].copy())
        rewards.append(out.groups[0].reward[3].copy())
        over = recorder.add(chosen, out)
        if not over:
            positions.append(np.array(env.capture(3).arrays["agent_position"]))
    recorded = recorder.finish()
    track = recorded.groups["agent"]
    assert recorded.steps == 20
    np.testing.assert_array_equal(track.action, actions)
    np.testing.assert_array_equal(track.reward, rewards)
    np.testing.assert_array_equal(recorded.frames["agent_position"][:-1], positions)
    assert recorded.frames["agent_position"].shape == (21, 3, 2)  # the final state too, which the batch never shows
    assert track.acting.all() and track.truncated[-1].all() and not track.truncated[:-1].any()
    assert recorded.header["policies"] == {"team": "nobody"}
    assert recorded.header["episode_seed"] == int(recorded.initial.clock["seed"])
    assert recorded.outcome[0] == pytest.approx(np.sum(rewards), rel=1e-5)


def test_policy_traces_are_kept_and_missing_ones_are_nan() -> None:
    env = environments.make("particle/speaker_listener", max_cycles=4)
    recorder = Recorder(env, 0)
    thought = np.asarray([[0.5, 0.25, 0.25]])
    for t in range(4):
        trace = {"speaker": PolicyTrace(thought, np.asarray([float(t)]))} if t != 2 else None
        actions = {"speaker": np.zeros((1, 1), np.int32), "listener": np.zeros((1, 1), np.int32)}
        recorder.add(actions, env.step(actions), trace)
    groups = recorder.finish().groups
    assert groups["listener"].probabilities.shape == (4, 1, 0) and np.isnan(groups["listener"].value).all()
    np.testing.assert_array_equal(groups["speaker"].value[[0, 1, 3], 0], [0, 1, 3])
    np.testing.assert_array_equal(groups["speaker"].probabilities[[0, 1, 3]], np.broadcast_to(thought, (3, 1, 3)))
    assert np.isnan(groups["speaker"].probabilities[2]).all() and np.isnan(groups["speaker"].value[2]).all()


def test_dead_agents_and_waiting_ones_do_not_act() -> None:
    siege, noughts = record("toy/siege", seed=2), record("toy/noughts")
    assert not siege.groups["raider"].acting.all() or not siege.groups["guard"].acting.all()
    np.testing.assert_array_equal(noughts.groups["player"].acting.sum(axis=1), np.ones(noughts.steps))


def test_a_recording_begins_with_an_episode() -> None:
    env = environments.make("particle/spread", num_envs=2)
    env.step({"agent": np.zeros((2, 3), np.int32)})
    with pytest.raises(ValueError, match="begins with an episode"):
        Recorder(env, 0)


def test_the_callers_header_cannot_replace_our_own() -> None:
    with pytest.raises(ValueError, match="outcome"):
        Recorder(environments.make("particle/spread"), 0, {"outcome": [1.0]})


def test_an_episode_that_goes_differently_is_not_written() -> None:
    """The recorded reward of one step is not the one that its actions give."""
    env = environments.make("particle/spread", max_cycles=5)
    recorder = Recorder(env, 0)
    for t in range(5):
        actions = {"agent": np.full((1, 3), t, np.int32)}
        out = env.step(actions)
        if t == 3:
            out.groups[0].reward[0, 1] = np.nextafter(out.groups[0].reward[0, 1], np.float32(9))
        recorder.add(actions, out)
    with pytest.raises(EnvironmentFailure, match="at step 3 group 'agent' has reward"):
        recorder.finish()


def test_verify_names_the_step_of_a_flipped_action(spread: Replay) -> None:
    action = spread.groups["agent"].action.copy()
    action[77, 1] = (action[77, 1] + 1) % 5
    verdict = replays.verify(with_track(spread, "agent", action=action))
    assert verdict.step == 77 and not verdict.last_bit and not verdict.exact
    assert "step 77" in str(verdict)


def test_verify_notices_each_kind_of_change(spread: Replay) -> None:
    reward = spread.groups["agent"].reward.copy()
    reward[12, 0] += 1
    found = replays.verify(with_track(spread, "agent", reward=reward))
    assert found.step == 12 and "reward" in found.what
    flags = spread.groups["agent"].terminated.copy()
    flags[30, 2] = True
    found = replays.verify(with_track(spread, "agent", terminated=flags))
    assert found.step == 30 and "terminated" in found.what
    digests = spread.digests.copy()
    digests[41] += np.uint64(1)
    found = replays.verify(replace(spread, digests=digests))
    assert found.step == 40 and "digest" in found.what
    start = {**spread.frames, "landmark_position": spread.frames["landmark_position"] + np.float32(0.5)}
    found = replays.verify(replace(spread, frames=start))
    assert found.step == -1 and "the start" in str(found)
    found = replays.verify(replace(spread, header={**spread.header, "outcome": [0.0]}))
    assert found.step == spread.steps - 1 and "outcome" in found.what


def test_rounding_on_another_machine_is_not_corruption(spread: Replay) -> None:
    """A state that is off by a last bit from some step on, as another processor would give it."""
    positions = spread.frames["agent_position"].copy()
    positions[100, 0] = np.nextafter(positions[100, 0], np.float32(9))
    changed = replace(spread, frames={**spread.frames, "agent_position": positions})
    here = replays.verify(changed)
    assert not here.last_bit and here.step == 99  # on the machine that recorded it there is no excuse
    elsewhere = replays.verify(with_machine(changed, cpu="another"))
    assert elsewhere.last_bit and elsewhere.step == 99 and 0 < elsewhere.largest < 10
    assert "not corruption" in str(elsewhere) and "another there" in str(elsewhere)


def test_rounding_that_adds_up_is_still_rounding(spread: Replay) -> None:
    """A processor that is off by 20 last bits in every step: hundreds in the end, yet each step is nearly right."""
    env = replays.one_copy(spread.spec, spread.initial)
    positions = spread.frames["agent_position"].copy()
    frames = {name: array.copy() for name, array in spread.frames.items()}
    for t in range(spread.steps):
        env.step({"agent": spread.groups["agent"].action[t : t + 1]})
        after = dict(env.capture(0).arrays)
        after["agent_position"] = after["agent_position"] + np.float32(20 * 2**-23)
        env.restore(0, after)
        for name, array in after.items():
            frames[name][t + 1] = array
    apart = np.abs(frames["agent_position"] - positions).max() / 2**-23
    assert apart > 10 * replays.LAST_BITS
    reward = np.zeros_like(spread.groups["agent"].reward)
    env = replays.one_copy(spread.spec, spread.initial)
    for t in range(spread.steps):
        env.restore(0, {name: array[t] for name, array in frames.items()})
        reward[t] = env.step({"agent": spread.groups["agent"].action[t : t + 1]}).groups[0].reward[0]
    drifted = with_track(replace(spread, frames=frames), "agent", reward=reward)
    verdict = replays.verify(with_machine(drifted, cpu="another"))
    assert verdict.last_bit and verdict.step == 0 and verdict.largest < replays.LAST_BITS


def test_corruption_on_another_machine_is_not_called_rounding(spread: Replay) -> None:
    positions = spread.frames["agent_position"].copy()
    positions[100, 0] += np.float32(0.01)
    changed = replace(spread, frames={**spread.frames, "agent_position": positions})
    verdict = replays.verify(with_machine(changed, packages={"numba": "0.1"}))
    assert not verdict.last_bit and verdict.step == 99 and "numba 0.1 there" in str(verdict)


def test_actions_outside_their_space_are_refused(tmp_path: Path, spread: Replay) -> None:
    """Compiled rules do not check bounds: such a file must never reach them."""
    for wrong in (-1, 5, 2**30):
        action = spread.groups["agent"].action.copy()
        action[3, 1] = wrong
        with_track(spread, "agent", action=action).save(tmp_path / "bad.replay")
        with pytest.raises(RefusedFile, match="actions outside"):
            replays.load(tmp_path / "bad.replay")


def test_only_the_key_of_a_start_is_believed(spread: Replay) -> None:
    """State arrays of a file may hold numbers that rules use as an index: they are compared, never restored."""
    recorded = record("particle/tag")
    wild = replace(
        recorded, initial=replace(recorded.initial, arrays={n: a + 10**6 for n, a in recorded.initial.arrays.items()})
    )
    first = next(replays.resimulate(wild))
    np.testing.assert_array_equal(first.state.arrays["agent_position"], recorded.frames["agent_position"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "particle/nothing"}, "cannot be made"),
        ({"options": {"N": 4}}, "can be watched, not played again"),
        ({"options": {"N": -4}}, "cannot be made"),
        ({"options": {"friends": 4}}, "cannot be made"),
    ],
)
def test_environments_that_cannot_be_made_are_refused(spread: Replay, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedFile, match=message):
        replays.verify(replace(spread, spec=replace(spread.spec, **change)))


def test_another_version_is_refused(spread: Replay) -> None:
    other = replace(spread, initial=replace(spread.initial, digest="0" * 16))
    with pytest.raises(RefusedFile, match="version 1 of particle/spread"):
        replays.verify(other)


def test_a_damaged_replay_is_not_saved_again(spread: Replay, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        replace(spread, damage="cut").save(tmp_path / "a.replay")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", environments.names(toys=True))
def test_descriptions_survive_json(name: str) -> None:
    game = environments.game(name)
    spec = game.spec(game.options())
    back = spec_of(json.loads(json.dumps(describe(spec), allow_nan=False)))
    assert back.agents == spec.agents and back.kinds == spec.kinds and back.digest == spec.digest
    for mine, other in zip(back.groups, spec.groups, strict=True):
        assert mine.agents == other.agents and mine.kind == other.kind
        if isinstance(other.action_space, spaces.Box):
            np.testing.assert_array_equal(mine.action_space.low, other.action_space.low)  # type: ignore[attr-defined]
            np.testing.assert_array_equal(mine.action_space.high, other.action_space.high)  # type: ignore[attr-defined]
        else:
            assert mine.action_space == other.action_space


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("groups", 0, "agents"), ["a", "a", "a"]),
        (("groups", 0, "agents"), [1, 2, 3]),
        (("groups", 0, "kind"), "nobody"),
        (("groups", 0, "observation"), ["float32", [10**9, 10**9]]),
        (("groups", 0, "observation"), ["object", [1]]),
        (("groups", 0, "action"), {"discrete": 10**12}),
        (("groups", 0, "name"), "x" * 1000),
        (("kinds", 0, "teams"), 10**9),
        (("kinds", 0, "teams"), 2),
        (("step_seconds",), 0),
        (("step_seconds",), 1e-4),
        (("step_seconds",), 61.0),
        (("version",), "one"),
    ],
)
def test_senseless_descriptions_are_refused(spread: Replay, path: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    described = json.loads(json.dumps(spread.header["environment"]))
    place = described
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    replace(spread, header={**spread.header, "environment": described}).save(tmp_path / "a.replay")
    with pytest.raises(RefusedFile, match="contradicts itself"):
        replays.load(tmp_path / "a.replay")


def test_who_played_and_where_a_fork_comes_from(spread: Replay) -> None:
    said = {"player": "runs/a/policies/team.safetensors", "sha256": "0f" * 32, "steps": 12_000, "algorithm": "mappo"}
    header = {**spread.header, "policies": {"team": said}, "parent": {"identity": spread.identity, "step": 41}}
    found = replace(spread, header=header)
    assert found.policies == {"team": (said["player"], said["sha256"], 12_000)}
    assert found.parent == (spread.identity, 41)
    assert spread.parent is None and spread.policies == {"team": ("random", None, None)}


def test_each_of_two_teams_is_named() -> None:
    recorded = record("toy/noughts")
    kind, (first, second) = recorded.spec.kinds[0].name, recorded.spec.team_names
    whole = replace(recorded, header={**recorded.header, "policies": {kind: "both", second: {"algorithm": "ippo"}}})
    assert whole.policies == {first: ("both", None, None), second: ("ippo", None, None)}


@pytest.mark.parametrize("said", [7, None, ["a"], {"player": 3, "sha256": "zz", "steps": -1}, {"steps": True}])
def test_names_that_make_no_sense_are_nothing(spread: Replay, said: Any) -> None:
    found = replace(spread, header={**spread.header, "policies": {"team": said}, "parent": said})
    assert found.policies == {"team": ("", None, None)} and found.parent is None
    wild = replace(spread, header={**spread.header, "policies": said, "parent": {"identity": "0" * 16, "step": 1.5}})
    assert wild.policies == {"team": ("", None, None)} and wild.parent is None


def test_an_identity_names_what_was_done(spread: Replay) -> None:
    action = spread.groups["agent"].action.copy()
    assert len(spread.identity) == 16 and with_track(spread, "agent", action=action).identity == spread.identity
    action[149, 2] = (action[149, 2] + 1) % 5
    assert with_track(spread, "agent", action=action).identity != spread.identity
    other = record("particle/spread", seed=1, max_cycles=150)
    start = replace(spread, initial=other.initial)
    assert start.identity != spread.identity
