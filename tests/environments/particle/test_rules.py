"""What parity with mpe2 does not show: starts, metrics, options, and that no action or state can do harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from environments.errors import UsageError
from environments.native import NativeEnv
from environments.vector import Array, GroupBuffers, StepBuffers
from tests.environments.particle import mpe

REACH = {"tag": 0.9, "world_comm": 0.9, "formation": 0.5, "collect_treasure": 0.95}
"""Landmarks start within it; within 1 elsewhere."""


@pytest.mark.parametrize("name", mpe.NAMES)
def test_starts_fill_the_arena(name: str) -> None:
    env = mpe.make(name, 500)
    states = env.capture(range(500)).arrays
    assert 0.99 < np.abs(states["agent_position"]).max() <= 1.0
    assert abs(states["agent_position"].mean()) < 0.06
    assert not states["agent_velocity"].any() and not states["force"].any()
    if "communication" in states:
        assert not states["communication"].any()
    if name == "line":
        return
    reach = REACH.get(name, 1.0)
    landmarks = states["landmark_position"]
    assert 0.97 * reach < np.abs(landmarks).max() <= reach
    assert abs(landmarks.mean()) < 0.06


def test_lines_are_equally_long_and_end_in_the_arena() -> None:
    states = mpe.make("line", 500).capture(range(500)).arrays["landmark_position"]
    assert np.abs(states[:, 0]).max() <= 0.25 and np.abs(states).max() < 1.0
    np.testing.assert_allclose(np.linalg.norm(states[:, 1] - states[:, 0], axis=1), 1.25, atol=1e-6)
    directions = states[:, 1] - states[:, 0]
    assert all((directions * sign > 0).all(1).any() for sign in ([1, 1], [1, -1], [-1, 1], [-1, -1]))


@pytest.mark.parametrize(
    ("name", "array", "count"),
    [
        ("adversary", "goal", 2),
        ("push", "goal", 2),
        ("crypto", "goal", 2),
        ("crypto", "key", 2),
        ("reference", "goal", 3),
        ("speaker_listener", "goal", 3),
        ("collect_treasure", "treasure_type", 2),
    ],
)
def test_goals_are_drawn_evenly(name: str, array: str, count: int) -> None:
    drawn = mpe.make(name, 600).capture(range(600)).arrays[array]
    shares = np.bincount(drawn.ravel(), minlength=count) / drawn.size
    assert len(shares) == count and np.abs(shares - 1 / count).max() < 0.07


def stay(env: NativeEnv) -> dict[str, Array]:
    """Nobody moves, everybody says word 0."""
    return {group.name: np.zeros((env.num_envs, len(group.agents)), np.int32) for group in env.spec.groups}


def metric(env: NativeEnv, name: str) -> float:
    """That column of `metrics`, of copy 0."""
    return float(env.buffers.metrics[0, [key for key, _ in env.spec.metrics].index(name)])


def test_metrics_of_spread_add_up() -> None:
    env = mpe.make("spread")
    places = np.array([[0, 0], [0.1, 0], [5, 5]], np.float32)
    env.restore(0, {"agent_position": places, "landmark_position": np.array([[0, 0.05], [5, 5.05], [-1, 0]])})
    env.step(stay(env))
    assert (metric(env, "collisions"), metric(env, "landmarks_covered")) == (1, 2)
    env.step(stay(env))
    assert (metric(env, "collisions"), metric(env, "landmarks_covered")) == (1, 3)  # the two have bounced apart


def test_catches_are_counted_in_pairs() -> None:
    for name in ("tag", "world_comm"):
        env = mpe.make(name)
        places = np.full((len(env.spec.agents), 2), 9.0, np.float32) * np.arange(1, 1 + len(env.spec.agents))[:, None]
        places[[0, 1, -1]] = [[0, 0], [0.01, 0], [0.02, 0]]
        env.restore(0, {"agent_position": places})
        env.step(stay(env))
        assert metric(env, "catches") == 2


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("simple", {"final_distance": 5.0}),
        ("adversary", {"final_distance_adversary": 5.0, "final_distance_good": 5.0}),
        ("push", {"final_distance_adversary": 5.0, "final_distance_good": 5.0}),
        ("reference", {"final_distance": 5.0}),
        ("speaker_listener", {"final_distance": 5.0}),
    ],
)
def test_final_distances_are_those_of_the_last_step(name: str, metrics: dict[str, float]) -> None:
    env = mpe.make(name, max_cycles=3)
    state = env.capture(0).arrays
    apart = np.arange(len(state["agent_position"]))[:, None] * np.zeros(2)
    env.restore(0, {"agent_position": apart, "landmark_position": state["landmark_position"] * 0 + [3, 4]})
    for step in range(3):
        assert all(metric(env, key) == 0 for key in metrics), step
        if name == "push":  # two discs in one place push one another nowhere, but only while they are exactly there
            assert np.isfinite(env.buffers.state).all()
        env.step(stay(env))
    for key, value in metrics.items():
        assert metric(env, key) == pytest.approx(value, abs=1e-5)


def test_words_are_understood_or_not() -> None:
    env = mpe.make("crypto")
    env.restore(0, {"goal": np.array(1), "key": np.array(0)})
    say = {"eve": 0, "bob": 1, "alice": 3}
    env.step({group: np.full((1, 1), word, np.int32) for group, word in say.items()})
    assert (metric(env, "eve_right"), metric(env, "bob_right")) == (0, 1)
    assert env.buffers.groups[0].obs[0, 0].tolist() == [0, 0, 0, 1]
    assert [float(group.reward[0, 0]) for group in env.buffers.groups] == [-2, 2, 2]


def test_a_treasure_is_taken_carried_and_handed_over() -> None:
    env = mpe.make("collect_treasure")
    spots = np.full((8, 2), 50.0, np.float32) * np.arange(1, 9)[:, None]
    spots[0] = 0.0
    treasures = np.full((6, 2), -50.0, np.float32) * np.arange(1, 7)[:, None]
    treasures[4] = [0.05, 0]
    kinds = np.array([0, 0, 0, 0, 1, 0])
    env.restore(0, {"agent_position": spots, "landmark_position": treasures, "treasure_type": kinds})
    env.step(stay(env))
    state = env.capture(0).arrays
    assert state["holding"].tolist() == [1, -1, -1, -1, -1, -1]
    assert state["treasure_alive"].tolist() == [1, 1, 1, 1, 0, 1]
    assert (metric(env, "taken"), metric(env, "handed_over")) == (1, 0)
    spots[7] = [0.1, 0]  # deposit_1
    env.restore(0, {"agent_position": spots})
    env.step(stay(env))
    state = env.capture(0).arrays
    assert state["holding"].tolist() == [-1] * 6 and state["treasure_alive"].all()
    assert np.abs(state["landmark_position"][4]).max() <= 0.95
    assert (metric(env, "taken"), metric(env, "handed_over"), metric(env, "collisions")) == (1, 1, 0)


BAD_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("simple", {"max_cycles": 0}, "max_cycles must be a whole number from 1 to 1000000, not 0"),
    ("simple", {"max_cycles": 2.5}, "max_cycles"),
    ("simple", {"max_cycles": True}, "max_cycles"),
    ("simple", {"continuous_actions": 1}, "continuous_actions must be True or False"),
    ("spread", {"N": 0}, "N must be a whole number from 1 to 256, not 0"),
    ("spread", {"N": "three"}, "N"),
    ("spread", {"local_ratio": 1.5}, "local_ratio must be a number from 0 to 1, not 1.5"),
    ("spread", {"local_ratio": float("nan")}, "local_ratio"),
    ("spread", {"curriculum_stage": 2}, "curriculum_stage must be a whole number from 0 to 1 or None, not 2"),
    ("spread", {"num_agent_neighbors": 0}, "num_agent_neighbors"),
    ("reference", {"local_ratio": -0.1}, "local_ratio"),
    ("adversary", {"N": 257}, "N"),
    ("adversary", {"num_landmark_neighbors": -1}, "num_landmark_neighbors"),
    ("tag", {"num_good": 0}, "num_good"),
    ("tag", {"num_adversaries": 0}, "num_adversaries"),
    ("tag", {"num_obstacles": -1}, "num_obstacles"),
    ("tag", {"curriculum_stage": 3}, "curriculum_stage"),
    ("tag", {"terminate_on_success": "yes"}, "terminate_on_success"),
    ("world_comm", {"num_food": 0}, "num_food"),
    ("world_comm", {"num_forests": 65}, "num_forests"),
    ("formation", {"N": -4}, "N"),
    ("line", {"N": None}, "N"),
    ("collect_treasure", {"num_deposits": 7}, "num_deposits must be a whole number from 1 to 6, not 7"),
    ("collect_treasure", {"num_treasures": 0}, "num_treasures"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD_OPTIONS)
def test_impossible_options_are_refused_in_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        mpe.game(name).options(**options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", mpe.NAMES)
def test_description_can_rebuild_the_game(name: str) -> None:
    game = mpe.game(name)
    spec = game.spec(game.options())
    assert spec == game.spec(game.options(**spec.options))
    assert spec.name == f"particle/{name}" and spec.step_seconds == 0.1
    for group in spec.groups:
        assert len(group.features) == group.observation_space.shape[0] == len(set(group.features))
        assert {agent.rsplit("_", 1)[0] for agent in group.agents} == {group.name}


KINDS = {
    "adversary": ("adversary", "good"),
    "push": ("adversary", "good"),
    "tag": ("adversary", "good"),
    "world_comm": ("adversary", "good"),
    "crypto": ("eve", "allies"),
}


@pytest.mark.parametrize("name", mpe.NAMES)
def test_teams(name: str) -> None:
    game = mpe.game(name)
    assert tuple(kind.name for kind in game.spec(game.options()).kinds) == KINDS.get(name, ("team",))


def fenced(array: Array, fences: list[Array]) -> Array:
    """A copy of the array between two fences, which are appended to the list."""
    memory = np.zeros(64 + array.nbytes + 64, np.uint8)
    memory[:64] = memory[64 + array.nbytes :] = 0xAB
    fences += [memory[:64], memory[64 + array.nbytes :]]
    inner = memory[64 : 64 + array.nbytes].view(array.dtype).reshape(array.shape)
    inner[...] = array
    return inner


WILD_WORDS = np.array([-1, 5, 50, 999, -(2**31), 2**31 - 1, 4, 0], np.int32)
WILD_PUSHES = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.5, 0.0, 1.0], np.float32)
WILD_NUMBERS = np.array([-(2**62), -1, 0, 7, 2**31, 2**62], np.int64)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", mpe.NAMES)
def test_no_action_and_no_state_writes_where_it_should_not(name: str, continuous: bool) -> None:
    env = mpe.make(name, 8, continuous_actions=continuous)
    fences: list[Array] = []
    groups = tuple(GroupBuffers(*(fenced(a, fences) for a in group)) for group in env.buffers.groups)
    out = StepBuffers(groups, *(fenced(array, fences) for array in env.buffers[1:]))
    generator = np.random.default_rng(8)
    wild = WILD_PUSHES if continuous else WILD_WORDS
    for step in range(60):
        actions = {k: generator.choice(wild, v.shape) for k, v in mpe.random_actions(env, generator).items()}
        env.step(actions, out)
        if step % 20 == 10:  # a state from a damaged or hostile file
            state = dict(env.capture(range(8)).arrays)
            for key, values in state.items():
                if values.dtype == np.int64:
                    state[key] = generator.choice(WILD_NUMBERS, values.shape)
                elif values.dtype == np.float32:
                    state[key] = np.where(generator.random(values.shape) < 0.2, generator.choice(WILD_PUSHES), values)
            env.restore(range(8), state)
    assert all((fence == 0xAB).all() for fence in fences)
    env.reset()
    assert np.isfinite(env.buffers.state).all(), "a new episode forgets the old one"


def test_wild_moves_mean_something_or_nothing() -> None:
    env = mpe.make("spread", 1)
    env.step({"agent": np.array([[7, -1, 5]], np.int32)})
    assert set(env.capture(0).arrays["force"].ravel().tolist()) <= {-5.0, 0.0, 5.0}


def test_discs_in_the_same_place_stay_numbers() -> None:
    for name in ("spread", "push", "tag", "world_comm", "formation", "line"):
        env = mpe.make(name)
        state = env.capture(0).arrays
        env.restore(0, {key: state[key] * 0 for key in ("agent_position", "landmark_position")})
        for _ in range(3):
            env.step(stay(env))
            assert np.isfinite(env.buffers.state).all()


def test_of_equally_near_things_the_first_is_seen_first() -> None:
    env = mpe.make("spread", num_landmark_neighbors=2, num_agent_neighbors=1)
    landmarks = np.array([[2, 0], [0, 1], [-1, 0]])
    env.restore(0, {"agent_position": np.array([[0, 0], [0, 3], [3, 0]]), "landmark_position": landmarks})
    seen = env.buffers.groups[0].obs[0, 0]
    assert seen[4:10].tolist() == [0, 1, -1, 0, 0, 3]
