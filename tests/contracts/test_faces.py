"""The PettingZoo faces of every environment: PettingZoo's own tests, stricter ones, and the batch bit for bit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test, state_test

import environments
from environments.facade import AECFacade, ParallelFacade
from environments.vector import Array, StepBuffers
from tests.contracts import play
from tests.contracts.cases import CASES, Case
from tests.contracts.strict import strict_aec_test, strict_parallel_test

every_case = pytest.mark.parametrize("case", CASES, ids=str)

EXPECTED = (  # what PettingZoo says of any masked, unbounded or uneven environment
    "Observation space for each agent probably should be",
    "Action space for each agent probably should be",
    "Observation is not a NumPy array",
    "Observation numpy array is all zeros",  # off turn
    "Action mask numpy array is all zeros",  # off turn
    "Observations are different shapes",
    "Observation is a single number",
    "State is a single number",  # matrix games: there is nothing to see
    "State numpy array is all zeros",
    "Agents have different observation space sizes",
    "Agent's minimum observation space value is -infinity",
    "Agent's maximum observation space value is infinity",
    "Environment's minimum state space value is -infinity",
    "Environment's maximum state space value is infinity",
    "No agents present but not all possible_agents are terminated",  # some were absent in this episode
    "We recommend agents to be named in the format",
    "The class of observation spaces is different between two agents",
)


@pytest.fixture
def no_new_warnings() -> Iterator[None]:
    """PettingZoo reports wrong keys and the like as warnings: anything but the expected ones is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in EXPECTED:
            warnings.filterwarnings("ignore", message=text)
        yield


@every_case
@pytest.mark.usefixtures("no_new_warnings")
def test_pettingzoo_accepts_both_faces(case: Case) -> None:
    parallel_api_test(case.parallel(), 100)
    api_test(case.aec(), 100)
    parallel_seed_test(case.parallel, 100)
    seed_test(case.aec, 100)
    state_test(case.aec(), case.parallel(), 30)


LIMITED = [case for case in CASES if hasattr(environments.game(case.name).options, "max_cycles")]
LIMITED = [case for case in LIMITED if case.name not in ("toy/siege", "toy/meet")]  # they may well end before


@pytest.mark.parametrize("case", LIMITED, ids=str)
def test_max_cycles(case: Case) -> None:
    max_cycles_test(SimpleNamespace(parallel_env=case.parallel, env=case.aec))


@every_case
def test_strict_parallel(case: Case) -> None:
    strict_parallel_test(case.parallel, chance=case.starts != 1)


@every_case
def test_strict_aec(case: Case) -> None:
    strict_aec_test(case.aec)


@every_case
def test_faces_equal_the_batch(case: Case) -> None:
    """Copy 1 of a batch, the parallel face and the AEC face live the same life, bit for bit."""
    env, face, turns = case.make(num_envs=3, seed=21), case.parallel(), case.aec()
    rng = np.random.default_rng(21)
    open_episode = False
    for t in range(1000):
        if not open_episode:
            seed = int(env.episode_seed[1])
            shown, _ = face.reset(seed=seed)
            turns.reset(seed=seed)
            owed = dict.fromkeys(face.agents, 0.0)
            wanted = expected(face, env.buffers, None)
            assert_views(shown, wanted, t)
            assert_views({agent: turns.observe(agent) for agent in turns.agents}, wanted, t)
            assert face.agents == turns.agents
        actions = play.random_actions(env, rng)
        before = [group.acting[1].copy() for group in env.buffers.groups]
        buffers = env.step(actions)
        given = {agent: act_of(face, actions, agent) for agent in living_rows(face, before)}
        step = face.step(given)
        take_turns(turns, given, owed)
        over = bool(buffers.episode_over[1])
        wanted = expected(face, buffers, list(step[0]))
        assert_views(step[0], wanted, t)
        assert_views({agent: turns.observe(agent) for agent in turns.agents}, wanted, t)
        for name, ours, theirs in zip(
            ("reward", "terminated", "truncated"),
            step[1:4],
            (turns.rewards, turns.terminations, turns.truncations),
            strict=True,
        ):
            batch = {agent: getattr(buffers.groups[g], name)[1, n].item() for agent, (g, n) in places(face).items()}
            assert ours == theirs == {agent: batch[agent] for agent in ours}, f"{name} at step {t}"
        state = (buffers.final_state if over else buffers.state)[1]
        if state.size:
            assert play.same_bits(face.state(), state) and play.same_bits(turns.state(), state), f"state at step {t}"
        collect(turns, owed, step[1])
        assert face.agents == turns.agents
        assert over == (not face.agents), f"the end at step {t}"
        open_episode = not over


def places(face: ParallelFacade) -> dict[str, tuple[int, int]]:
    """Group and row of every agent."""
    return {agent: (g, n) for g, group in enumerate(face.vector.spec.groups) for n, agent in enumerate(group.agents)}


def living_rows(face: ParallelFacade, acting: list[Array]) -> list[str]:
    """The agents that act, in the order of `possible_agents`."""
    return [agent for agent, (g, n) in places(face).items() if acting[g][n]]


def act_of(face: ParallelFacade, actions: dict[str, Array], agent: str) -> Any:
    """An agent's action as its space wants it."""
    g, n = places(face)[agent]
    group = face.vector.spec.groups[g]
    action = actions[group.name][1, n]
    return int(action) if action.ndim == 0 else action.reshape(group.action_space.shape)


def expected(face: ParallelFacade, buffers: StepBuffers, agents: list[str] | None) -> dict[str, Any]:
    """What the faces must show of copy 1: the last view of who has just ended; zeros and no legal action off turn."""
    views: dict[str, Any] = {}
    for agent, (g, n) in places(face).items():
        group, spec = buffers.groups[g], face.vector.spec.groups[g]
        ended = agents is not None and bool(group.terminated[1, n] | group.truncated[1, n])
        obs = (group.final_obs if ended else group.obs)[1, n]
        mask = group.final_mask[1, n] if ended else group.action_mask[1, n] & group.acting[1, n]
        views[agent] = (obs, mask.astype(np.int8)) if spec.masked else (obs, None)
    return views if agents is None else {agent: views[agent] for agent in agents}


def assert_views(shown: dict[str, Any], wanted: dict[str, Any], t: int) -> None:
    """AssertionError unless every agent shown sees, bit for bit, what it must."""
    for agent, view in shown.items():
        obs, mask = wanted[agent]
        if mask is None:
            assert play.same_bits(view, obs), f"{agent} at step {t}"
        else:
            assert play.same_bits(view["observation"], obs), f"{agent} at step {t}"
            legal = view["action_mask"]
            legal = np.concatenate(legal) if isinstance(legal, tuple) else legal
            assert play.same_bits(legal, mask), f"legal actions of {agent} at step {t}"


def take_turns(env: AECFacade, given: dict[str, Any], owed: dict[str, float]) -> None:
    """Everyone who acts gives its action in turn, and is told first what it was paid since its last one."""
    for agent, action in given.items():
        assert env.agent_selection == agent
        assert env.last()[1] == owed[agent]
        owed[agent] = 0.0
        env.step(action)


def collect(env: AECFacade, owed: dict[str, float], rewards: dict[str, float]) -> None:
    """Add up what each agent was paid, and let those whose life has ended leave."""
    for agent, reward in rewards.items():
        owed[agent] += reward
    while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
        assert env.last()[1] == owed.pop(env.agent_selection)
        env.step(None)


@pytest.mark.parametrize("name", environments.names())
def test_registered_with_pettingzoo(name: str) -> None:
    limit = {"max_cycles": 3} if hasattr(environments.game(name).options, "max_cycles") else {}
    parallel = pettingzoo.make("parallel", name, **limit)
    assert isinstance(parallel, ParallelFacade) and parallel.vector.spec.name == name
    assert not limit or parallel.vector.spec.max_steps == 3
    assert isinstance(pettingzoo.make("aec", name, **limit), AECFacade)
