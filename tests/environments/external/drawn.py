"""A tiny environment of somebody else's that draws itself: two agents count down, in a colour that tells the step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Drawn(ParallelEnv):  # type: ignore[misc]
    """`trouble`: "blind" has no such render mode, "late" fails to draw from step 5 on, "grows" draws larger, "slow"
    takes 10 ms, "dark" shows agents nothing without a render mode. `sees`: side of the images that the agents see, 0
    for three numbers."""

    def __init__(
        self, length: int = 100, trouble: str = "", size: int = 40, sees: int = 0, render_mode: str | None = None
    ) -> None:
        self.metadata = {"render_modes": [] if trouble == "blind" else ["human", "rgb_array"], "render_fps": 20}
        self.possible_agents = ["agent_0", "agent_1"]
        self.render_mode = render_mode
        self.length, self.trouble, self.size, self.sees = length, trouble, size, sees
        self.episodes = -1

    def observation_space(self, agent: str) -> spaces.Box:
        if self.sees:
            return spaces.Box(0, 255, (self.sees, self.sees + 8, 3), np.uint8)
        return spaces.Box(-1, 1, (3,), np.float32)

    def action_space(self, agent: str) -> spaces.Discrete:
        return spaces.Discrete(5)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.step_number = 0
        self.episodes += 1
        return self._views(), {agent: {} for agent in self.agents}

    def step(self, actions: Any) -> Any:
        self.step_number += 1
        over = self.step_number == self.length
        paid = {agent: float(actions[agent]) for agent in self.agents}
        told = self._views(), paid, dict.fromkeys(self.agents, over), dict.fromkeys(self.agents, False)
        infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.agents = [] if over else self.agents
        return (*told, infos)

    def _views(self) -> dict[str, Any]:
        if self.trouble == "dark" and self.render_mode is None:
            return {agent: np.zeros((self.sees, self.sees + 8, 3), np.uint8) for agent in self.possible_agents}
        if self.sees:
            return {agent: picture(self.step_number + n, self.sees) for n, agent in enumerate(self.possible_agents)}
        return {agent: self.rng.uniform(-1, 1, 3).astype(np.float32) for agent in self.possible_agents}

    def render(self) -> Any:
        if self.render_mode != "rgb_array":
            return None
        if self.trouble == "late" and self.step_number >= 5:
            raise OSError("the lamp is broken")
        time.sleep(0.01 if self.trouble == "slow" else 0)
        return picture(self.step_number, self.size + (self.trouble == "grows" and self.step_number >= 5))


def picture(step: int, size: int = 40) -> Any:
    """What is to be seen after so many steps: noise that stands still, and a square that moves."""
    pixels = np.random.default_rng(7).integers(0, 255, (size, size + 8, 3), np.uint8)
    pixels[step % size, step % size :] = (step % 256, 255 - step % 256, step // 256)
    return pixels
