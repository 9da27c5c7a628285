"""Deaths, late appearances, turns, spaces, teams, faults: what other people's environments do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from environments import keys
from environments.errors import EnvironmentFailure, UsageError
from environments.external import teams
from environments.external.vector import PettingZooVectorEnv
from tests.contracts import play
from tests.environments.external import arenas


def zeros(env: PettingZooVectorEnv) -> dict[str, Any]:
    """The first action for everybody."""
    return {name: np.zeros(shape, dtype) for name, (shape, dtype) in zip(env._groups, env._shapes, strict=True)}


def test_deaths_and_late_appearances() -> None:
    env = PettingZooVectorEnv(arenas.Arena, 2, seed=1, teams="one")
    group, n = env.buffers.groups[0], {agent: k for k, agent in enumerate(env.spec.groups[0].agents)}
    assert n == {"a": 0, "b": 1, "c": 2}
    assert group.acting.tolist() == [[True, True, False]] * 2 and not group.obs[:, 2].any()
    alive = []
    for t in range(1, 7):
        env.step({"team": np.full((2, 3), 2, np.int32)})
        alive.append(group.acting[0].tolist())
        assert group.reward[0, 0] == 7, "Discrete.start is honoured"
        assert group.terminated[:, 1].all() == (t == 3)
        assert group.truncated[0].tolist() == ([True, False, True] if t == 6 else [False] * 3)
        if t == 3:
            assert group.final_obs[0, 1, :2].tolist() == [3, 1]
            np.testing.assert_array_equal(env.buffers.final_state[0, 3:6], group.final_obs[0, 1])
            assert not group.obs[:, 1].any() and group.reward[0, 1] == 7
        if t == 6:
            assert env.buffers.episode_over.all() and env.buffers.episode_truncated.all()
            assert group.final_obs[0, [0, 2], :2].tolist() == [[6, 0], [6, 2]]
            assert group.obs[0, 0, 0] == 0, "the next episode has begun"
            assert env.buffers.outcome[0, 0] == 6 * 7 + 3 * 7 + 4 * 7, "c was paid on four steps, b on three"
    assert alive[0] == [True, True, False] and alive[2] == [True, False, True] and alive[5] == [True, True, False]


def test_a_state_that_is_gone_at_the_end_is_the_last_there_was() -> None:
    env = PettingZooVectorEnv(arenas.Gone, 1, seed=1, teams="one")
    assert env.spec.state_size == 1
    for _ in range(6):
        before = env.buffers.state.copy()
        env.step(zeros(env))
    assert env.buffers.episode_over[0] and not env.faults
    assert env.buffers.final_state[0] == before[0] == 5 and env.buffers.state[0] == 0


def test_every_kind_of_space() -> None:
    env = PettingZooVectorEnv(arenas.Rooms, 2, seed=1)
    seen = {group.name: group for group in env.spec.groups}
    assert set(seen) == {"nested", "image", "wide", "byte", "masked"}
    assert seen["nested"].features == (
        "bits[0]",
        "bits[1]",
        "near/0[0]",
        "near/0[1]",
        "near/1=1",
        "near/1=2",
        "near/1=3",
    )
    assert seen["nested"].action_space == spaces.MultiDiscrete([2, 3])
    assert seen["image"].observation_space == spaces.Box(0, 255, (40, 40, 3), np.uint8)
    assert seen["image"].action_space.shape == (2, 1) and seen["image"].action_space.dtype == np.float32
    assert seen["wide"].observation_space.shape == (2, 2) and np.isinf(seen["wide"].observation_space.high).all()
    assert seen["byte"].observation_space == spaces.Box(0, 1, (3,), np.uint8)
    assert seen["masked"].masked and seen["masked"].observation_space.shape == (1,)
    rng = np.random.default_rng(1)
    for _ in range(9):
        buffers = env.step(play.random_actions(env, rng))
        assert not env.faulted.any(), env.faults
    by_name = dict(zip(seen, buffers.groups, strict=True))
    assert by_name["masked"].action_mask.tolist() == [[[False, True, False, True]]] * 2
    assert (by_name["nested"].obs[..., 4:].sum(-1) == 1).all(), "one-hot"
    assert env.spec.state_size == 0, "an image is no part of a state: learners look at what the team sees"


def test_turns() -> None:
    env = PettingZooVectorEnv(arenas.Duel, 3, seed=2)
    group = env.buffers.groups[0]
    assert env.spec.turn_based and env.spec.max_wait == 1 and env.spec.state_size == 0
    assert [(kind.name, kind.teams) for kind in env.spec.kinds] == [("player", 2)]
    rng = np.random.default_rng(2)
    paid = np.zeros((3, 2))
    for _ in range(5):
        mover = group.acting.argmax(1)
        assert (group.acting.sum(1) == 1).all() and group.action_mask[~group.acting].all()
        env.step(play.random_actions(env, rng))
        paid += group.reward
    assert group.terminated.all() and env.buffers.episode_over.all() and not env.buffers.episode_truncated.any()
    assert (paid[np.arange(3), mover] == 1).all() and (paid.sum(1) == 0).all()
    assert (group.final_obs[:, :, 0] == 5).all() and (env.buffers.outcome == paid).all()
    assert not env.faults


@pytest.mark.parametrize("fault", ["raises", "leaves", "nan", "reward", "shape", "type", "stranger"])
def test_faults(fault: str) -> None:
    """The failing copy is cut off with its last good views; the others live the lives they would have lived."""
    made = iter(
        [3, 99, 99, 99, 99]
    )  # the first copy fails in its third episode (one is for looking), its successor never

    def factory() -> Any:
        return arenas.Faulty(fault, next(made))

    env = PettingZooVectorEnv(factory, 2, seed=3, teams="one", can_capture=True)
    calm = PettingZooVectorEnv(arenas.Arena, 2, seed=3, teams="one")
    rng = np.random.default_rng(3)
    env.reset(copies=[0])
    calm.reset(copies=[0])
    for t in range(14):
        before = play.snapshot(env.buffers)
        actions = play.random_actions(env, rng)
        a, b = env.step(actions), calm.step(actions)
        assert env.faulted.tolist() == [t == 3, False]
        play.assert_same(play.valid(a, [1]), play.valid(b, [1]), t)
        if t == 3:
            group = a.groups[0]
            assert group.truncated[0].tolist() == [True, False, True] and not group.terminated.any()
            assert play.same_bits(group.final_obs[0, [0, 2]], before["0.obs"][0, [0, 2]])
            assert play.same_bits(a.final_state[0], before["state"][0])
            assert a.episode_over[0] and a.episode_truncated[0] and not group.reward[0].any()
            assert group.obs[0, 0, 0] == 0 and np.isfinite(group.obs).all()
    (found,) = env.faults
    assert (found.copy, found.step) == (0, 3) and len(found.actions["team"]) == 4
    assert found.next_key == keys.after_fault(keys.copy_key(3, 0))
    again = arenas.Arena()
    again.reset(seed=found.seed)
    again.step({"a": found.actions["team"][0][0] + 5, "b": found.actions["team"][0][1] + 5})


def test_too_many_faults() -> None:
    env = PettingZooVectorEnv(lambda: arenas.Faulty("raises", 1), 2, seed=3, teams="one", max_faults=3, name="mine")
    with pytest.raises(
        EnvironmentFailure, match=r"mine failed 4 times.*copy 1, seed \d+, step 3: RuntimeError: the roof"
    ):
        for _ in range(20):
            env.step(zeros(env))


def test_what_does_not_repeat_is_not_captured() -> None:
    env = PettingZooVectorEnv(arenas.Unrepeatable, 1, seed=3)
    assert not env.spec.can_capture and PettingZooVectorEnv(arenas.Arena).spec.can_capture
    env.capture(0)  # a start can be kept
    env.step(zeros(env))
    with pytest.raises(EnvironmentFailure, match="does not repeat itself"):
        env.capture(0)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: arenas.Refused("tuple"), r"agent 'a': actions of parts \(Tuple\) cannot be learnt"),
        (lambda: arenas.Refused("dict"), r"agent 'a': actions of named parts \(Dict\) cannot be learnt"),
        (arenas.Nameless, "no fixed possible_agents"),
        (lambda: 3, "neither a PettingZoo ParallelEnv nor an AECEnv"),
    ],
)
def test_refusals(factory: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PettingZooVectorEnv(factory)


def arranged(agents: list[str], how: str) -> dict[str, list[list[str]]]:
    """Kind -> its groups' agents; agents whose name ends in `9` have more actions."""
    sight = teams.Sight(spaces.Box(0, 1, (1,)), (), spaces.Box(0, 1, (1,)), None, (), True)
    members = []
    for agent in agents:
        done = spaces.Discrete(3 if agent.endswith("9") else 2)
        moves = teams.Moves(done, done, int)
        members.append(teams.Member(agent, sight, moves, False))
    groups, kinds = teams.arrange(members, how)
    named = {group.name: list(group.agents) for group in groups}
    assert not any("." in name for name in named)
    assert all(len(named[name]) == kind.teams for kind in kinds if kind.teams > 1 for name in kind.groups)
    return {kind.name: [named[name] for name in kind.groups] for kind in kinds}


def test_teams() -> None:
    tag = ["adversary_0", "adversary_1", "agent_0", "adversary_9"]
    assert arranged(tag, "prefix") == {
        "adversary": [["adversary_0", "adversary_1"], ["adversary_9"]],
        "agent": [["agent_0"]],
    }
    assert arranged(tag, "one") == {"team": [["adversary_0", "adversary_1"], ["agent_0"], ["adversary_9"]]}
    assert arranged(tag, "each") == {
        "adversary": [["adversary_0", "adversary_1"]],
        "agent": [["agent_0"]],
        "adversary_2": [["adversary_9"]],
    }
    assert arranged(tag, "prey=agent_*,hunt.ers=*") == {
        "hunt_ers": [["adversary_0", "adversary_1"], ["adversary_9"]],
        "prey": [["agent_0"]],
    }
    assert arranged(["alice", "bob"], "one") == {"team": [["alice", "bob"]]}
    assert arranged(["alice", "bob"], "prefix") == {"alice": [["alice"]], "bob": [["bob"]]}
    assert arranged(["alice", "bob"], "each") == {"player": [["alice", "bob"]]}
    for how, words in (
        ("some", "--teams is one of"),
        ("a=adv*", "leaves out the agent 'agent_0'"),
        ("a=*,b=x*", "no agent is left for b"),
    ):
        with pytest.raises(UsageError, match=words):
            arranged(tag, how)
