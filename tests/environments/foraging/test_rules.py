"""Known answers: what loading pays, what ends an episode, what critics see; whatever the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import environments
from environments.replay import verify
from environments.vector import Array, VectorEnv
from tests.contracts.play import assert_same, random_actions, snapshot
from tests.recording import record

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
START = {
    "player_position": [[2, 1], [3, 2]],  # west and south of the first food
    "player_level": [1, 2],
    "food_position": [[2, 2], [6, 6]],
    "food_level": [3, 1],
    "food_spawned": 4,
}


def begin(**options: Any) -> VectorEnv:
    """Two players beside food of level 3, another piece of level 1 far away."""
    env = environments.make("foraging/8x8-2p-2f", **options)
    env.restore(0, {name: np.array(array, np.int32) for name, array in START.items()})
    return env


def act(env: VectorEnv, *actions: int) -> Array:
    """Rewards of a step."""
    env.step({"agent": np.array([actions], np.int32)})
    return env.buffers.groups[0].reward[0]


def test_together_they_load_and_share_by_level() -> None:
    env = begin()
    np.testing.assert_allclose(act(env, LOAD, LOAD), [1 / 3 * 3 / 4, 2 / 3 * 3 / 4])
    assert env.capture(0).arrays["food_level"].tolist() == [0, 1]
    assert env.buffers.metrics[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(act(begin(normalize_reward=False), LOAD, LOAD), [3, 6])


def test_loading_alone_is_in_vain_and_costs() -> None:
    env = begin(penalty=0.25)
    assert act(env, NONE, LOAD).tolist() == [0, -0.25]
    assert env.buffers.metrics[0].tolist() == [0, 1, 0]
    assert act(begin(), NONE, LOAD).tolist() == [0, 0]


def test_the_last_food_ends_the_episode_and_a_team_earns_one() -> None:
    env = begin()
    act(env, LOAD, LOAD)
    env.restore(0, {"player_position": np.array([[5, 6], [0, 0]], np.int32)})
    assert act(env, LOAD, NONE).tolist() == [0.25, 0]
    group = env.buffers.groups[0]
    assert env.buffers.episode_over[0] and group.terminated.all() and not group.truncated.any()
    assert env.buffers.outcome[0, 0] == pytest.approx(1)
    assert env.capture(0).arrays["food_spawned"] >= 2  # the next episode has begun


@pytest.mark.parametrize("terminates", [True, False])
def test_time_is_up(terminates: bool) -> None:
    env = begin(max_cycles=2, timeout_terminates=terminates)
    for late in (False, True):
        act(env, NONE, NONE)
        group = env.buffers.groups[0]
        assert (group.truncated == late).all() and (group.terminated == (late and terminates)).all()
        assert env.buffers.episode_truncated[0] == (late and not terminates)


def test_the_state_is_shares_of_the_largest() -> None:
    env = begin()
    food, players = [2 / 7, 2 / 7, 3 / 4, 6 / 7, 6 / 7, 1 / 4], [2 / 7, 1 / 7, 1 / 2, 3 / 7, 2 / 7, 1]
    np.testing.assert_allclose(env.buffers.state[0], [*food, *players, 1], rtol=1e-6)
    act(env, LOAD, LOAD)
    np.testing.assert_allclose(env.buffers.state[0], [*food[:2], 0, *food[3:], *players, 49 / 50], rtol=1e-6)
    assert begin(timeout_terminates=False).spec.state_size == 12


def test_views_lie_in_their_space() -> None:
    for options in ({}, {"sight": 1}, {"grid_observation": True}, {"observe_agent_levels": False}):
        env = environments.make("foraging/8x8-2p-2f", 16, seed=2, **options)
        group, rng = env.spec.groups[0], np.random.default_rng(0)
        assert group.observation_space.shape == (len(group.features),)
        for _ in range(30):
            env.step(random_actions(env, rng))
            assert all(group.observation_space.contains(row) for row in env.buffers.groups[0].obs.reshape(32, -1))


def test_what_a_player_sees_without_the_others_level() -> None:
    env = begin(observe_agent_levels=False, sight=2)
    assert env.buffers.groups[0].obs[0, 0].tolist() == [2, 2, 3, -1, -1, 0, 2, 1, 3, 2]


def test_numbers_that_are_no_actions_do_nothing() -> None:
    one, other = begin(), begin()
    act(one, -1, 6)
    act(other, NONE, NONE)
    assert_same(snapshot(one.buffers), snapshot(other.buffers), "step 1")


def test_a_replay_verifies() -> None:
    for name in ("foraging/8x8-2p-2f", "foraging/1s-5x5-4p-2f"):
        replay = record(name)
        assert replay.spec.name == "foraging/field"
        assert verify(replay).exact
