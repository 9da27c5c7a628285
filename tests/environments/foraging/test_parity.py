"""Level-based foraging against lbforaging 2.0.0: from the same state, with the same actions, the same life, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import environments
from environments.games.foraging.field import FOOD_LOADED, LOAD
from environments.registry import meaning
from environments.vector import Array, VectorEnv
from tests.environments.foraging.peer import Reference

COPIES = 12

CASES: list[tuple[str, dict[str, Any]]] = [
    ("foraging/8x8-2p-2f", {}),
    ("foraging/8x8-2p-2f-coop", {"penalty": 0.1}),
    ("foraging/2s-8x8-2p-2f-coop", {"timeout_terminates": False, "max_cycles": 50}),
    ("foraging/grid-2s-8x8-2p-2f", {"max_player_level": 3, "max_food_level": 4}),
    ("foraging/grid-8x8-2p-2f-pen", {"observe_agent_levels": False}),
    ("foraging/1s-5x5-4p-2f", {"penalty": 0.25, "max_cycles": 120}),
    ("foraging/5x5-4p-2f", {"normalize_reward": False}),
    ("foraging/grid-1s-5x5-4p-2f", {}),
    ("foraging/2s-5x9-3p-3f", {"min_player_level": [1, 2, 3], "max_player_level": [1, 2, 5]}),
    ("foraging/5x9-3p-3f-ind", {"observe_agent_levels": False, "action_masks": False}),
    ("foraging/15x15-3p-5f", {"min_food_level": [1, 2, 2, 3, 3], "max_food_level": [1, 2, 3, 3, 4]}),
]
IDS = [" ".join([name, *(f"{k}={v}" for k, v in options.items())]) for name, options in CASES]


def eager_actions(env: VectorEnv, generator: np.random.Generator) -> Array:
    """Random ones, a fifth of them not legal; who can load mostly does, so that food is loaded at all."""
    actions = generator.integers(0, 6, env.buffers.groups[0].reward.shape).astype(np.int32)
    mask = env.buffers.groups[0].action_mask
    if mask.shape[-1]:
        loads = mask[..., LOAD] & (generator.random(actions.shape) < 0.9)
        actions[loads] = LOAD
    return actions


def around_food(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The same start with the first players around the first piece of food."""
    around = arrays["food_position"][0] + np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
    position = arrays["player_position"].copy()
    position[:4] = around[: len(position)]
    return dict(arrays) | {"player_position": position}


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_same_life(name: str, options: dict[str, Any]) -> None:
    options = {"max_cycles": 150, **options}
    env = environments.make(name, COPIES, seed=5, **options)
    references = [Reference({**meaning(name)[1], **options}) for _ in range(COPIES)]
    for e, reference in enumerate(references):
        if e % 2:
            env.restore(e, reference.start(seed=e))
        elif e % 4:
            env.restore(e, around_food(env.capture(e).arrays))
        if not e % 2:
            reference.put(env.capture(e).arrays)
        check_views(env, reference, e, final=False)
    generator = np.random.default_rng(3)
    open_copies, loaded, gone = set(range(COPIES)), 0.0, 0
    for _ in range(env.spec.max_steps or 0):
        actions = eager_actions(env, generator)
        env.step({"agent": actions})
        for e in sorted(open_copies):
            over = check_step(env, references[e], actions[e], e)
            if over:
                open_copies.remove(e)
                loaded += env.buffers.metrics[e, FOOD_LOADED]
                gone += references[e].env.field.sum() == 0
    assert not open_copies
    assert loaded >= COPIES / 4, "episodes in which nothing happens test little"
    assert gone or "coop" in name or "15x15" in name


def check_views(env: VectorEnv, reference: Reference, e: int, final: bool) -> None:
    """Observations and masks of one copy, the final ones where its episode is over."""
    group = env.buffers.groups[0]
    np.testing.assert_array_equal((group.final_obs if final else group.obs)[e], reference.views())
    if group.action_mask.shape[-1]:
        np.testing.assert_array_equal((group.final_mask if final else group.action_mask)[e], reference.masks())


def check_step(env: VectorEnv, reference: Reference, actions: Array, e: int) -> bool:
    """One step of lbforaging beside the one that our copy has just taken; returns whether the episode is over."""
    rewards, over = reference.step(actions)
    group, options = env.buffers.groups[0], reference.options
    np.testing.assert_array_equal(group.reward[e], rewards)
    assert env.buffers.episode_over[e] == over
    late = reference.env.current_step >= options.max_cycles
    food_is_gone = reference.env.field.sum() == 0
    assert (group.terminated[e] == (food_is_gone or (late and options.timeout_terminates))).all()
    assert (group.truncated[e] == late).all()
    check_views(env, reference, e, final=over)
    if not over:
        ours, theirs = env.capture(e).arrays, reference.get()
        for each in ("player_position", "player_level", "food_spawned"):
            np.testing.assert_array_equal(ours[each], theirs[each])
    return over


def test_a_whole_team_shares_a_cell_in_both() -> None:
    """Who comes to where another was hindered from leaving stands beside it in one cell, and may stay there."""
    env, reference = environments.make("foraging/5x5-4p-2f"), Reference(meaning("foraging/5x5-4p-2f")[1])
    start = {
        "player_position": [[0, 0], [0, 1], [0, 3], [4, 4]],  # 1 and 2 both want (0, 2), 0 follows 1
        "player_level": [1, 1, 1, 1],
        "food_position": [[2, 1], [3, 3]],
        "food_level": [1, 1],
        "food_spawned": 2,
    }
    state = {name: np.array(array, np.int32) for name, array in start.items()}
    env.restore(0, state)
    reference.put(state)
    for actions in ([4, 4, 3, 0], [0, 0, 0, 1], [2, 4, 3, 1], [3, 4, 2, 5]):
        env.step({"agent": np.array([actions], np.int32)})
        check_step(env, reference, np.array(actions), 0)
        if actions == [4, 4, 3, 0]:
            assert env.capture(0).arrays["player_position"].tolist() == [[0, 1], [0, 1], [0, 3], [4, 4]]
            assert env.buffers.metrics[0, 2] == 2


def test_two_swap_places_in_both() -> None:
    env, reference = environments.make("foraging/8x8-2p-2f"), Reference(meaning("foraging/8x8-2p-2f")[1])
    state = dict(env.capture(0).arrays) | {"player_position": np.array([[0, 0], [0, 1]], np.int32)}
    env.restore(0, state)
    reference.put(state)
    env.step({"agent": np.array([[4, 3]], np.int32)})
    check_step(env, reference, np.array([4, 3]), 0)
    assert env.capture(0).arrays["player_position"].tolist() == [[0, 1], [0, 0]]
