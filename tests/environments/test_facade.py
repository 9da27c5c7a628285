"""The PettingZoo faces by hand: what they show, copy and refuse, and what they cost beside mpe2."""

from __future__ import annotations

import copy
import pickle
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from mpe2 import simple_spread_v3

import environments
from environments.errors import UsageError
from environments.facade import ParallelFacade
from environments.native import NativeEnv
from tests.contracts.strict import choose, choose_all, equal


def test_spaces_of_masked_groups_are_dicts() -> None:
    face = environments.parallel_env("toy/siege")
    guard, raider = face.observation_space("guard_0"), face.observation_space("raider_0")
    assert isinstance(guard, spaces.Dict) and isinstance(raider, spaces.Dict)
    assert guard["observation"] == spaces.Box(0, 1, (8,), np.float32)
    assert [part.shape for part in guard["action_mask"]] == [(2,), (2,)]
    assert raider["action_mask"] == spaces.Box(0, 1, (5,), np.int8)
    assert face.action_space("guard_0") == spaces.MultiDiscrete([2, 2])
    assert environments.parallel_env("toy/dock").observation_space("cart_0").shape == (4,)


def test_a_multi_discrete_mask_is_what_sample_wants() -> None:
    face = environments.parallel_env("toy/siege", random_size=False)
    views, _ = face.reset(seed=1)
    face.vector.restore(0, {"energy": np.zeros(4, np.int64)})
    tired = {agent: np.array([0, 0]) for agent in face.agents if "guard" in agent}
    waits = {agent: 0 for agent in face.agents if "raider" in agent}
    views, *_ = face.step({**tired, **waits})
    assert views["guard_0"]["action_mask"][0].tolist() == [1, 1]
    face.vector.restore(0, {"energy": np.zeros(4, np.int64), "stands": np.array([1, 1, 1, 1, 0, 1], np.uint8)})
    masks = face.places["guard_0"][0].views(False)[0]["action_mask"]
    assert [mask.tolist() for mask in masks] == [[1, 0], [0, 1]]
    assert {tuple(face.action_space("guard_0").sample(masks)) for _ in range(20)} == {(0, 1)}


def test_metadata() -> None:
    face, turns = environments.parallel_env("particle/spread"), environments.env("toy/noughts")
    assert face.metadata["name"] == "particle/spread_v1" == str(face)
    assert face.metadata["render_modes"] == ["human", "rgb_array"]
    assert face.metadata["render_fps"] == 10
    assert face.metadata["is_parallelizable"] is True
    assert turns.metadata["is_parallelizable"] is False
    assert environments.env("particle/spread").metadata["is_parallelizable"] is True
    assert face.unwrapped is face and turns.unwrapped is turns


def test_reset_begins_the_episode_of_that_seed() -> None:
    """A batch's episode, named by its seed, is begun again by both faces."""
    batch = environments.make("particle/spread", num_envs=8, seed=5)
    batch.reset()
    face, turns = environments.parallel_env("particle/spread"), environments.env("particle/spread")
    for e in range(8):
        seed = batch.episode_seed[e]
        views, _ = face.reset(seed=seed)
        turns.reset(seed=int(seed))
        assert face.vector.episode_seed[0] == turns.vector.episode_seed[0] == seed
        assert np.array_equal(np.stack(list(views.values())), batch.buffers.groups[0].obs[e])


def test_reset_without_a_seed_goes_on_to_the_next_episode() -> None:
    face, batch = environments.parallel_env("toy/dock"), environments.make("toy/dock")
    for _ in range(4):
        face.reset()
        assert face.vector.episode_seed[0] == batch.episode_seed[0]
        batch.reset()
    face.reset(seed=3)
    first = int(face.vector.episode_seed[0])
    face.reset()
    face.reset(seed=3)
    assert first == 3 == face.vector.episode_seed[0]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_has_64_bits(seed: int) -> None:
    with pytest.raises(ValueError, match="seed must be between 0 and"):
        environments.parallel_env("toy/dock").reset(seed=seed)


def test_step_before_reset_is_refused() -> None:
    face, turns = environments.parallel_env("toy/dock"), environments.env("toy/dock")
    with pytest.raises(RuntimeError, match=r"toy/dock: no episode is open; call reset\(\) first"):
        face.step({})
    with pytest.raises(RuntimeError, match="no episode is open"):
        turns.step(None)


@pytest.mark.parametrize("action", [5, -1, 1.0, "1", None, np.array([1]), np.nan])
def test_a_discrete_action_out_of_its_space_is_refused(action: object) -> None:
    face = environments.parallel_env("particle/spread")
    face.reset()
    with pytest.raises(ValueError, match="of 'agent_1' is outside Discrete"):
        face.step({"agent_0": 0, "agent_1": action, "agent_2": 0})


@pytest.mark.parametrize("action", [3, np.int64(3), np.int32(3), np.uint8(3), np.array(3)])
def test_any_integer_is_a_discrete_action(action: Any) -> None:
    face = environments.parallel_env("particle/spread")
    face.reset(seed=1)
    views, *_ = face.step(dict.fromkeys(face.agents, action))
    face.reset(seed=1)
    again, *_ = face.step(dict.fromkeys(face.agents, 3))
    assert all(np.array_equal(views[agent], again[agent]) for agent in face.agents)


@pytest.mark.parametrize("action", [[2.5, 0], [0, -0.1], [np.nan, 0], [0, np.inf], [0], [[0, 0]], ["a", "b"], None, 0])
def test_a_box_action_out_of_its_bounds_is_refused(action: Any) -> None:
    turns = environments.env("toy/dock")
    turns.reset()
    with pytest.raises(ValueError, match="of 'cart_0' is outside Box"):
        turns.step(action if action is None else np.array(action))
    assert turns.agent_selection == "cart_0"


@pytest.mark.parametrize("action", [[2, 0], [0, 2], [0.0, 1.0], [0], 0])
def test_a_multi_discrete_action_out_of_its_space_is_refused(action: Any) -> None:
    turns = environments.env("toy/siege")
    turns.reset()
    with pytest.raises(ValueError, match=r"of 'guard_0' is outside MultiDiscrete\(\[2 2\]\)"):
        turns.step(np.array(action))


def test_missing_and_strange_agents_are_refused() -> None:
    face = environments.parallel_env("toy/dock")
    face.reset()
    still = np.zeros(2, np.float32)
    with pytest.raises(KeyError, match=r"no action for agent 'cart_1'"):
        face.step({"cart_0": still})
    with pytest.raises(KeyError, match=r"actions for \['cart_9'\]"):
        face.step({"cart_0": still, "cart_1": still, "cart_9": still})
    assert face.vector.episode_step[0] == 0


def test_the_dead_leave_and_may_not_act() -> None:
    face = environments.parallel_env("toy/siege", random_size=False)
    face.reset(seed=2)
    seen: list[str] = []
    while len(face.agents) == 6:
        rest = {agent: np.zeros(2, int) if "guard" in agent else 1 for agent in face.agents}
        views, rewards, terminations, _, infos = face.step(rest)
        seen = list(views)
    assert seen == face.possible_agents == list(rewards) == list(terminations) == list(infos)
    assert terminations["guard_0"] and rewards["guard_0"] == -0.5 and "guard_0" not in face.agents
    with pytest.raises(KeyError, match=r"actions for \['guard_0'\]"):
        face.step(rest)
    views, *_ = face.step({agent: action for agent, action in rest.items() if agent in face.agents} | {
        "raider_0": 0, "raider_1": 0
    })  # fmt: skip
    assert "guard_0" not in views


def test_off_turn_agents_see_nothing_and_are_ignored() -> None:
    face = environments.parallel_env("toy/noughts", random_start=False)
    views, _ = face.reset()
    assert face.acting == ["player_0"] and face.agents == ["player_0", "player_1"]
    assert views["player_0"]["action_mask"].tolist() == [1] * 9
    assert views["player_1"]["action_mask"].tolist() == [0] * 9
    views, *_ = face.step({"player_0": 4, "player_1": "anything"})
    assert face.acting == ["player_1"]
    assert views["player_1"]["observation"].tolist() == [0] * 9 + [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert not views["player_0"]["observation"].any()


def test_a_turn_based_game_played_by_turns() -> None:
    env = environments.env("toy/noughts", random_start=False)
    env.reset()
    for agent, cell in (("player_0", 0), ("player_1", 3), ("player_0", 1), ("player_1", 4), ("player_0", 2)):
        assert env.agent_selection == agent
        assert env.last()[1:4] == (0.0, False, False)
        env.step(cell)
    assert env.agents == ["player_0", "player_1"] and env.terminations == {"player_0": True, "player_1": True}
    assert env.rewards == {"player_0": 1.0, "player_1": -1.0}
    assert {env.agent_selection: env.last()[1]} == {"player_0": 1.0}
    final = env.observe("player_1")["observation"]
    assert final.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    env.step(None)
    assert {env.agent_selection: env.last()[1]} == {"player_1": -1.0}
    with pytest.raises(ValueError, match="the only valid action is None"):
        env.step(3)
    env.step(None)
    assert env.agents == []


def test_rewards_and_flags_are_plain_python() -> None:
    face = environments.parallel_env("particle/spread", max_cycles=1)
    face.reset()
    _, rewards, terminations, truncations, _ = face.step(dict.fromkeys(face.agents, 0))
    assert {type(value) for value in rewards.values()} == {float}
    assert terminations == dict.fromkeys(face.possible_agents, False)
    assert truncations == dict.fromkeys(face.possible_agents, True)
    assert face.agents == []


def test_an_empty_step_after_the_end_is_empty() -> None:
    face = environments.parallel_env("toy/dock", max_cycles=1)
    face.reset()
    face.step(dict.fromkeys(face.agents, np.zeros(2, np.float32)))
    assert face.agents == [] and face.step({}) == ({}, {}, {}, {}, {})
    with pytest.raises(RuntimeError, match="no episode is open"):
        face.step({"cart_0": np.zeros(2, np.float32)})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("name", ["toy/dock", "toy/siege", "toy/noughts"])
def test_a_copied_face_lives_on_alike(name: str, duplicate: Callable[[Any], Any]) -> None:
    face, turns = environments.parallel_env(name), environments.env(name)
    fresh = duplicate(face)
    assert equal(list(fresh.reset()), list(face.reset()))
    rng = np.random.default_rng(2)
    turns.reset(seed=3)
    views, infos = face.reset(seed=3)
    for _ in range(3):
        actions = choose_all(face, views, infos, rng)
        views, *_, infos = face.step(actions)
    for _ in range(5):
        turns.step(choose(turns.action_space(turns.agent_selection), turns.last()[0], {}, rng))
    twin, mirror = duplicate(face), duplicate(turns)
    for _ in range(60):
        if face.agents:
            actions = choose_all(face, views, infos, rng)
            step = face.step(actions)
            assert equal(list(step), list(twin.step(actions)))
        else:
            step = face.reset()
            assert equal(list(step), list(twin.reset()))
        views, infos = step[0], step[-1]
        assert equal(list(turns.last()), list(mirror.last())) and turns.agents == mirror.agents
        dead = turns.last()[2] or turns.last()[3]
        action = None if dead else choose(turns.action_space(turns.agent_selection), turns.last()[0], {}, rng)
        for env in (turns, mirror):
            env.step(action)
            if not env.agents:
                env.reset()
    assert twin.vector is not face.vector and mirror.vector is mirror.face.vector


def test_state() -> None:
    face = environments.parallel_env("toy/meet")
    face.reset()
    state = face.state()
    assert face.state_space.contains(state) and state is not face.state()
    assert not np.shares_memory(state, face.vector.buffers.state)


def test_a_face_needs_one_copy_that_holds() -> None:
    game = environments.game("toy/meet")
    for vector in (NativeEnv(game, game.options()), NativeEnv(game, game.options(), num_envs=2, hold=True)):
        with pytest.raises(ValueError, match="a face needs one copy made with hold=True"):
            ParallelFacade(vector)
    with pytest.raises(UsageError, match="render_mode"):
        ParallelFacade(NativeEnv(game, game.options(), hold=True), "ansi")


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int, str]]:
    """Calls of a renderer that stands in for the real one."""
    calls: list[tuple[Any, int, str]] = []

    def render(vector: Any, copy: int = 0, mode: str = "rgb_array") -> Any:
        calls.append((vector, copy, mode))
        return np.zeros((4, 4, 3), np.uint8) if mode == "rgb_array" else None

    module = ModuleType("viz.render")
    module.render = render  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "viz.render", module)
    return calls


def test_rgb_array_is_drawn_when_asked_for(pictures: list[tuple[Any, int, str]]) -> None:
    for face in (
        environments.parallel_env("toy/dock", render_mode="rgb_array"),
        environments.env("toy/dock", render_mode="rgb_array"),
    ):
        face.reset()
        image = face.render()
        assert image.shape == (4, 4, 3)
        assert pictures.pop() == (face.vector, 0, "rgb_array") and not pictures


def test_human_is_drawn_at_every_step(pictures: list[tuple[Any, int, str]]) -> None:
    face = environments.parallel_env("toy/dock", render_mode="human")
    face.reset()
    for _ in range(3):
        face.step({agent: np.zeros(2, np.float32) for agent in face.agents})
    assert face.render() is None
    assert [mode for *_, mode in pictures] == ["human"] * 5


def test_render_without_a_mode_warns_and_draws_nothing(pictures: list[tuple[Any, int, str]]) -> None:
    face = environments.parallel_env("toy/dock")
    face.reset()
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert face.render() is None
    assert not pictures


def seconds_per_step(env: Any, steps: int) -> float:
    """Time of one step with everyone moving left, resets included."""
    actions = dict.fromkeys(env.possible_agents, 1)
    env.reset(seed=0)
    start = time.perf_counter()
    for _ in range(steps):
        if not env.agents:
            env.reset()
        env.step(actions)
    return (time.perf_counter() - start) / steps


def test_one_copy_is_seven_times_as_fast_as_mpe2() -> None:
    """The best of three alternating rounds each, so that other work on the machine does not decide."""
    ours, theirs = environments.parallel_env("particle/spread"), simple_spread_v3.parallel_env()
    seconds_per_step(ours, 10)
    rounds = [(seconds_per_step(ours, 2000), seconds_per_step(theirs, 400)) for _ in range(3)]
    fast, slow = (min(times) for times in zip(*rounds, strict=True))
    assert slow > 7 * fast, f"mpe2 takes {slow / fast:.1f} times as long"


def test_what_is_no_seed_is_refused() -> None:
    face = environments.parallel_env("toy/meet")
    for seed in (1.5, "1", np.float64(2.0)):
        with pytest.raises(TypeError):
            face.reset(seed=seed)  # type: ignore[arg-type]
    for number in (-1, 2**64):
        with pytest.raises(ValueError, match="seed must be between"):
            face.reset(seed=number)
    assert equal(face.reset(seed=np.int64(3))[0], face.reset(seed=3)[0])  # type: ignore[arg-type]


def test_turns_before_the_first_reset_are_refused() -> None:
    turns = environments.env("toy/meet")
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        turns.last()
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        turns.step(0)
