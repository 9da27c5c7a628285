"""`NativeEnv` by hand: episodes, resets, holding, buffers handed in, threads. The contract's checks do the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

import environments
from environments import workers
from environments.native import Game, NativeEnv, entry_point, limits_of
from environments.rng import copy_keys, key_of
from environments.vector import StepBuffers, allocate

STILL = np.zeros((3, 2, 2), np.float32)


def dock(num_envs: int = 3, hold: bool = False, **options: Any) -> NativeEnv:
    """A small continuous environment whose episodes end after `max_cycles` steps."""
    game = environments.game("toy/dock")
    return NativeEnv(game, game.options(**options), num_envs, hold=hold)


def test_keys_come_from_seed_and_number_of_the_copy() -> None:
    env = environments.make("toy/dock", num_envs=4, seed=9, first_copy=10)
    assert (env.clocks["key"] == copy_keys(9, 0, 14)[10:]).all()


def test_reset_moves_the_chosen_copies_on() -> None:
    env = dock()
    env.step({"cart": STILL})
    before, shown = env.episode_seed.copy(), env.buffers.groups[0].obs.copy()
    buffers = env.reset(copies=[1])
    assert buffers is env.buffers
    assert (env.episode_seed != before).tolist() == [False, True, False]
    assert env.episode_step.tolist() == [1, 0, 1]
    assert np.array_equal(buffers.groups[0].obs[[0, 2]], shown[[0, 2]])
    assert env.clocks["episode"].tolist() == [0, 1, 0]


def test_reset_with_keys_begins_their_first_episode() -> None:
    env = dock()
    env.reset()
    env.reset(keys=[key_of(77), key_of(78)], copies=[2, 0])
    assert env.episode_seed[[2, 0]].tolist() == [77, 78]
    assert env.clocks["episode"].tolist() == [0, 1, 0]
    first = env.buffers.groups[0].obs[2].copy()
    env.reset(keys=[key_of(77)] * 3)
    assert all(np.array_equal(first, env.buffers.groups[0].obs[e]) for e in range(3))


def test_reset_clears_events() -> None:
    env = dock(max_cycles=1)
    buffers = env.step({"cart": STILL})
    assert buffers.episode_over.all() and buffers.groups[0].truncated.all() and buffers.metrics.all()
    env.reset()
    for array in (buffers.episode_over, buffers.episode_truncated, buffers.outcome, buffers.metrics):
        assert not array.any()
    assert not buffers.groups[0].truncated.any() and not buffers.groups[0].reward.any()


def test_a_held_copy_stays_in_its_final_state() -> None:
    held, free = dock(1, hold=True, max_cycles=4), dock(1, max_cycles=4)
    for _ in range(4):
        a, b = held.step({"cart": STILL[:1]}), free.step({"cart": STILL[:1]})
    assert a.episode_over[0] and b.episode_over[0]
    assert held.episode_step[0] == 4 and free.episode_step[0] == 0
    assert np.array_equal(a.groups[0].obs, a.groups[0].final_obs)
    assert np.array_equal(a.groups[0].final_obs, b.groups[0].final_obs)
    assert np.array_equal(a.state, b.final_state) and not np.array_equal(b.state, b.final_state)
    held.reset()
    assert held.episode_seed[0] == free.episode_seed[0]
    assert np.array_equal(held.buffers.groups[0].obs, b.groups[0].obs)


def test_an_episode_is_as_long_as_its_options_say() -> None:
    env = dock(max_cycles=7)
    over = [env.step({"cart": STILL}).episode_over.copy() for _ in range(21)]
    assert np.flatnonzero(np.all(over, axis=1)).tolist() == [6, 13, 20]
    assert np.any(over, axis=1).sum() == 3


def test_buffers_handed_in_are_written_and_others_are_not() -> None:
    env, twin = dock(), dock()
    rollout = [allocate(env.spec, 3) for _ in range(3)]
    for out in rollout:
        assert env.step({"cart": STILL}, out=out) is out
        wanted = twin.step({"cart": STILL})
        assert np.array_equal(out.groups[0].obs, wanted.groups[0].obs)
    assert not np.array_equal(rollout[0].groups[0].obs, rollout[1].groups[0].obs)
    assert env.episode_step.tolist() == [3, 3, 3] and not env.buffers.groups[0].reward.any()


@pytest.mark.parametrize("spoil", [lambda a: a.astype(np.float64), lambda a: a[:, ::-1], lambda a: a[:1]])
def test_buffers_that_do_not_fit_are_refused(spoil: Any) -> None:
    env = dock()
    out = allocate(env.spec, 3)
    bad = StepBuffers((out.groups[0]._replace(obs=spoil(out.groups[0].obs)),), *out[1:])
    with pytest.raises(ValueError, match="an array of `out` is"):
        env.step({"cart": STILL}, out=bad)
    assert not env.episode_step.any()


def test_actions_may_have_any_layout() -> None:
    one, two = dock(), dock()
    actions = np.random.default_rng(0).uniform(0, 1, (3, 2, 2)).astype(np.float32)
    a, b = one.step({"cart": actions}), two.step({"cart": np.asfortranarray(actions)})
    assert np.array_equal(a.groups[0].obs, b.groups[0].obs)


def test_refused_actions_are_named() -> None:
    with pytest.raises(ValueError, match=r"toy/dock: actions of group 'cart' are float64\(3, 2, 2\), wanted float32"):
        dock().step({"cart": STILL.astype(np.float64)})


def test_states_of_other_options_are_refused() -> None:
    with pytest.raises(ValueError, match="another environment or other options"):
        dock().restore(0, dock(gust=0.25).capture(0))


def test_a_state_array_is_named_when_it_is_wrong() -> None:
    env = dock()
    with pytest.raises(
        ValueError, match=r"toy/dock has no state array 'speed'; it has \['berth', 'pos.*, 'velocity'\]"
    ):
        env.restore(0, {"speed": np.zeros(2)})
    with pytest.raises(ValueError, match=r"state array 'position' has shape \(3,\), wanted \(2,\)"):
        env.restore(0, {"position": np.zeros(3)})
    with pytest.raises(ValueError, match=r"has shape \(2,\), wanted \(2, 2\)"):
        env.restore([0, 1], {"position": np.zeros(2)})


def test_a_captured_state_is_a_copy() -> None:
    env = dock()
    state = env.capture([0, 2])
    kept = {name: array.copy() for name, array in state.arrays.items()}
    env.step({"cart": STILL})
    assert all(np.array_equal(kept[name], state.arrays[name]) for name in kept)
    assert state.arrays["position"].shape == (2, 2) and env.capture(1).arrays["position"].shape == (2,)


def test_groups_must_follow_one_another() -> None:
    game = environments.game("toy/siege")
    spec = game.spec(game.options())
    with pytest.raises(ValueError, match="one group after the other"):
        limits_of(replace(spec, agents=spec.agents[::-1]), hold=False)


@pytest.mark.parametrize(("num_envs", "message"), [(0, "num_envs must be at least 1"), (-3, "num_envs")])
def test_impossible_sizes_are_refused(num_envs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dock(num_envs)


def test_threads_are_used_for_large_batches_only() -> None:
    game: Game = environments.game("toy/dock")
    large = NativeEnv(game, game.options(), num_envs=workers.PARALLEL_COPIES, num_threads=2)
    small = NativeEnv(game, game.options(), num_envs=workers.PARALLEL_COPIES - 1, num_threads=2)
    assert large._workers.count == min(2, workers.available_cores()) and small._workers.count == 1


def test_two_environments_share_threads_without_mixing() -> None:
    """Batches of different games, stepped in turns by the same threads, live as they would alone."""
    copies = 1500
    env, twin = (environments.make("toy/dock", num_envs=copies, num_threads=n) for n in (2, 1))
    other = environments.make("toy/meet", num_envs=copies, num_threads=2)
    actions = np.zeros((copies, 2, 2), np.float32)
    for _ in range(30):
        a = env.step({"cart": actions})
        other.step({"agent": np.zeros((copies, 3), np.int32)})
        b = twin.step({"cart": actions})
        assert np.array_equal(a.groups[0].obs, b.groups[0].obs)


def test_compiling_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Where it is loaded instead, and for what it calls, nothing is said."""

    @numba.njit
    def inner(values):
        values[0] += 1

    @numba.njit
    def block(values, rows, size, progress, who):
        inner(values)

    values = np.zeros(1)
    with caplog.at_level("INFO", "environments"):
        for _ in range(2):
            entry_point(block, (values,), "a game")(values, 1, 1, np.zeros(2, np.int64), 0)
    assert caplog.messages == ["compiling a game, once for this machine: 10 to 30 s"] and values[0] == 2
