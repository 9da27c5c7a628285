"""Environments whose agents take turns in a cycle, stepped all at once without what nobody asks for.

PettingZoo's own conversion looks at every agent's observation before its turn, and goes through wrappers that
check how an environment is used: that takes as long again as many an environment itself. Nobody reads the former, and a
player errs in none of the ways that the latter look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pettingzoo.utils.conversions import aec_to_parallel_wrapper
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

CHECKS = (OrderEnforcingWrapper, AssertOutOfBoundsWrapper)
"""Wrappers that change nothing, and only look at how an environment is used."""


class Cycle(aec_to_parallel_wrapper):  # type: ignore[misc]  # PettingZoo is untyped
    """A parallelizable AECEnv as a ParallelEnv."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        while type(env) in CHECKS:
            env = env.env
        self.aec_env: Any = env

    def step(self, actions: Mapping[str, Any]) -> tuple[Any, ...]:
        """Everybody's turn, one after the other. AssertionError where turns are in no cycle."""
        env, rewards = self.aec_env, dict.fromkeys(self.aec_env.agents, 0)
        for agent in list(env.agents):
            if agent != env.agent_selection:
                raise AssertionError(f"it is the turn of {env.agent_selection!r}, where {agent!r} is next in the cycle")
            env.step(actions[agent])
            paid = env.rewards
            for other in env.agents:
                rewards[other] = rewards.get(other, 0) + paid[other]
        ended = dict(env.terminations), dict(env.truncations), dict(env.infos)
        views = {agent: env.observe(agent) for agent in env.agents}
        while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
            env.step(None)
        self.agents = env.agents
        return views, rewards, *ended


def quick(env: Any) -> Any:
    """PettingZoo's conversion made anew; anything else as it is."""
    return Cycle(env.aec_env) if type(env) is aec_to_parallel_wrapper else env
