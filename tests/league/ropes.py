"""Somebody else's environment with two teams of two: everybody pulls or lets go, and the longer pull wins."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ROPE, KNOT = f"{__name__}:Rope", f"{__name__}:Knot"


class Rope(ParallelEnv):
    """Two teams pull for `length` steps; a team that pulls harder in a step wins a point from the other."""

    metadata: ClassVar = {"name": "rope"}

    def __init__(self, length: int = 4) -> None:
        self.length = length
        self.possible_agents = ["red_0", "red_1", "blue_0", "blue_1"]
        self.seen = {agent: spaces.Box(-9, 9, (3,), np.float32) for agent in self.possible_agents}
        self.done = {agent: spaces.Discrete(2) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Any:
        return self.seen[agent]

    def action_space(self, agent: str) -> Any:
        return self.done[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng, self.now, self.agents = np.random.default_rng(seed), 0, list(self.possible_agents)
        return self._views(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        self.now += 1
        pull = {side: sum(int(actions[f"{side}_{k}"]) for k in range(2)) for side in ("red", "blue")}
        ahead = float(np.sign(pull["red"] - pull["blue"]))
        rewards = {agent: ahead if agent.startswith("red") else -ahead for agent in self.agents}
        cut = dict.fromkeys(self.agents, self.now == self.length)
        views = self._views()
        told = {agent: {} for agent in self.agents}
        ended = dict.fromkeys(self.agents, False)
        self.agents = [] if self.now == self.length else self.agents
        return views, rewards, ended, cut, told

    def _views(self) -> dict[str, Any]:
        chance = self.rng.random()
        return {a: np.array([self.now, k, chance], np.float32) for k, a in enumerate(self.possible_agents)}


class Knot(Rope):
    """A rope that does not listen to its seed, so that it cannot be saved in the middle of an episode."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(time.perf_counter_ns())
