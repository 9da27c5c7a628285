"""SuperSuit's wrappers run over the faces, and what they deliver is still the environment's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import supersuit

import environments
from tests.contracts.strict import choose_all

PARALLEL = {
    "frame_stack": lambda env: supersuit.frame_stack_v1(env, 3),
    "pad_observations": supersuit.pad_observations_v0,
    "pad_action_space": supersuit.pad_action_space_v0,
    "agent_indicator": lambda env: supersuit.agent_indicator_v0(env, type_only=False),
    "dtype": lambda env: supersuit.dtype_v0(env, np.float64),
    "flatten": supersuit.flatten_v0,
    "clip_actions": supersuit.clip_actions_v0,
    "clip_reward": lambda env: supersuit.clip_reward_v0(env, -0.5, 0.5),
    "delay_observations": lambda env: supersuit.delay_observations_v0(env, 2),
    "sticky_actions": lambda env: supersuit.sticky_actions_v0(env, 0.3),
    "max_observation": lambda env: supersuit.max_observation_v0(env, 2),
    "reshape": lambda env: supersuit.reshape_v0(env, (2, 2)),
    "black_death": supersuit.black_death_v3,
}
WHERE = {
    "pad_observations": "particle/tag",
    "pad_action_space": "particle/speaker_listener",
    **dict.fromkeys(("clip_actions", "flatten", "reshape", "dtype"), "toy/dock"),
}
"""Where a wrapper has something to do; particle/spread otherwise."""


def play(env: Any, steps: int = 60) -> list[Any]:
    """Observations, rewards and flags of some steps from a seed, through episode ends."""
    rng = np.random.default_rng(3)
    shown: list[Any] = []
    views, infos = env.reset(seed=5)
    for _ in range(steps):
        if not env.agents:
            views, infos = env.reset()
        views, *parts = env.step(choose_all(env, views, infos, rng))
        infos = parts[-1]
        shown.append((views, *parts[:3]))
        for agent, view in views.items():
            assert env.observation_space(agent).contains(view), f"{agent}: {view}"
    return shown


@pytest.mark.parametrize("wrapper", PARALLEL)
def test_a_wrapped_parallel_face_plays(wrapper: str) -> None:
    env = PARALLEL[wrapper](environments.parallel_env(WHERE.get(wrapper, "particle/spread")))
    assert len(play(env)) == 60
    if wrapper == "pad_observations":
        assert len({str(env.observation_space(agent)) for agent in env.possible_agents}) == 1
    if wrapper == "pad_action_space":
        assert len({str(env.action_space(agent)) for agent in env.possible_agents}) == 1


@pytest.mark.parametrize("name", ["particle/spread", "toy/dock"])
@pytest.mark.parametrize("wrapper", ["frame_stack", "agent_indicator", "flatten", "delay_observations"])
def test_a_wrapped_aec_face_plays(wrapper: str, name: str) -> None:
    env = PARALLEL[wrapper](environments.env(name))
    env.reset(seed=1)
    turns = 0
    for agent in env.agent_iter(100):
        view, _, terminated, truncated, _ = env.last()
        assert env.observation_space(agent).contains(view)
        env.step(None if terminated or truncated else env.action_space(agent).sample())
        turns += 1
    assert turns > 40 and not env.agents


def test_frames_are_stacked_in_order() -> None:
    plain, stacked = (environments.parallel_env("toy/dock") for _ in range(2))
    stacked = supersuit.frame_stack_v1(stacked, 2)
    plain.reset(seed=4)
    stacked.reset(seed=4)
    still = dict.fromkeys(plain.agents, np.zeros(2, np.float32))
    before = plain.step(still)[0]
    stacked.step(still)
    now, both = plain.step(still)[0], stacked.step(still)[0]
    for agent in plain.agents:
        assert np.array_equal(both[agent], np.concatenate([before[agent], now[agent]]))


def test_clipped_actions_are_the_bounds() -> None:
    plain, clipped = (environments.parallel_env("toy/dock") for _ in range(2))
    clipped = supersuit.clip_actions_v0(clipped)
    plain.reset(seed=4)
    clipped.reset(seed=4)
    bound = plain.step(dict.fromkeys(plain.agents, np.array([2, 0], np.float32)))
    beyond = clipped.step(dict.fromkeys(plain.agents, np.array([90, -90], np.float32)))
    for agent in plain.possible_agents:
        assert np.array_equal(bound[0][agent], beyond[0][agent])


def test_supersuit_makes_a_batch_of_a_face() -> None:
    """The usual way to feed PettingZoo environments to a single-agent library."""
    batch = supersuit.pettingzoo_env_to_vec_env_v1(environments.parallel_env("particle/spread"))
    batch = supersuit.concat_vec_envs_v1(batch, 2, num_cpus=0, base_class="gymnasium")
    views, _ = batch.reset(seed=1)
    assert views.shape == (6, 18)
    for _ in range(30):
        views, rewards, *_ = batch.step(np.zeros(6, np.int64))
    assert views.shape == (6, 18) and np.isfinite(rewards).all()
    batch.close()
