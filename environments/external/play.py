"""One copy of a PettingZoo environment, parallel or turn by turn, played in one way: who acts, who got what, who ended.

A step of the contract is one `step` of a ParallelEnv, or the step of one living agent of an AECEnv; the steps that an
AECEnv wants from agents whose life has ended are taken at once and are no steps of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from environments.external.views import Sight

PATIENCE = 1000
"""Steps of ended agents that an AECEnv may want one after the other, for each of its agents."""


class Seen(NamedTuple):
    """What one agent sees."""

    view: Any
    legal: Any
    """Legal actions as the environment shows them; None where it shows none."""


class Moment(NamedTuple):
    """An environment between two steps."""

    acting: dict[str, Seen]
    """Agents whose action counts at the coming step, with what they see."""
    last: dict[str, Seen]
    """Agents whose life ended in the step just made, with the last they saw; missing where it was not shown."""
    rewards: Mapping[str, Any]
    terminated: set[str]
    truncated: set[str]
    over: bool
    state: Any = None
    """The global state right after the step, where a life ended in it and the environment can still say."""


class Player(Protocol):
    """One copy that is played."""

    env: Any
    living: list[str]
    """Agents that are there and whose life has not ended."""

    def reset(self, seed: int) -> Moment:
        """Begin an episode."""
        ...

    def step(self, actions: dict[str, Any]) -> Moment:
        """Go on by one step; `actions` of all living agents and of nobody else: the environment may keep them."""
        ...


class ParallelPlayer:
    """Plays a ParallelEnv. Who acts: everybody alive, or as its property `acting` says, or who has a legal action."""

    def __init__(self, env: Any, sights: Mapping[str, Sight], stateful: bool = False) -> None:
        self.env = env
        self.living: list[str] = []
        self._sights = sights
        self._stateful = stateful
        self._gone: set[str] = set()
        self._says = False
        """The environment has a property that says who acts."""

    def reset(self, seed: int) -> Moment:
        """Begin an episode."""
        views, infos = self.env.reset(seed=seed)
        check_known(self._sights, views)
        self._gone = set()
        self._says = isinstance(getattr(self.env, "acting", None), list)
        self._live(self.env.agents)
        return Moment(self._acting(views, infos), {}, {}, set(), set(), False)

    def step(self, actions: dict[str, Any]) -> Moment:
        """Go on by one step."""
        before = self.living
        views, rewards, terminations, truncations, infos = self.env.step(actions)
        check_known(self._sights, views, rewards, terminations, truncations)
        if self.env.agents == before and not any(terminations.values()) and not any(truncations.values()):
            return Moment(self._acting(views, infos), {}, rewards, set(), set(), False)  # as nearly every step goes
        terminated = {agent for agent in before if terminations.get(agent, False)}
        truncated = {agent for agent in before if truncations.get(agent, False)}
        there = self.env.agents
        terminated |= {agent for agent in before if agent not in there and agent not in truncated}
        self._gone |= terminated | truncated
        self._live(there)
        last = {a: self._seen(a, views[a], infos) for a in before if a in self._gone and a in views}
        over = not self.living
        state = state_of(self.env) if self._stateful and last else None
        acting = {} if over else self._acting(views, infos)
        return Moment(acting, last, rewards, terminated, truncated, over, state)

    def _live(self, there: Iterable[str]) -> None:
        check_known(self._sights, there)
        self.living = [agent for agent in there if agent not in self._gone]

    def _acting(self, views: Mapping[str, Any], infos: Mapping[str, Any]) -> dict[str, Seen]:
        listed = self.env.acting if self._says else None
        acting = {}
        for agent in self.living:
            if agent not in views:
                raise ValueError(f"no observation of the living agent {agent!r}")
            view, legal = self._sights[agent].split(views[agent], infos.get(agent))
            seen = Seen(view, legal)
            if (legal is None or can_act(seen)) if listed is None else agent in listed:
                acting[agent] = seen
        return acting

    def _seen(self, agent: str, view: Any, infos: Mapping[str, Any]) -> Seen:
        return Seen(*self._sights[agent].split(view, infos.get(agent)))


class TurnPlayer:
    """Plays an AECEnv agent by agent: one acts, all others wait."""

    def __init__(self, env: Any, sights: Mapping[str, Sight], stateful: bool = False) -> None:
        self.env = env
        self.living: list[str] = []
        self._sights = sights
        self._stateful = stateful
        self._gone: set[str] = set()

    def reset(self, seed: int) -> Moment:
        """Begin an episode."""
        self.env.reset(seed=seed)
        self._gone = set()
        self.living = self._present()
        return Moment(self._acting(), {}, {}, set(), set(), False)

    def step(self, actions: dict[str, Any]) -> Moment:
        """The step of the agent whose turn it is; rewards, ends and last views are read before ended agents leave."""
        env, before = self.env, self.living
        env.step(actions[env.agent_selection])
        rewards = dict(env.rewards)
        check_known(self._sights, rewards, env.agents)
        there = set(env.agents)
        truncated = {agent for agent in before if env.truncations.get(agent, False)}
        terminated = {agent for agent in before if env.terminations.get(agent, agent not in there | truncated)}
        self._gone |= terminated | truncated
        last = {agent: self._seen(agent) for agent in before if agent in self._gone and agent in there}
        state = state_of(env) if self._stateful and last else None
        self.living = self._present()
        over = not self.living
        return Moment({} if over else self._acting(), last, rewards, terminated, truncated, over, state)

    def _present(self) -> list[str]:
        check_known(self._sights, self.env.agents)
        return [agent for agent in self.env.agents if agent not in self._gone]

    def _acting(self) -> dict[str, Seen]:
        env = self.env
        for _ in range(PATIENCE * len(self._sights)):
            agent = env.agent_selection
            if not (env.terminations[agent] or env.truncations[agent]):
                break
            env.step(None)
        else:
            raise ValueError(f"agents have ended and none leaves: it is still the turn of {env.agent_selection!r}")
        self.living = self._present()
        return {agent: self._seen(agent)}

    def _seen(self, agent: str) -> Seen:
        return Seen(*self._sights[agent].split(self.env.observe(agent), self.env.infos.get(agent)))


def state_of(env: Any) -> Any:
    """The global state of a world in which somebody's life has just ended; None where it is gone with it."""
    try:
        return env.state()
    except Exception:  # multiwalker's walkers have no bodies any more: the state before the step is the last there is
        return None


def can_act(seen: Seen) -> bool:
    """False where legal actions are shown and there is none."""
    if seen.legal is None:
        return True
    parts = seen.legal if isinstance(seen.legal, tuple) else (seen.legal,)
    return any(bool(np.any(part)) for part in parts)


def check_known(known: Mapping[str, Any], *named: Any) -> None:
    """ValueError on an agent that the environment has not listed in `possible_agents`."""
    for names in named:
        for agent in names:
            if agent not in known:
                raise ValueError(f"unknown agent {agent!r}: it is not in possible_agents")
