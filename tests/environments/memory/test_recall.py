"""Recall: the sign is seen once, the answer is heard once, and everything between looks the same."""

from __future__ import annotations

import numpy as np
import pytest

import environments
from environments.errors import UsageError

RNG = np.random.default_rng(0)


def test_an_episode_by_hand() -> None:
    env = environments.make("memory/recall", num_envs=64, seed=3)
    signs = env.capture(range(64)).arrays["sign"]
    group = env.buffers.groups[0]
    assert np.array_equal(group.obs[..., :4].argmax(-1), signs) and (group.obs[..., :4].sum(-1) == 1).all()
    assert not group.obs[..., 4].any()
    answer = np.where(np.arange(64)[:, None] % 2 == [0, 1], signs, (signs + 1) % 4).astype(np.int32)
    for t in range(21):
        assert (env.episode_step == t).all() and group.acting.all()
        wanted = np.zeros((64, 2, 5), np.float32)
        wanted[..., 4] = t == 20
        assert t == 0 or np.array_equal(group.obs, wanted)
        state = env.buffers.state
        assert np.array_equal(state[:, :8].reshape(64, 2, 4).argmax(-1), signs) and np.allclose(state[:, 8], t / 21)
        said = answer if t == 20 else signs.astype(np.int32)  # right too early is worth nothing
        buffers = env.step({"agent": said})
        group = buffers.groups[0]
        assert group.terminated.all() == buffers.episode_over.all() == (t == 20) and not group.truncated.any()
        assert np.array_equal(group.reward, (answer == signs) * np.float32(t == 20))
    assert np.array_equal(buffers.metrics, np.full((64, 1), 0.5, np.float32))
    assert (group.obs[..., :4].sum(-1) == 1).all()  # the next sign


def test_signs_are_drawn_alike_and_apart() -> None:
    env = environments.make("memory/recall", num_envs=6000, seed=1)
    signs = env.capture(range(6000)).arrays["sign"]
    counts = np.histogram2d(signs[:, 0], signs[:, 1], 4, [[0, 4], [0, 4]])[0]
    assert np.abs(counts - 375).max() < 4 * 375**0.5


@pytest.mark.parametrize(("options", "shape"), [({"agents": 1, "signs": 2, "delay": 1}, 3), ({"signs": 7}, 8)])
def test_options_make_other_games(options: dict[str, int], shape: int) -> None:
    env = environments.make("memory/recall", num_envs=4, **options)
    spec = env.spec
    assert spec.groups[0].observation_space.shape == (shape,) and len(spec.agents) == options.get("agents", 2)
    steps = options.get("delay", 20) + 1
    for t in range(2 * steps):
        out = env.step({"agent": RNG.integers(0, options["signs"], (4, len(spec.agents))).astype(np.int32)})
        assert out.episode_over.all() == (t % steps == steps - 1)


@pytest.mark.parametrize("options", [{"agents": 0}, {"signs": 1}, {"delay": 0}, {"delay": 2000}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} must be between"):
        environments.make("memory/recall", **options)
