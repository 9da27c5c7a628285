"""Repeated roshambo: who wins what, what is seen, options, the same life in a batch and alone."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.games.roshambo.names import BOTS
from environments.vector import Array
from tests.contracts import play

WINS = {(0, 2), (1, 0), (2, 1)}
"""Rock beats scissors, paper beats rock, scissors beat paper."""


def test_every_joint_throw_pays_what_everybody_knows() -> None:
    env = environments.make("roshambo/repeated", throws=9)
    total = 0.0
    for first, second in product(range(3), repeat=2):
        buffers = env.step({"player": np.array([[first, second]], np.int32)})
        paid = float((first, second) in WINS) - float((second, first) in WINS)
        assert buffers.groups[0].reward.tolist() == [[paid, -paid]]
        total += paid
    assert buffers.episode_over[0] and buffers.groups[0].truncated.all() and not buffers.groups[0].terminated.any()
    assert buffers.outcome.tolist() == [[total, -total]]
    assert buffers.metrics.tolist() == [[3, 3, 3, 3]]


def test_recall_is_the_last_throws_from_ones_own_seat() -> None:
    env = environments.make("roshambo/repeated", recall=2)
    assert env.spec.groups[0].features[:8] == (
        "own rock, 1 ago", "own paper, 1 ago", "own scissors, 1 ago",
        "other rock, 1 ago", "other paper, 1 ago", "other scissors, 1 ago",
        "own rock, 2 ago", "own paper, 2 ago",
    )  # fmt: skip
    assert not env.buffers.groups[0].obs.any() and not env.buffers.state.any()
    first = env.step({"player": np.array([[0, 2]], np.int32)}).groups[0].obs.copy()
    assert first[0].tolist() == [[1, 0, 0, 0, 0, 1] + [0] * 6, [0, 0, 1, 1, 0, 0] + [0] * 6]
    buffers = env.step({"player": np.array([[1, 1]], np.int32)})
    assert buffers.groups[0].obs[0].tolist() == [
        [0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0],
    ]
    assert buffers.state[0].tolist() == buffers.groups[0].obs[0, 0].tolist()


def test_seats_are_alike() -> None:
    """What one seat sees and gets is what the other does with the throws exchanged."""
    one, two = environments.make("roshambo/repeated", recall=3), environments.make("roshambo/repeated", recall=3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        throws = rng.integers(0, 3, (1, 2)).astype(np.int32)
        a, b = one.step({"player": throws}), two.step({"player": np.ascontiguousarray(throws[:, ::-1])})
        for name in ("obs", "reward"):
            assert (getattr(a.groups[0], name)[0] == getattr(b.groups[0], name)[0, ::-1]).all()


def test_throws_that_are_none_count_as_the_nearest() -> None:
    env = environments.make("roshambo/repeated")
    assert env.step({"player": np.array([[-(2**31), 2**31 - 1]], np.int32)}).groups[0].reward.tolist() == [[1, -1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"throws": 0}, r"throws must be a whole number from 1 to 1000000, not 0"),
        ({"recall": 101}, r"recall must be a whole number from 1 to 100, not 101"),
        ({"opponent": "rok"}, r"opponent must be one of team, population, rock, .*, not 'rok'; did you mean 'rock'\?"),
        ({"opponent": 3}, r"option 'opponent' of roshambo/repeated must be str, not 3"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        environments.make("roshambo/repeated", **options)


def test_a_population_sends_each_of_its_bots() -> None:
    env = environments.make("roshambo/repeated", num_envs=1024, opponent="population", throws=2)
    assert env.spec.agents == ("player_0",) and env.spec.kinds[0].teams == 1
    sent = env.capture(range(1024)).arrays["bot"]
    counts = Counter(sent.tolist())
    assert set(counts) == set(range(len(BOTS))) and max(counts.values()) < 2.5 * min(counts.values())
    shown = env.buffers.state[:, 6:]
    assert shown.shape[1] == len(BOTS) and (shown.sum(1) == 1).all() and (shown.argmax(1) == sent).all()
    actions = {"player": np.zeros((1024, 1), np.int32)}
    env.step(actions)
    env.step(actions)
    assert (env.capture(range(1024)).arrays["bot"] != sent).mean() > 0.8  # another one in the next episode


@pytest.mark.parametrize("opponent", ["team", "population"])
def test_a_copy_of_a_batch_is_a_batch_of_one_is_the_face(opponent: str) -> None:
    options: dict[str, Any] = {"opponent": opponent, "throws": 30, "recall": 2}
    batch = environments.make("roshambo/repeated", 64, seed=5, **options)
    alone = environments.make("roshambo/repeated", 1, seed=5, first_copy=37, **options)
    face = environments.parallel_env("roshambo/repeated", **options)
    face.reset(seed=int(batch.episode_seed[37]))
    rng = np.random.default_rng(5)
    for _ in range(30):
        actions = play.random_actions(batch, rng)
        a, b = batch.step(actions), alone.step(play.select(actions, [37]))
        play.assert_same(play.valid(a, [37]), play.valid(b), opponent)
        thrown: Array = actions["player"][37]
        seen, paid, *_ = face.step({agent: int(k) for agent, k in zip(face.possible_agents, thrown, strict=True)})
        assert list(paid.values()) == a.groups[0].reward[37].tolist()
    assert not face.agents and a.episode_over.all() and set(seen) == set(paid)


def test_an_opponents_chance_comes_from_the_key() -> None:
    env = environments.make("roshambo/repeated", num_envs=200, opponent="random", throws=500)
    for _ in range(50):
        env.step({"player": np.zeros((200, 1), np.int32)})
    counts = env.capture(range(200)).arrays["counts"][:, 1]
    assert len({tuple(row) for row in counts.tolist()}) > 100
    assert counts.sum(0) / counts.sum() == pytest.approx([1 / 3] * 3, abs=0.02)
