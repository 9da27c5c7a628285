"""Every game of the family against mpe2: from the same state, with the same actions, the same life.

Both sides run whole episodes without being brought together again, a third of them from a start so crowded that discs
touch. Figures differ because ours are float32 and mpe2's float64: by 2e-5 at most where discs bounce (a contact is a
spring so stiff that it doubles an error), by 1e-6 elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.environments.particle import mpe
from tests.environments.particle.mpe import Reference

TOLERANCE = 1e-4
COPIES = 9

# Options that only change numbers share the compiled code of the defaults; new sizes are compiled once more.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("adversary", {"num_agent_neighbors": 1, "num_landmark_neighbors": 3, "max_cycles": 10}),
    ("adversary", {"N": 4, "num_agent_neighbors": 3}),
    ("reference", {"local_ratio": 0.2, "max_cycles": 7}),
    ("spread", {"local_ratio": 0.3, "num_agent_neighbors": 1, "num_landmark_neighbors": 5}),
    ("spread", {"curriculum_stage": 0, "terminate_on_success": True}),
    ("spread", {"curriculum_stage": 1, "num_agent_neighbors": 2}),
    ("spread", {"N": 6, "num_landmark_neighbors": 2}),
    ("tag", {"num_agent_neighbors": 2, "num_landmark_neighbors": 3, "curriculum_stage": 1}),
    ("tag", {"num_good": 2, "num_adversaries": 2, "num_obstacles": 1, "terminate_on_success": True}),
    ("tag", {"num_good": 3, "num_adversaries": 1, "num_obstacles": 0, "curriculum_stage": 0}),
    ("world_comm", {"num_good": 3, "num_adversaries": 1, "num_obstacles": 0, "num_food": 1, "num_forests": 3}),
    ("formation", {"N": 7, "terminate_on_success": True}),
    ("line", {"N": 1}),
    ("collect_treasure", {"num_collectors": 3, "num_deposits": 3, "num_treasures": 4}),
]
CASES = [(name, {"continuous_actions": continuous}) for name in mpe.NAMES for continuous in (False, True)] + VARIANTS
IDS = [" ".join([name, *(f"{k}={v}" for k, v in options.items() if v is not False)]) for name, options in CASES]


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_same_life(name: str, options: dict[str, Any]) -> None:
    env = mpe.make(name, COPIES, seed=5, **options)
    references = [Reference(name, options) for _ in range(COPIES)]
    check_description(env, references[0])
    for e, reference in enumerate(references):
        if e % 3:  # draw everything together, so that discs touch
            state = env.capture(e).arrays
            scale = np.float32(0.3 if e % 3 == 1 else 0.1)
            env.restore(e, {k: state[k] * scale for k in ("agent_position", "landmark_position")})
        reference.put(env.capture(e).arrays)
        check_views(env, reference, e, final=False)
    generator = np.random.default_rng(3)
    open_copies = set(range(COPIES))
    for _ in range(options.get("max_cycles", 25)):
        actions = mpe.random_actions(env, generator)
        env.step(actions)
        for e in sorted(open_copies):
            check_step(env, references[e], actions, e)
            if env.buffers.episode_over[e]:
                open_copies.remove(e)
    assert not open_copies


def check_description(env: Any, reference: Reference) -> None:
    """Names, order and spaces of the agents."""
    theirs = reference.env
    assert list(env.spec.agents) == list(theirs.possible_agents)
    for group in env.spec.groups:
        for agent in group.agents:
            assert group.observation_space == theirs.observation_space(agent)
            assert group.action_space == theirs.action_space(agent)
    assert (env.spec.state_size,) == theirs.state_space.shape
    assert env.spec.max_steps == reference.raw.max_cycles


def check_views(env: Any, reference: Reference, e: int, final: bool) -> None:
    """Observations and global state of one copy, the final ones where its episode is over."""
    groups = env.buffers.groups
    ours = mpe.by_agent(env, [group.final_obs if final else group.obs for group in groups], e)
    for agent, theirs in reference.observations().items():
        np.testing.assert_allclose(ours[agent], theirs, rtol=0, atol=TOLERANCE, err_msg=agent)
    state = env.buffers.final_state[e] if final else env.buffers.state[e]
    np.testing.assert_allclose(state, reference.raw.state(), rtol=0, atol=TOLERANCE)


def check_step(env: Any, reference: Reference, actions: dict[str, Any], e: int) -> None:
    """One step of mpe2 beside the one that our copy has just taken."""
    after = env.capture(e).arrays
    rewards, terminated, truncated = reference.step(mpe.action_of(env, actions, e), after)
    groups = env.buffers.groups
    ours = mpe.by_agent(env, [group.reward for group in groups], e)
    assert mpe.by_agent(env, [group.terminated for group in groups], e) == terminated
    assert mpe.by_agent(env, [group.truncated for group in groups], e) == truncated
    assert list(ours) == list(rewards)
    np.testing.assert_allclose(list(ours.values()), list(rewards.values()), rtol=0, atol=TOLERANCE)
    check_views(env, reference, e, final=bool(env.buffers.episode_over[e]))


@pytest.mark.parametrize("name", mpe.NAMES)
def test_states_come_from_mpe2_too(name: str) -> None:
    env = mpe.make(name)
    reference = Reference(name, {})
    generator = np.random.default_rng(11)
    for seed in range(3):
        reference.env.reset(seed=seed)
        for _ in range(3):  # at the start, and in the midst of it
            env.restore(0, reference.get())
            check_views(env, reference, 0, final=False)
            actions = mpe.random_actions(env, generator)
            reference.env.step(mpe.action_of(env, actions, 0))


def arrived(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """A start in which everybody stands where the game wants them."""
    agents, landmarks = arrays["agent_position"], arrays["landmark_position"]
    if name == "spread":
        return {"agent_position": landmarks[::-1]}
    if name == "tag":
        return {
            "agent_position": agents[-1] + 0.02 * np.arange(len(agents))[:, None],
            "landmark_position": landmarks * 9,
        }
    if name == "line":
        return {"agent_position": np.linspace(landmarks[1], landmarks[0], len(agents))}
    angles = 0.1 + 2 * np.pi * np.arange(len(agents)) / len(agents)
    return {"agent_position": landmarks[0] + 0.5 * np.stack([np.cos(angles), np.sin(angles)], 1)}


@pytest.mark.parametrize("name", ["spread", "tag", "formation", "line"])
@pytest.mark.parametrize(("max_cycles", "success"), [(2, True), (1, True), (2, False)])
def test_success_ends_the_episode_but_not_in_its_last_step(name: str, max_cycles: int, success: bool) -> None:
    options = {"max_cycles": max_cycles, "terminate_on_success": success}
    env, reference = mpe.make(name, **options), Reference(name, options)
    env.restore(0, arrived(name, dict(env.capture(0).arrays)))
    reference.put(env.capture(0).arrays)
    actions = mpe.random_actions(env, np.random.default_rng(0))
    env.step(actions)
    check_step(env, reference, actions, 0)
    group = env.buffers.groups[0]
    assert group.terminated.all() == (success and max_cycles == 2)
    assert group.truncated.all() == (max_cycles == 1)
