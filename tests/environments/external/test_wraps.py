"""SuperSuit's wrappers by name: what they do arrives, legal actions stay whole, mistakes are told in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from environments.errors import UsageError
from environments.external import named
from environments.external.named import WRAP
from environments.external.wraps import WRAPS, understood
from tests.contracts import play

ARENAS = "tests.environments.external.arenas"


def made(name: str, *wraps: str, copies: int = 2, **options: Any) -> Any:
    return named.make(name, copies, 3, options={**options, WRAP: list(wraps)})


@pytest.mark.parametrize(
    ("wraps", "shape", "dtype"),
    [
        (["frame_stack:4"], (12,), np.float32),
        (["agent_indicator"], (5,), np.float32),
        (["dtype:uint8"], (3,), np.uint8),
        (["reshape:3x1", "frame_stack:2"], (3, 1, 2), np.float32),
        (["delay_observations:2"], (3,), np.float32),
        (["max_observation:2"], (3,), np.float32),
        (["clip_reward:-1,1"], (3,), np.float32),
        (["sticky_actions:0.5"], (3,), np.float32),
        (["pad_observations"], (3,), np.float32),
        (["pad_action_space"], (3,), np.float32),
    ],
    ids=str,
)
def test_what_is_seen(wraps: list[str], shape: tuple[int, ...], dtype: Any) -> None:
    padded = {
        "pad_observations": "pettingzoo:mpe2.simple_tag_v3",
        "pad_action_space": "pettingzoo:mpe2.simple_speaker_listener_v4",
    }
    name = padded.get(wraps[0], f"{ARENAS}:Plain")
    env = made(name, *wraps)
    group = env.spec.groups[0]
    if name.endswith("Plain"):
        assert group.observation_space.shape == shape and group.observation_space.dtype == dtype
    else:
        spaces = [g.action_space if "action" in wraps[0] else g.observation_space for g in env.spec.groups]
        assert spaces[0] == spaces[1]
    rng = np.random.default_rng(3)
    rewards = []
    for _ in range(20):
        buffers = env.step(play.random_actions(env, rng))
        rewards += buffers.groups[0].reward.ravel().tolist()
        assert not env.faults, env.faults
    if "clip" in wraps[0]:
        assert max(rewards) == 1 and min(rewards) >= -1


def test_frames_are_those_of_the_last_steps() -> None:
    plain, stacked = made(f"{ARENAS}:Plain"), made(f"{ARENAS}:Plain", "frame_stack:2")
    rng = np.random.default_rng(4)
    for _ in range(5):
        before = plain.buffers.groups[0].obs.copy()
        actions = play.random_actions(plain, rng)
        plain.step(actions)
        stacked.step({name: array.copy() for name, array in actions.items()})
    after, both = plain.buffers.groups[0], stacked.buffers.groups[0].obs
    alive = after.acting & (plain.episode_step[:, None] > 0)
    assert alive.any()
    np.testing.assert_array_equal(both[alive], np.concatenate([before, after.obs], -1)[alive])


@pytest.mark.parametrize("name", [f"{ARENAS}:Duel", "pettingzoo:classic.connect_four_v3"])
def test_legal_actions_stay_whole(name: str) -> None:
    plain, wrapped = named.make(name, 2, 3), made(name, "dtype:float32", "flatten")
    assert wrapped.spec.groups[0].masked and len(wrapped.spec.groups[0].observation_space.shape) == 1
    rng = np.random.default_rng(5)
    for t in range(60):
        actions = play.random_actions(plain, rng)
        a, b = (env.step(actions).groups[0] for env in (plain, wrapped))
        for field in ("action_mask", "acting", "reward", "terminated", "truncated"):
            assert play.same_bits(getattr(a, field), getattr(b, field)), f"{field} at {t}"
        assert (a.obs.reshape(b.obs.shape) == b.obs).all()
        ended = a.terminated
        assert (a.final_obs.reshape(b.obs.shape)[ended] == b.final_obs[ended]).all(), t
    assert not plain.faults and not wrapped.faults


def test_images() -> None:
    env = made(
        "pettingzoo:butterfly.cooperative_pong_v6", "color_reduction:full", "resize:42x42", "frame_stack:4", copies=1
    )
    space = env.spec.groups[0].observation_space
    assert space.shape == (42, 42, 4) and space.dtype == np.uint8
    env.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frame_stak:4", "unknown wrapper 'frame_stak'; did you mean 'frame_stack'"),
        ("frame_stack", "--wrap frame_stack: it is typed as frame_stack:FRAMES"),
        ("frame_stack:0", "it is typed as frame_stack:FRAMES"),
        ("resize:84", "it is typed as resize:WIDTHxHEIGHT"),
        ("clip_reward:1,-1", "it is typed as clip_reward:LOW,HIGH"),
        ("flatten:", "it is typed as flatten"),
        ("black_death", "not needed: agents that die are seen as what they are"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        understood([text])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (f"{ARENAS}:Plain", "resize:8x8", "it is for images of 1, 3 or 4 channels"),
        (f"{ARENAS}:Plain", "color_reduction", "shape must be a 3d image"),
        (f"{ARENAS}:Plain", "clip_actions", r"it is for continuous actions \(Box\)"),
        (f"{ARENAS}:Duel", "normalize_obs:0,1", "it is for floating-point observations .--wrap dtype:float32 before"),
        (f"{ARENAS}:Duel", "sticky_actions:0.5", "it is for actions that are always legal"),
    ],
)
def test_a_wrapper_that_does_not_fit(name: str, text: str, words: str) -> None:
    """Told before anything is trained, not by a fault in every step."""
    with pytest.raises(UsageError, match=rf"--wrap {text} does not fit {name}: .*{words}"):
        made(name, text)


def test_every_wrapper_exists() -> None:
    import supersuit

    assert all(callable(getattr(supersuit, wrap.function)) for wrap in WRAPS.values())
