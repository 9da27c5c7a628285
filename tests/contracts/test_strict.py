"""The strict tests themselves: each refuses an environment that was broken on purpose, by the name of its check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo.test import parallel_api_test, parallel_seed_test

import environments
from environments.facade import AECFacade, ParallelFacade
from tests.contracts.strict import strict_aec_test, strict_parallel_test


def face(kind: type, name: str) -> Any:
    """A face of our own class, over a toy."""
    made = environments.env(name) if issubclass(kind, AECFacade) else environments.parallel_env(name)
    return kind(made.vector)


class UnseededLater(ParallelFacade):
    """Draws from a generator of its own from the second step on."""

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        if self.vector.episode_step[0] > 1:
            for view in step[0].values():
                view += np.random.default_rng().normal(0, 1e-3, view.shape).astype(np.float32)
        return step


class Float64(ParallelFacade):
    """Hands out float64 observations."""

    def step(self, actions: Any) -> Any:
        views, *rest = super().step(actions)
        return {agent: view.astype(np.float64) for agent, view in views.items()}, *rest


class OutOfBounds(ParallelFacade):
    """Promises less than it shows."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        space = spaces.Box(-1.5, 1.5, (4,), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, space)

    def step(self, actions: Any) -> Any:
        views, *rest = super().step(actions)
        return {agent: 100 * view for agent, view in views.items()}, *rest


class NanReward(ParallelFacade):
    """Pays NaN once in a while."""

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        if self.vector.episode_step[0] == 7:
            step[1][self.possible_agents[0]] = float("nan")
        return step


class ForgetsAReward(ParallelFacade):
    """Has no reward for the last agent."""

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        del step[1][self.possible_agents[-1]]
        return step


class Views(ParallelFacade):
    """Hands out views of the environment's buffers."""

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        if self.agents:
            step[0].update({agent: self.places[agent][0].obs[self.places[agent][1]] for agent in step[0]})
        return step


class LosesAnAgent(ParallelFacade):
    """The second episode has fewer agents than the first, whatever the seed."""

    first = True

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        shown = super().reset(seed, options)
        self.lost, self.first = (None if self.first else self.agents[-1]), False
        self._lose(shown)
        return shown

    def step(self, actions: Any) -> Any:
        if self.lost:
            self.agents = [*self.agents, self.lost]
            actions = {**actions, self.lost: np.zeros(2, np.float32)}
        step = super().step(actions)
        self._lose(step)
        return step

    def _lose(self, parts: Any) -> None:
        self.agents = [agent for agent in self.agents if agent != self.lost]
        for part in parts:
            part.pop(self.lost, None)


class FlagsAfterDeath(ParallelFacade):
    """Goes on to report flags of the dead."""

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        for agent in self.possible_agents:
            step[2].setdefault(agent, True)
        return step


class Revives(ParallelFacade):
    """Someone who ended is back at once."""

    def step(self, actions: Any) -> Any:
        living = self.agents
        step = super().step(actions)
        if self.agents and len(self.agents) < len(living):
            self.agents = living
        return step


class NumpyFlags(ParallelFacade):
    """Flags are numpy's booleans."""

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        step[3].update({agent: np.bool_(flag) for agent, flag in step[3].items()})
        return step


class NewSpaces(ParallelFacade):
    """Every call makes a new space."""

    def action_space(self, agent: str) -> Any:
        return spaces.Box(np.array([-1, 0], np.float32), np.array([2, 1], np.float32))


class SeedsOnce(ParallelFacade):
    """Listens to the first seed only."""

    seeded = False

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        seed, self.seeded = (None if self.seeded else seed), True
        return super().reset(seed, options)


class IgnoresSeeds(ParallelFacade):
    """Plays one episode for ever."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(0, options)


class NeverCloses(ParallelFacade):
    """Goes on after the end."""

    def step(self, actions: Any) -> Any:
        return super().step(actions) if self.agents else ({}, {}, {}, {}, {})


PARALLEL = [
    (UnseededLater, "toy/dock", "determinism"),
    (Float64, "toy/dock", "dtype"),
    (OutOfBounds, "toy/dock", "contains"),
    (NanReward, "toy/dock", "finite reward"),
    (ForgetsAReward, "toy/dock", "keys"),
    (Views, "toy/dock", "shared memory"),
    (LosesAnAgent, "toy/dock", "seed restarts"),
    (FlagsAfterDeath, "toy/siege", "keys"),
    (Revives, "toy/siege", "revival"),
    (NumpyFlags, "toy/dock", "flag type"),
    (NewSpaces, "toy/dock", "same space"),
    (SeedsOnce, "toy/dock", "seed restarts"),
    (IgnoresSeeds, "toy/dock", "seeds differ"),
    (NeverCloses, "toy/dock", "closed"),
]


@pytest.mark.parametrize(("kind", "name", "check"), PARALLEL, ids=lambda part: getattr(part, "__name__", ""))
def test_a_broken_parallel_env_is_refused(kind: type, name: str, check: str) -> None:
    with pytest.raises(AssertionError, match=f"^{check}: "):
        strict_parallel_test(lambda: face(kind, name))


@pytest.mark.parametrize("kind", [UnseededLater, Float64, OutOfBounds, NanReward, Views, LosesAnAgent])
def test_pettingzoo_would_have_let_them_pass(kind: type) -> None:
    parallel_api_test(face(kind, "toy/dock"), 50)
    parallel_seed_test(lambda: face(kind, "toy/dock"), 50)


class LastRewardOnly(AECFacade):
    """Tells an agent the reward of the last step instead of all since its own last action."""

    def step(self, action: Any) -> None:
        super().step(action)
        self._cumulative_rewards = dict(self.rewards)


class SharedViews(AECFacade):
    """Hands out its own arrays."""

    def observe(self, agent: str) -> Any:
        return self._observations[agent]


class UnseededTurns(AECFacade):
    """Whispers noise into what agents see later on."""

    def observe(self, agent: str) -> Any:
        view = super().observe(agent)
        return view if self.vector.episode_step[0] < 2 else view + np.float32(np.random.default_rng().normal())


class KeepsTheDead(AECFacade):
    """Does not remove the rewards of who has left."""

    def step(self, action: Any) -> None:
        before = dict(self.rewards)
        super().step(action)
        if len(self.agents) < len(before):
            self.rewards = before


AEC = [
    (LastRewardOnly, "toy/siege", "cumulative reward"),
    (SharedViews, "toy/dock", "shared memory"),
    (UnseededTurns, "toy/dock", "determinism"),
    (KeepsTheDead, "toy/siege", "keys"),
]


@pytest.mark.parametrize(("kind", "name", "check"), AEC, ids=lambda part: getattr(part, "__name__", ""))
def test_a_broken_aec_env_is_refused(kind: type, name: str, check: str) -> None:
    with pytest.raises(AssertionError, match=f"^{check}: "):
        strict_aec_test(lambda: face(kind, name))
