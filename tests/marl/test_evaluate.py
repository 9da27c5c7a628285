"""Evaluation: whole episodes chosen beforehand, the same whatever the batch, and nothing learnt from them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

import environments
from environments.errors import NumericalFailure
from environments.vector import Array
from marl.evaluate import evaluate, evaluation_copies
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from tests.marl.rollouts import GAMES, kind_of, learner, make
from tests.probes.environment import FunctionEnv, Rules


class Uneven(Rules):
    """A coin decides at the start: a win of 1 after 100 steps, or a loss after 10."""

    def start(self, u: Array) -> Array:
        return (u[:, :1] < 0.5).astype(float)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> tuple[Array, Array]:
        last = step[:, None] == np.where(hidden > 0, 99, 9)
        return (last & (hidden > 0)).astype(float), last


def policies(env: FunctionEnv, seed: int = 0) -> dict[str, Policy]:
    return {
        kind.name: Policy(PolicySpec.of(env.spec, kind.name, hidden=(8,)), torch.Generator().manual_seed(seed))
        for kind in env.spec.kinds
    }


def test_long_episodes_count_as_much_as_short_ones() -> None:
    """Taking those that finish first would find .14 instead of a half with a game per copy."""
    wins = []
    for seed in range(12):
        env = FunctionEnv(Uneven(), 16, seed)
        wins.append(evaluate(env, policies(env), 40, noise_key=1).returns[:, 0])
    measured = np.concatenate(wins)
    assert len(measured) == 480
    assert measured.mean() == pytest.approx(0.5, abs=4 * (0.25 / 480) ** 0.5)
    env = FunctionEnv(Uneven(), 16, 0)
    found = evaluate(env, policies(env), 16, noise_key=1)
    assert np.array_equal(found.lengths, np.where(found.returns[:, 0] == 1, 100, 10))


@pytest.mark.parametrize(("episodes", "copies"), [(1, 1), (7, 3), (8, 8), (9, 4)])
def test_as_many_episodes_as_asked_for(episodes: int, copies: int) -> None:
    env = FunctionEnv(Uneven(), copies)
    told: list[int] = []
    found = evaluate(env, policies(env), episodes, noise_key=1, progress=told.append)
    assert len(found.returns) == len(found.lengths) == len(found.outcomes) == len(found.metrics) == episodes
    assert told[-1] == episodes
    assert told == sorted(told)


def test_bad_numbers_of_copies_are_refused() -> None:
    env = FunctionEnv(Uneven(), 4)
    with pytest.raises(ValueError, match="3 episodes cannot be shared by 4 copies"):
        evaluate(env, policies(env), 3, noise_key=1)
    env.step({"team": np.zeros((4, 1), np.int32)})
    with pytest.raises(ValueError, match="not at its episode's start"):
        evaluate(env, policies(env), 4, noise_key=1)
    assert evaluation_copies(3) == 3
    assert evaluation_copies(100_000) < 1000


@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts", "particle/speaker_listener"])
def test_an_episode_is_the_same_in_any_batch(name: str) -> None:
    """What holds: with equal keys, episode i of copy k is the same in every batch. Up to rounding of batched products:
    the small networks here are far from any tie."""
    whole_env = make(name, 6, seed=3)
    players = {k.name: learner_of(name, whole_env, k.name) for k in whole_env.spec.kinds}
    whole = evaluate(whole_env, players, 12, noise_key=4)
    for copies in ((0, 1, 2), (3, 4, 5), (5,)):
        env = environments.make(name, num_envs=len(copies), seed=3, first_copy=copies[0], num_threads=1, **GAMES[name])
        part = evaluate(env, players, 2 * len(copies), noise_key=4)
        rows = [6 * i + copy for i in range(2) for copy in copies]
        np.testing.assert_array_equal(part.returns, whole.returns[rows])
        np.testing.assert_array_equal(part.lengths, whole.lengths[rows])
        np.testing.assert_array_equal(part.outcomes, whole.outcomes[rows])
        np.testing.assert_array_equal(part.metrics, whole.metrics[rows])
    other = evaluate(make(name, 6, seed=3), players, 12, noise_key=5)
    assert not np.array_equal(other.returns, whole.returns)


def learner_of(name: str, env: FunctionEnv, kind: str) -> Policy:
    return learner(env, name).policy if kind == kind_of(name) else policies(env)[kind]


def test_returns_are_plain_sums_and_outcomes_the_game_s_own() -> None:
    env = make("toy/noughts", 4, seed=6)
    players = {"player": RandomPolicy(PolicySpec.of(env.spec, "player"))}
    found = evaluate(env, players, 60, noise_key=1)
    assert found.teams == ("player_0", "player_1")
    assert np.array_equal(found.returns.sum(1), np.zeros(60))
    assert np.array_equal(found.outcomes, 0.5 + 0.5 * found.returns)
    assert found.lengths.min() >= 5
    assert found.lengths.max() <= 9
    assert found.metrics.max() == 0  # never an illegal move
    assert 0.3 < (found.outcomes[:, 0] == 1).mean() + 0.5 * (found.outcomes[:, 0] == 0.5).mean() < 0.7


def test_greedy_and_sampled() -> None:
    env = make("toy/meet", 8, seed=2)
    players = {"team": learner(env, "toy/meet").policy}
    greedy = [evaluate(make("toy/meet", 8, seed=2), players, 24, noise_key=k, greedy=True) for k in (1, 2)]
    sampled = [evaluate(make("toy/meet", 8, seed=2), players, 24, noise_key=k) for k in (1, 2, 1)]
    assert np.array_equal(greedy[0].returns, greedy[1].returns)
    assert not np.array_equal(sampled[0].returns, sampled[1].returns)
    assert np.array_equal(sampled[0].returns, sampled[2].returns)
    assert not np.array_equal(sampled[0].returns, greedy[0].returns)


def test_evaluation_leaves_a_learner_as_it_was() -> None:
    env = make("particle/spread", 4)
    made = learner(env, "particle/spread")
    before = {name: x.clone() for name, x in made.policy.state_dict().items()}
    shuffle = made.shuffle.get_state()
    evaluate(make("particle/spread", 4, seed=99), {"team": made.policy}, 8, noise_key=1)
    after = made.policy.state_dict()
    assert all(torch.equal(after[name], x) for name, x in before.items())
    assert torch.equal(made.shuffle.get_state(), shuffle)
    assert all(p.grad is None for p in made.policy.parameters())


def test_recording_changes_nothing_and_records_whole_episodes() -> None:
    env = make("particle/speaker_listener", 3, seed=8)
    players = {"team": learner(env, "particle/speaker_listener").policy}
    plain = evaluate(env, players, 5, noise_key=2)
    env = make("particle/speaker_listener", 3, seed=8)
    recorded = evaluate(env, players, 5, noise_key=2, record=2)
    np.testing.assert_array_equal(recorded.returns, plain.returns)
    assert plain.replays == []
    assert len(recorded.replays) == 2


class Blind(Rules):
    """Sees what is not a number from the third step on."""

    max_steps: ClassVar = 5

    def obs(self, hidden: Array, step: Array) -> Array:
        return np.where(step > 1, np.nan, 1.0)[:, None, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> tuple[Array, Array]:
        return np.zeros((len(step), 1)), np.zeros((len(step), 1), bool)


@pytest.mark.parametrize("greedy", [False, True])
def test_what_is_not_a_number_is_not_acted_on(greedy: bool) -> None:
    env = FunctionEnv(Blind(), 2)
    with pytest.raises(NumericalFailure, match="not a number"):
        evaluate(env, policies(env), 2, noise_key=1, greedy=greedy)
