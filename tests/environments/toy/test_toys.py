"""The toys' rules, by hand and by numbers that can be worked out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import environments
from environments.vector import VectorEnv
from tests.contracts import play


def test_meet_pays_when_all_stand_in_one_cell() -> None:
    env = environments.make("toy/meet")
    env.restore(0, {"cell": np.array([0, 1, 2])})
    buffers = env.step({"agent": np.array([[2, 0, 1]], np.int32)})
    group = buffers.groups[0]
    assert group.reward.tolist() == [[1, 1, 1]] and group.terminated.all() and buffers.episode_over[0]
    assert buffers.metrics.tolist() == [[2, 1]]
    assert group.final_obs[0, 0].tolist() == [-0.5, np.float32(24 / 25), 0, 0]
    assert group.final_mask.all()


def test_meet_has_walls() -> None:
    env = environments.make("toy/meet")
    env.restore(0, {"cell": np.array([0, 2, 4])})
    assert env.buffers.groups[0].action_mask.tolist() == [[[True, False, True], [True] * 3, [True, True, False]]]
    buffers = env.step({"agent": np.array([[1, 0, 2]], np.int32)})
    assert env.capture(0).arrays["cell"].tolist() == [0, 2, 4]
    assert buffers.groups[0].reward.tolist() == [[np.float32(-0.1)] * 3] and buffers.metrics.tolist() == [[0, 0]]


def test_meet_never_begins_met() -> None:
    env = environments.make("toy/meet", num_envs=500, agents=2, cells=2)
    cells = env.capture(range(500)).arrays["cell"]
    assert (cells[:, 0] != cells[:, 1]).all()
    assert set(map(tuple, cells.tolist())) == {(0, 1), (1, 0)}


def test_dock_moves_by_its_equation() -> None:
    env = environments.make("toy/dock", gust=0.0)
    env.restore(0, {"position": np.zeros(2), "velocity": np.array([1.0, -1.0]), "berth": np.array([1.0, 1.0])})
    buffers = env.step({"cart": np.array([[[2.0, 0.0], [9.0, 1.0]]], np.float32)})  # 9 is clipped to 2
    velocity = np.array([1 + 0.4, -0.5 + 0.4], np.float32)
    np.testing.assert_allclose(buffers.groups[0].obs[0, :, 1], velocity, rtol=1e-6)
    np.testing.assert_allclose(buffers.groups[0].obs[0, :, 0], 0.1 * velocity, rtol=1e-6)
    np.testing.assert_allclose(buffers.groups[0].reward[0], -(1 - 0.1 * velocity), rtol=1e-6)
    np.testing.assert_allclose(buffers.metrics[0, 0], -buffers.groups[0].reward.sum(), rtol=1e-6)


def test_dock_gusts_are_uniform_and_independent() -> None:
    env = environments.make("toy/dock", num_envs=4000, gust=1.0)
    env.step({"cart": np.zeros((4000, 2, 2), np.float32)})
    gusts = env.capture(range(4000)).arrays["velocity"] / 0.1
    assert np.abs(gusts).max() <= 1 + 1e-6 and abs(gusts.mean()) < 0.03
    assert abs(gusts.var() - 1 / 3) < 0.02 and abs(np.corrcoef(gusts.T)[0, 1]) < 0.06


def test_dock_agent_state_has_the_own_cart_first() -> None:
    env = environments.make("toy/dock", carts=3)
    buffers = env.buffers
    for i, j in itertools.product(range(3), range(3)):
        own = buffers.groups[0].agent_state[0, i, 3 * j : 3 * j + 3]
        other = (i + j) % 3
        assert np.array_equal(own, buffers.state[0, 3 * other : 3 * other + 3])


def lines() -> list[tuple[int, int, int]]:
    """The eight lines of the board."""
    rows = [(3 * i, 3 * i + 1, 3 * i + 2) for i in range(3)]
    return rows + [(i, i + 3, i + 6) for i in range(3)] + [(0, 4, 8), (2, 4, 6)]


@pytest.mark.parametrize("line", lines())
@pytest.mark.parametrize("winner", [0, 1])
def test_noughts_sees_every_line(line: tuple[int, int, int], winner: int) -> None:
    env = environments.make("toy/noughts")
    board = np.full(9, 2, np.uint8)
    board[list(line[:2])] = winner
    env.restore(0, {"board": board, "mover": np.int64(winner), "marked": np.int64(2)})
    buffers = env.step({"player": np.full((1, 2), line[2], np.int32)})
    assert buffers.groups[0].terminated.all() and buffers.episode_over[0] and not buffers.episode_truncated[0]
    sign = 1 if winner == 0 else -1
    assert buffers.groups[0].reward.tolist() == [[sign, -sign]]
    assert buffers.outcome.tolist() == [[1 - winner, winner]]
    assert buffers.groups[0].final_obs[0, winner, list(line)].tolist() == [1, 1, 1]


def test_noughts_can_be_drawn() -> None:
    env = environments.make("toy/noughts", random_start=False)
    for turn, cell in enumerate((0, 1, 2, 4, 3, 5, 7, 6, 8)):
        assert env.buffers.groups[0].acting.tolist() == [[turn % 2 == 0, turn % 2 == 1]]
        buffers = env.step({"player": np.full((1, 2), cell, np.int32)})
    assert buffers.episode_over[0] and buffers.outcome.tolist() == [[0.5, 0.5]]
    assert buffers.groups[0].reward.tolist() == [[0, 0]]


@pytest.mark.parametrize("cell", [0, -1, 9, 1000])
def test_noughts_illegal_move_loses(cell: int) -> None:
    env = environments.make("toy/noughts", random_start=False)
    env.step({"player": np.zeros((1, 2), np.int32)})
    buffers = env.step({"player": np.full((1, 2), cell, np.int32)})
    assert buffers.outcome.tolist() == [[1, 0]] and buffers.metrics.tolist() == [[1]]


def test_noughts_at_random_is_as_known() -> None:
    """Uniform play: the first player wins .5850, loses .2880, draws .1270 (the game tree, counted exactly)."""
    env = environments.make("toy/noughts", num_envs=500, random_start=False)
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(120):
        buffers = env.step(play.random_actions(env, rng))
        outcomes += buffers.outcome[buffers.episode_over, 0].tolist()
    shares = [np.mean(np.array(outcomes) == score) for score in (1, 0, 0.5)]
    np.testing.assert_allclose(shares, [0.585, 0.288, 0.127], atol=0.02)


def siege(**options: object) -> VectorEnv:
    """One copy in which everyone stands."""
    return environments.make("toy/siege", **{"random_size": False, **options})


def charge_all(env: VectorEnv) -> dict[str, np.ndarray]:
    """All guards charge raider 0; raiders wait."""
    guards = np.zeros((env.num_envs, 4, 2), np.int32)
    guards[..., 0] = 1
    return {"guard": guards, "raider": np.zeros((env.num_envs, 2), np.int32)}


def test_siege_pays_for_a_felled_raider_one_step_later_to_the_dead_too() -> None:
    """The episode is searched for by seed: a guard falls while it fells raider 0."""
    for key in range(500):
        env = siege()
        env.reset(keys=[key])
        first = env.step(charge_all(env))
        guards, raiders = first.groups
        if guards.terminated.any() and raiders.terminated[0, 0] and not first.episode_over[0]:
            break
    else:
        pytest.fail("no such episode")
    died = guards.terminated[0].copy()
    assert np.array_equal(guards.reward[0], np.where(died, np.float32(-0.5), 0))
    assert not guards.acting[0][died].any() and guards.acting[0][~died].all()
    rest = {"guard": np.zeros((1, 4, 2), np.int32), "raider": np.zeros((1, 2), np.int32)}
    assert env.step(rest).groups[0].reward.tolist() == [[1, 1, 1, 1]]
    assert env.step(rest).groups[0].reward.tolist() == [[0, 0, 0, 0]]


def test_siege_odds() -> None:
    env = siege(num_envs=4000)
    strike = {"guard": np.zeros((4000, 4, 2), np.int32), "raider": np.full((4000, 2), 1, np.int32)}
    assert abs(env.step(strike).groups[0].terminated[:, 0].mean() - (1 - 0.6**2)) < 0.03
    env.reset()
    buffers = env.step(charge_all(env))
    assert abs(buffers.groups[0].terminated.mean() - 0.25) < 0.03
    assert abs(buffers.groups[1].terminated[:, 0].mean() - (1 - 0.5**4)) < 0.02


def test_siege_ends_for_all_when_one_side_is_down() -> None:
    env = siege(num_envs=300)
    rng = np.random.default_rng(1)
    wins = 0
    for _ in range(100):
        stood = env.capture(range(300)).arrays["stands"].astype(bool)
        buffers = env.step(play.random_actions(env, rng))
        guards, raiders = buffers.groups
        everyone = np.concatenate([guards.terminated, raiders.terminated], axis=1)
        ruled = buffers.episode_over & ~buffers.episode_truncated
        wins += int(ruled.sum())
        assert (everyone[ruled] == stood[ruled]).all()
    assert wins > 100


def test_siege_draws_its_size() -> None:
    env = environments.make("toy/siege", num_envs=2000)
    present = env.buffers.groups[0].acting.sum(1)
    assert np.bincount(present).tolist()[0] == 0 and (np.bincount(present)[1:] > 400).all()
    assert env.buffers.groups[1].acting.all()


def test_siege_energy() -> None:
    env = siege()
    env.restore(0, {"energy": np.array([0, 1, 2, 3])})
    assert env.buffers.groups[0].action_mask[0, :, 1].tolist() == [False, True, True, True]
    env.step({"guard": np.zeros((1, 4, 2), np.int32), "raider": np.zeros((1, 2), np.int32)})
    assert env.capture(0).arrays["energy"].tolist() == [1, 2, 3, 3]
