"""Whole episodes beside rware 2.0.0: from the same state, with the same actions and the same draws, the same life.

Nothing is brought together again on the way. Requests are drawn by our numbers on both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from environments.games.warehouse import layout, names
from environments.native import NativeEnv
from environments.vector import Array
from tests.environments.warehouse import fetch
from tests.environments.warehouse.reference import Reference, make

COPIES = 3
PICTURE = """
.......
.xx.xx.
.xxgxx.
.xx.xx.
..g....
"""
CASES: dict[str, dict[str, Any]] = {
    "tiny-2ag": {},
    "tiny-2ag two stages": {"reward_type": "two_stage", "normalised_coordinates": True, "max_cycles": 130},
    "tiny-2ag-hard idle": {"request_queue_size": 1, "max_inactivity_steps": 30, "reward_type": "global"},
    "small-4ag": names.read("warehouse/small-4ag")[1],
    "small-4ag-easy": {**names.read("warehouse/small-4ag-easy")[1], "reward_type": "global"},
    "a drawn floor": {
        "layout": PICTURE,
        "n_agents": 6,
        "request_queue_size": 10,
        "sensor_range": 2,
        "reward_type": "two_stage",
        "max_cycles": 300,
        "timeout_terminates": False,
    },
}


class Seen:
    """What happened in the episodes that were compared."""

    def __init__(self) -> None:
        self.lifted = self.put_down = self.handed_over = self.blocked = self.paid_twice = self.over = 0

    def add(self, before: dict[str, Array], after: dict[str, Array], draws: int, actions: Array) -> None:
        """One step."""
        self.lifted += int((after["carrying"] > before["carrying"]).sum())
        self.put_down += int((after["carrying"] < before["carrying"]).sum())
        self.paid_twice += int((after["delivered"] < before["delivered"]).sum())
        self.handed_over += draws
        stayed = (after["position"] == before["position"]).all(1)
        self.blocked += int(((actions == 1) & stayed).sum())


@pytest.mark.parametrize("purposeful", [False, True], ids=["random", "purposeful"])
@pytest.mark.parametrize("case", CASES)
def test_same_life(case: str, purposeful: bool) -> None:
    copies = COPIES if purposeful else 1
    env = make(num_envs=copies, seed=3, **CASES[case])
    floor = layout.of(env.spec.options)
    references = [Reference(env.spec.options) for _ in range(copies)]
    for e, reference in enumerate(references):
        reference.put(env.capture(e).arrays)
    check_description(env, references[0])
    chance = np.random.default_rng(4)
    seen = Seen()
    open_copies = set(range(copies))
    while open_copies:
        before = [env.capture(e) for e in range(copies)]
        actions = chance.integers(-1, 6, (copies, len(env.spec.agents))).astype(np.int32)
        if purposeful:
            actions = np.stack([fetch.actions(state.arrays, floor, chance) for state in before])
        env.step({"agent": actions})
        for e in sorted(open_copies):
            check_step(env, references[e], before[e], actions[e], e, seen)
            if env.buffers.episode_over[e]:
                open_copies.remove(e)
    assert seen.over == copies
    if purposeful:
        assert min(seen.lifted, seen.put_down, seen.handed_over) >= 2 * copies and seen.blocked > 20, vars(seen)
        assert (seen.paid_twice > 0) == (env.spec.options["reward_type"] == "two_stage")


def check_description(env: NativeEnv, reference: Reference) -> None:
    """Spaces, floor, goals."""
    (group,) = env.spec.groups
    theirs = reference.env
    assert group.observation_space == theirs.observation_space[0]
    assert group.action_space == theirs.action_space[0]
    assert len(group.agents) == theirs.n_agents and len(group.features) == theirs.observation_space[0].shape[0]
    floor = layout.of(env.spec.options)
    np.testing.assert_array_equal(floor.highway, theirs.highways)
    assert list(floor.goals) == theirs.goals and floor.shelves == len(reference.shelves)
    np.testing.assert_array_equal(env.buffers.groups[0].obs[0], reference.observations())


def check_step(env: NativeEnv, reference: Reference, before: Any, actions: Array, e: int, seen: Seen) -> None:
    """One step of rware beside the one that our copy has just taken."""
    legal = np.where((actions < 0) | (actions > 4), 0, actions)
    rewards, done, draws = reference.step(legal.tolist(), int(before.clock["seed"]), int(before.clock["draws"]))
    buffers, group = env.buffers, env.buffers.groups[0]
    np.testing.assert_array_equal(group.reward[e], rewards)
    assert buffers.episode_over[e] == done
    late = before.clock["step"] + 1 == env.spec.max_steps
    idle = env.spec.options["max_inactivity_steps"]
    assert group.truncated[e].all() == group.truncated[e].any() == late
    rules = reference.env._cur_inactive_steps == idle or (late and env.spec.options["timeout_terminates"])
    assert group.terminated[e].all() == group.terminated[e].any() == rules
    theirs = reference.get()
    np.testing.assert_array_equal((group.final_obs if done else group.obs)[e], reference.observations())
    seen.over += done
    seen.add(before.arrays, theirs, draws, actions)
    state = (buffers.final_state if done else buffers.state)[e]
    time_left = 1 - (before.clock["step"] + 1) / env.spec.max_steps
    ends = [time_left] if env.spec.options["timeout_terminates"] else []
    np.testing.assert_allclose(state, [*reference.observations().ravel(), *ends], rtol=1e-6)
    if not done:
        now = env.capture(e)
        assert now.clock["draws"] == before.clock["draws"] + draws
        for name, array in theirs.items():
            np.testing.assert_array_equal(now.arrays[name], array, err_msg=name)
        assert buffers.metrics[e, 0] == before.clock["metrics"][0] + draws


def test_states_come_from_rware_too() -> None:
    env = make(**CASES["small-4ag"])
    reference = Reference(env.spec.options)
    floor = layout.of(env.spec.options)
    chance = np.random.default_rng(6)
    for seed in range(4):
        reference.env.reset(seed=seed)
        for _ in range(40):  # at the start, and in the midst of it
            arrays = reference.get()
            env.restore(0, arrays)
            np.testing.assert_array_equal(env.buffers.groups[0].obs[0], reference.observations())
            reference.env.step(fetch.actions(arrays, floor, chance).tolist())
