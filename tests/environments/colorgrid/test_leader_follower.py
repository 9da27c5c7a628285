"""Leader and follower: walking, taking, paying, who sees what, when the goal changes, what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.vector import Array, VectorEnv
from tests.contracts import play

NAME = "colorgrid/leader_follower"
UP, DOWN, LEFT, RIGHT = range(4)
RED, GREEN, BLUE = 1, 2, 3


def make(num_envs: int = 1, **options: Any) -> VectorEnv:
    """A grid of 5 x 4 cells, one block of each colour, whose goal stays red unless said otherwise."""
    chosen = {"width": 5, "height": 4, "density": 0.2, "random_goal": False, "switch_probability": 0.0}
    return environments.make(NAME, num_envs, **{**chosen, **options})


def stand(env: VectorEnv, leader: tuple[int, int], follower: tuple[int, int], **blocks: tuple[int, int]) -> None:
    """Put everybody and these blocks (by colour) somewhere, nothing elsewhere."""
    grid = np.zeros((4, 5), np.uint8)
    for color, (x, y) in blocks.items():
        grid[y, x] = ("none", "red", "green", "blue").index(color)
    env.restore(0, {"grid": grid, "place": np.array([leader, follower])})


def step(env: VectorEnv, leader: int, follower: int) -> list[float]:
    """One step of copy 0; both rewards."""
    buffers = env.step({"leader": np.full((1, 1), leader, np.int32), "follower": np.full((1, 1), follower, np.int32)})
    return [float(group.reward[0, 0]) for group in buffers.groups]


def places(env: VectorEnv) -> list[tuple[int, int]]:
    """Where leader and follower are."""
    return [(int(x), int(y)) for x, y in env.capture(0).arrays["place"]]


def test_the_grid_is_a_torus() -> None:
    env = make()
    for corner, move, there in [
        ((4, 3), RIGHT, (0, 3)), ((0, 3), LEFT, (4, 3)), ((4, 3), UP, (4, 0)), ((4, 0), DOWN, (4, 3)),
        ((2, 1), UP, (2, 2)), ((2, 1), DOWN, (2, 0)), ((2, 1), LEFT, (1, 1)), ((2, 1), RIGHT, (3, 1)),
        ((2, 1), -(2**31), (2, 2)), ((2, 1), 2**31 - 1, (3, 1)),
    ]:  # fmt: skip
        stand(env, corner, (1, 2))
        step(env, move, RIGHT)
        assert places(env)[0] == there
        stand(env, (1, 2), corner)
        step(env, RIGHT if corner != (2, 1) else UP, move)
        assert places(env)[1] == there


def test_the_leader_goes_first_and_nobody_enters_the_others_cell() -> None:
    env = make()
    stand(env, (1, 1), (3, 1))
    step(env, RIGHT, LEFT)  # both towards (2, 1)
    assert places(env) == [(2, 1), (3, 1)]
    step(env, RIGHT, UP)  # the follower still stands there when the leader walks
    assert places(env) == [(2, 1), (3, 2)]
    stand(env, (2, 1), (3, 1))
    step(env, UP, LEFT)  # the leader has just left
    assert places(env) == [(2, 2), (2, 1)]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [1, -1]),
        ({"goal_reward": 2.5, "penalty": 0.25}, [2.5, -0.25]),
        ({"penalized": "leader"}, [1, 0]),
        ({"penalized": "follower"}, [1, -1]),
        ({"penalized": "none"}, [1, 0]),
    ],
)
def test_who_takes_a_block_is_paid_for_it(options: dict[str, Any], wanted: list[float]) -> None:
    env = make(**options)
    stand(env, (0, 0), (0, 2), red=(1, 0), green=(1, 2), blue=(4, 3))
    assert step(env, RIGHT, RIGHT) == wanted
    assert env.buffers.metrics[0].tolist() == [1, 0, 0, 1, 0]
    arrays = env.capture(0).arrays
    assert arrays["took"].tolist() == [0, 1] and arrays["last"].tolist() == [0, 1]
    assert arrays["grid"][0, 1] == 0 == arrays["grid"][2, 1]  # nothing grows under an agent
    assert sorted(arrays["grid"][arrays["grid"] > 0].tolist()) == [RED, GREEN, BLUE]  # each came back elsewhere
    stand(env, (0, 0), (0, 2))
    assert step(env, RIGHT, RIGHT) == [0, 0]
    assert env.capture(0).arrays["took"].tolist() == [-1, -1] and env.capture(0).arrays["last"].tolist() == [0, 1]


def test_a_leader_pays_for_wrong_blocks_too() -> None:
    for penalized, wanted in (("both", [-1, 1]), ("follower", [0, 1])):
        env = make(penalized=penalized)
        stand(env, (0, 0), (0, 2), green=(1, 0), red=(1, 2))
        assert step(env, RIGHT, RIGHT) == wanted


def test_blocks_are_as_many_as_said_and_never_under_an_agent() -> None:
    env = make(64, seed=3, density=0.6, colors=4, random_goal=True, switch_probability=1 / 32)
    rng = np.random.default_rng(0)
    for _ in range(150):
        arrays = env.capture(range(64)).arrays
        for e in range(64):
            assert np.bincount(arrays["grid"][e].ravel(), minlength=5)[1:].tolist() == [3] * 4
            (a, b), (c, d) = arrays["place"][e]
            assert (a, b) != (c, d) and arrays["grid"][e, b, a] == 0 == arrays["grid"][e, d, c]
        env.step(play.random_actions(env, rng))


def test_new_blocks_come_anywhere_with_the_same_chance() -> None:
    env = make(4000)
    grid, place = np.zeros((4000, 4, 5), np.uint8), np.zeros((4000, 2, 2), np.int64)
    grid[:, 0, 1], place[:, 1] = RED, (0, 2)
    env.restore(range(4000), {"grid": grid, "place": place})
    env.step({"leader": np.full((4000, 1), RIGHT, np.int32), "follower": np.full((4000, 1), RIGHT, np.int32)})
    found = (env.capture(range(4000)).arrays["grid"] == RED).sum(0)
    assert found.sum() == 4000 and found[0, 1] == 0 == found[2, 1]  # where the agents are by now
    rest = np.delete(found.ravel(), [1, 11])
    assert rest.min() > 0.7 * 4000 / 18 and rest.max() < 1.3 * 4000 / 18


@pytest.mark.parametrize(("knows", "follower"), [("leader", [0, 0, 0]), ("both", [1, 0, 0])])
def test_who_knows_the_goal(knows: str, follower: list[int]) -> None:
    env = make(knows_goal=knows)
    leader, other = (group.obs[0, 0] for group in env.buffers.groups)
    assert leader[-3:].tolist() == [1, 0, 0] and other[-3:].tolist() == follower
    assert env.buffers.state[0, -3:].tolist() == [1, 0, 0]


def test_the_window_has_oneself_in_the_middle() -> None:
    """What is d cells to the right and h above stands d columns and h rows from the middle, also over the edge."""
    env = make(last_taken=True)
    stand(env, (4, 0), (1, 3), red=(0, 0), green=(4, 3), blue=(2, 1))
    leader, follower = (group.obs[0, 0] for group in env.buffers.groups)

    def seen(row: Array) -> list[tuple[int, int]]:
        found = [np.argwhere(plane) for plane in row[:80].reshape(4, 4, 5)]
        assert all(len(cells) == 1 for cells in found)
        return [(int(x) - 2, int(y) - 2) for ((y, x),) in found]

    assert seen(leader) == [(1, 0), (0, -1), (-2, 1), (2, -1)]
    assert seen(follower) == [(-1, 1), (-2, 0), (1, -2), (-2, 1)]
    assert leader[83:].tolist() == [0] * 6
    features = env.spec.groups[0].features
    assert features[13] == "colour 0 at (+1, +0)" and leader[13] == 1 and len(features) == 89
    state = env.buffers.state[0, :100].reshape(5, 4, 5)
    assert [tuple(np.argwhere(plane)[0]) for plane in state] == [(0, 0), (3, 4), (1, 2), (0, 4), (3, 1)]


def test_sight_is_a_part_of_the_whole() -> None:
    near, far = (make(8, seed=1, sight=sight) for sight in (1, None))
    for a, b in zip(near.buffers.groups, far.buffers.groups, strict=True):
        whole = b.obs[:, 0, : 4 * 20].reshape(8, 4, 4, 5)
        assert (a.obs[:, 0, :36].reshape(8, 4, 3, 3) == whole[:, :, 1:4, 1:4]).all()
        assert (a.obs[:, 0, 36:] == b.obs[:, 0, 4 * 20 :]).all()


def test_last_taken_is_seen_by_both() -> None:
    env = make(last_taken=True)
    stand(env, (0, 0), (0, 2), red=(1, 0), blue=(1, 2))
    step(env, RIGHT, RIGHT)
    leader, follower = (group.obs[0, 0] for group in env.buffers.groups)
    assert leader[83:].tolist() == [1, 0, 0, 0, 0, 1] and follower[83:].tolist() == [0, 0, 1, 1, 0, 0]


def test_the_goal_changes_as_often_as_said_and_to_every_other_colour() -> None:
    env = environments.make(NAME, 2000, switch_probability=0.1, max_cycles=20)
    goals = [env.capture(range(2000)).arrays["goal"]]
    assert np.bincount(goals[0]) / 2000 == pytest.approx([1 / 3] * 3, abs=0.05)
    rng = np.random.default_rng(0)
    for _ in range(19):
        env.step(play.random_actions(env, rng))
        goals.append(env.capture(range(2000)).arrays["goal"])
    path = np.array(goals)
    turn = (path[1:] - path[:-1]) % 3
    assert (turn != 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (turn == 1).sum() == pytest.approx((turn == 2).sum(), rel=0.1)
    assert (env.buffers.metrics[:, 4] == (turn != 0).sum(0)).all()


def test_a_goal_that_stays() -> None:
    env = environments.make(NAME, 64, random_goal=False, switch_probability=0.0, max_cycles=10)
    rng = np.random.default_rng(0)
    for _ in range(25):
        env.step(play.random_actions(env, rng))
        assert not env.capture(range(64)).arrays["goal"].any()


def test_a_block_counts_by_the_goal_that_was_seen() -> None:
    env = make(switch_probability=1.0)
    stand(env, (0, 0), (0, 2), red=(1, 0))
    assert step(env, RIGHT, UP) == [1, 0] and env.capture(0).arrays["goal"] != 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 1}, r"width must be a whole number from 2 to 64, not 1"),
        ({"colors": 7}, r"colors must be a whole number from 2 to 6, not 7"),
        ({"density": 0.9}, r"density must be from 0 to 0.8, not 0.9"),
        ({"density": float("nan")}, r"density must be from 0 to 0.8, not nan"),
        ({"density": 0.01}, r"density must be at least 0.0469, for one block of each of 3 colors, not 0.01"),
        ({"width": 2, "height": 2, "density": 0.75}, r"density must be less: 3 blocks do not fit .* 2 x 2 cells"),
        ({"switch_probability": 1.5}, r"switch_probability must be from 0 to 1, not 1.5"),
        ({"penalty": -1.0}, r"penalty must be from 0 to 1000, not -1.0"),
        ({"knows_goal": "follower"}, r"knows_goal must be one of both, leader, not 'follower'"),
        ({"penalized": "me"}, r"penalized must be one of both, leader, follower, none, not 'me'"),
        ({"sight": 4}, r"sight must be from 1 to 3 on 8 x 8 cells, or None, not 4"),
        ({"max_cycles": 0}, r"max_cycles must be a whole number from 1 to 1000000, not 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        environments.make(NAME, **options)


def test_a_copy_of_a_batch_is_a_batch_of_one_is_the_face() -> None:
    batch, alone = environments.make(NAME, 64, seed=5), environments.make(NAME, 1, seed=5, first_copy=37)
    face = environments.parallel_env(NAME)
    face.reset(seed=int(batch.episode_seed[37]))
    rng = np.random.default_rng(5)
    for _ in range(128):
        actions = play.random_actions(batch, rng)
        a, b = batch.step(actions), alone.step(play.select(actions, [37]))
        play.assert_same(play.valid(a, [37]), play.valid(b), NAME)
        both = {agent: int(actions[agent[:-2]][37, 0]) for agent in face.possible_agents}
        paid = face.step(both)[1]
        assert list(paid.values()) == [group.reward[37, 0] for group in a.groups]
    assert not face.agents and a.episode_over.all()
