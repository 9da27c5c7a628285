"""Gymnasium environments as ParallelEnvs: a tuple of spaces is one agent for each part, a single space is one agent.

All agents live as long as the episode. Works with lbforaging and rware, whose spaces are tuples.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from pettingzoo import ParallelEnv

from environments.errors import UsageError, nearest

REGISTER = ("lbforaging", "rware")
"""Packages that register such environments when they are imported."""


class GymnasiumAgents(ParallelEnv[str, Any, Any]):  # type: ignore[misc]  # PettingZoo is untyped
    """One Gymnasium environment, played by several agents or by one."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.metadata = {"name": env.spec.id if env.spec else type(env).__name__, **(env.metadata or {})}
        self.render_mode = env.render_mode
        several = isinstance(env.action_space, spaces.Tuple)
        self._several = several
        seen = list(env.observation_space) if several else [env.observation_space]
        done = list(env.action_space) if several else [env.action_space]
        self.possible_agents = [f"agent_{n}" for n in range(len(done))]
        self.agents: list[str] = []
        self.observation_spaces = dict(zip(self.possible_agents, seen, strict=True))
        self.action_spaces = dict(zip(self.possible_agents, done, strict=True))

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's part of the observations' space."""
        space: spaces.Space[Any] = self.observation_spaces[agent]
        return space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's part of the actions' space."""
        space: spaces.Space[Any] = self.action_spaces[agent]
        return space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin an episode."""
        views, _ = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._split(views), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[Any, ...]:
        """All agents act at once."""
        listed = [actions[agent] for agent in self.possible_agents]
        views, rewards, terminated, truncated, _ = self.env.step(tuple(listed) if self._several else listed[0])
        agents = self.possible_agents
        paid = list(rewards) if self._several else [rewards]
        ended, cut = bool(terminated), bool(truncated)
        self.agents = [] if ended or cut else list(agents)
        return (
            self._split(views),
            dict(zip(agents, map(float, paid), strict=True)),
            dict.fromkeys(agents, ended),
            dict.fromkeys(agents, cut),
            {agent: {} for agent in agents},
        )

    def render(self) -> Any:
        """What the environment draws."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _split(self, views: Any) -> dict[str, Any]:
        return dict(zip(self.possible_agents, views if self._several else [views], strict=True))


def gymnasium_maker(name: str) -> Callable[..., Any]:
    """Makes a registered environment with its agents apart. UsageError on an unknown name."""
    for package in REGISTER:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    try:
        gymnasium.spec(name)
    except Exception as error:
        raise UsageError(f"unknown Gymnasium environment {name!r}{nearest(name, gymnasium.registry)[:300]}") from error

    return Registered(name)


@dataclass(frozen=True)
class Registered:
    """Makes a registered environment."""

    name: str

    def __call__(self, **options: Any) -> GymnasiumAgents:
        """The environment with its agents apart."""
        return GymnasiumAgents(gymnasium.make(self.name, disable_env_checker=True, **options))

    def behind(self) -> tuple[Any, Mapping[str, Any]]:
        """What makes it, and the options that its name sets."""
        spec = gymnasium.spec(self.name)
        entry: Any = spec.entry_point
        return load_env_creator(entry) if isinstance(entry, str) else entry, spec.kwargs
