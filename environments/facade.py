"""PettingZoo faces over one copy of a native environment: `ParallelFacade` and `AECFacade`.

Written once for all games. What a face shows is what the batch shows, bit for bit, with PettingZoo's conventions:

* `reset(seed=s)` begins exactly the episode whose *episode seed* is `s` (`vector.episode_seed` of any batch);
  `reset()` moves on to the next episode. The first `reset()` begins episode 0 of seed 0.
* `agents` shrinks when agents die; a reward paid after death has no key in PettingZoo and is not delivered
  (`vector.buffers` has it).
* An agent that is alive but does not act at the coming step (off turn) sees zeros, and its action is ignored.
* Where legal actions exist, the observation is `{"observation": ..., "action_mask": ...}` with int8 masks, all zero
  for agents off turn; a MultiDiscrete action has a tuple of masks, as its `sample` wants them.
* Arrays handed out are never views of the environment's buffers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np
from gymnasium import logger, spaces
from pettingzoo import AECEnv, ParallelEnv

from environments import rng
from environments.errors import UsageError
from environments.native import NativeEnv
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array, SimState, action_shape

Step = tuple[
    dict[str, Any],
    dict[str, float],
    dict[str, bool],
    dict[str, bool],
    dict[str, dict[str, Any]],
]
RENDERER = "viz.render:render"  # found by name at the first `render`: the one line where this floor looks up


class _Group:
    """One group's spaces and row 0 of its arrays, as the faces need them."""

    def __init__(self, group: AgentGroup, vector: NativeEnv, actions: Array) -> None:
        buffers = vector.buffers.groups[[g.name for g in vector.spec.groups].index(group.name)]
        self.agents = group.agents
        self.action_space = group.action_space
        self.observation_space = face_space(group)
        self.masked = group.masked
        self.cuts = _mask_cuts(group)
        self.actions = actions[0]
        self.obs, self.final_obs = buffers.obs[0], buffers.final_obs[0]
        self.mask, self.final_mask = buffers.action_mask[0], buffers.final_mask[0]
        self.acting = buffers.acting[0]
        self.reward = buffers.reward[0]
        self.terminated, self.truncated = buffers.terminated[0], buffers.truncated[0]
        space = group.action_space
        self.count = int(space.n) if isinstance(space, spaces.Discrete) else 0
        if isinstance(space, spaces.Box):
            self.kinds, self.low, self.high = "fiu", space.low, space.high
        elif isinstance(space, spaces.MultiDiscrete):
            self.kinds, self.low, self.high = "iu", np.zeros_like(space.nvec), space.nvec - 1

    def views(self, some_ended: bool) -> list[Any]:
        """What every agent of the group sees: its last view where its life has just ended. Fresh arrays."""
        obs = self.obs.copy()
        shown = (self.mask & self.acting[:, None]).view(np.int8) if self.masked else self.mask
        if some_ended:
            ended = self.terminated | self.truncated
            obs[ended] = self.final_obs[ended]
            if self.masked:
                shown[ended] = self.final_mask[ended]
        if not self.masked:
            return list(obs)
        masks = [tuple(np.split(row, self.cuts)) if self.cuts else row for row in shown]
        return [{"observation": o, "action_mask": m} for o, m in zip(obs, masks, strict=True)]

    def check(self, agent: str, action: Any) -> Any:
        """The action, where the space contains it. ValueError otherwise."""
        if self.count:
            try:
                number = index(action)
            except TypeError:
                number = -1
            if 0 <= number < self.count:
                return number
        else:
            given = np.asarray(action)
            fits = given.shape == self.action_space.shape and given.dtype.kind in self.kinds
            if fits and ((given >= self.low) & (given <= self.high)).all():
                return given.reshape(-1)
        raise ValueError(f"action {action!r} of {agent!r} is outside {self.action_space}")


def face_space(group: AgentGroup) -> spaces.Space[Any]:
    """The observation space that the faces show: a Dict with the legal actions where the group has masks."""
    if not group.masked:
        return group.observation_space
    if isinstance(group.action_space, spaces.MultiDiscrete):
        parts = [spaces.Box(0, 1, (int(n),), np.int8) for n in group.action_space.nvec]
        return spaces.Dict({"observation": group.observation_space, "action_mask": spaces.Tuple(parts)})
    mask = spaces.Box(0, 1, (group.mask_size,), np.int8)
    return spaces.Dict({"observation": group.observation_space, "action_mask": mask})


def _mask_cuts(group: AgentGroup) -> list[int]:
    if group.masked and isinstance(group.action_space, spaces.MultiDiscrete):
        return [int(n) for n in np.cumsum(group.action_space.nvec)[:-1]]
    return []


def _metadata(spec: EnvSpec, parallelizable: bool) -> dict[str, Any]:
    return {
        "name": f"{spec.name}_v{spec.version}",
        "render_modes": ["human", "rgb_array"],
        "render_fps": max(1, round(1 / spec.step_seconds)),
        "is_parallelizable": parallelizable,
    }


class ParallelFacade(ParallelEnv[str, Any, Any]):  # type: ignore[misc]  # PettingZoo is untyped
    """One copy of a native environment as a PettingZoo ParallelEnv; see the module's page for the conventions."""

    def __init__(self, vector: NativeEnv, render_mode: str | None = None) -> None:
        """`vector`: one copy made with `hold=True`. UsageError on an unknown render mode."""
        if vector.num_envs != 1 or not vector.limits["hold"][0]:
            raise ValueError("a face needs one copy made with hold=True")
        spec = vector.spec
        self.vector = vector
        self.metadata = _metadata(spec, parallelizable=True)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"render_mode must be None, 'human' or 'rgb_array', not {render_mode!r}")
        self.render_mode = render_mode
        self.possible_agents = list(spec.agents)
        self.agents: list[str] = []
        self._actions: dict[str, Array] = {g.name: np.zeros(*action_shape(g, 1)) for g in spec.groups}
        self._groups = [_Group(group, vector, self._actions[group.name]) for group in spec.groups]
        self.places = {agent: (group, n) for group in self._groups for n, agent in enumerate(group.agents)}
        self.observation_spaces = {agent: group.observation_space for agent, (group, _) in self.places.items()}
        self.action_spaces = {agent: group.action_space for agent, (group, _) in self.places.items()}
        if spec.state_size:
            self.state_space = spaces.Box(-np.inf, np.inf, (spec.state_size,), np.float32)
        self._untouched = True  # the vector's first episode is open and has not been shown yet
        self._acting: list[str] = []

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space, the same object at every call."""
        return self.action_spaces[agent]

    @property
    def acting(self) -> list[str]:
        """The agents whose action counts at the coming step."""
        return list(self._acting)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin the episode with that episode seed, or the next one; `options` are ignored, as PettingZoo allows.

        ValueError on a negative seed or one of more than 64 bits, TypeError on one that is not a whole number.
        """
        if seed is not None:
            if not 0 <= index(seed) < 2**64:
                raise ValueError(f"seed must be between 0 and 2**64 - 1, not {seed}")
            self.vector.reset(keys=[rng.key_of(index(seed))])
        elif not self._untouched:
            self.vector.reset()
        self._untouched = False
        self.agents = [
            agent for agent, alive in zip(self.possible_agents, self.vector.clocks["alive"][0], strict=True) if alive
        ]
        self._note_acting()
        if self.render_mode == "human":
            self.render()
        return self._observations(self.agents, some_ended=False), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> Step:
        """Advance by one step; needs an action from every acting agent.

        After the end an empty step returns empty dicts, as PettingZoo's own converters do. RuntimeError where no
        episode is open, KeyError on a missing agent or one that is not in `agents`, ValueError on an action outside its
        space.
        """
        if not (self.agents or actions or self._untouched):
            return {}, {}, {}, {}, {}
        self._take(actions)
        self.vector.step(self._actions)
        terminated: list[bool] = []
        truncated: list[bool] = []
        rewards: list[float] = []
        for group in self._groups:
            terminated += group.terminated.tolist()
            truncated += group.truncated.tolist()
            rewards += group.reward.tolist()
        living = self.agents
        names = self.possible_agents
        some_ended = True in terminated or True in truncated
        obs = self._observations(living, some_ended)
        reward = dict(zip(names, rewards, strict=True))
        end = dict(zip(names, terminated, strict=True))
        cut = dict(zip(names, truncated, strict=True))
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in living}
        if len(living) < len(names):  # the dead and the absent have no keys
            reward = {agent: reward[agent] for agent in living}
            end = {agent: end[agent] for agent in living}
            cut = {agent: cut[agent] for agent in living}
        if some_ended:
            self.agents = [agent for agent in living if not (end[agent] or cut[agent])]
        self._note_acting()
        if self.render_mode == "human":
            self.render()
        return obs, reward, end, cut, infos

    def state(self) -> Array:
        """The global state `[S]`, for critics. NotImplementedError where the environment has none."""
        if not self.vector.spec.state_size:
            raise NotImplementedError(f"{self.vector.spec.name} has no global state")
        state: Array = self.vector.buffers.state[0].copy()
        return state

    def render(self) -> Array | None:
        """An image `[height, width, 3]` uint8 in mode "rgb_array"; None in mode "human", which opens a window."""
        return _render(self.vector, self.render_mode)

    def close(self) -> None:
        """Release what the environment holds, and close its window if one is open."""
        renderer = sys.modules.get(RENDERER.partition(":")[0])
        if self.render_mode == "human" and renderer is not None:  # imported by `render`: there may be a window
            renderer.close()
        self.vector.close()

    def restore(self, state: SimState, agents: list[str], untouched: bool = False) -> None:
        """Continue from a captured state of the vector with those living agents."""
        self.vector.restore(0, state)
        self.agents = list(agents)
        self._untouched = untouched
        self._note_acting()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by name, options and simulation state; games of the registry only."""
        spec = self.vector.spec
        parts = (spec.name, dict(spec.options), self.render_mode, self.vector.capture(0), self.agents, self._untouched)
        return _copy_parallel, (type(self), *parts)

    def _take(self, actions: Mapping[str, Any]) -> None:
        if not self.agents:
            raise RuntimeError(f"{self.vector.spec.name}: no episode is open; call reset() first")
        try:
            for agent in self._acting:
                group, n = self.places[agent]
                group.actions[n] = group.check(agent, actions[agent])
        except KeyError as missing:
            raise KeyError(f"no action for agent {missing}; wanted from {self._acting}") from None
        if len(actions) > len(self._acting):
            strangers = [agent for agent in actions if agent not in self.agents]
            if strangers:
                raise KeyError(f"actions for {strangers}, but the living agents are {self.agents}")

    def _observations(self, living: list[str], some_ended: bool) -> dict[str, Any]:
        views: list[Any] = []
        for group in self._groups:
            views += group.views(some_ended)
        if len(living) == len(views):
            return dict(zip(self.possible_agents, views, strict=True))
        shown = dict(zip(self.possible_agents, views, strict=True))
        return {agent: shown[agent] for agent in living}

    def _note_acting(self) -> None:
        if not self.agents:
            self._acting = []
            return
        acting: list[bool] = []
        for group in self._groups:
            acting += group.acting.tolist()
        if False in acting:
            self._acting = [agent for agent, acts in zip(self.possible_agents, acting, strict=True) if acts]
        else:
            self._acting = self.possible_agents


class AECFacade(AECEnv[str, Any, Any]):  # type: ignore[misc]  # PettingZoo is untyped
    """One copy of a native environment as a PettingZoo AECEnv.

    Agents that act at the same step take turns giving their actions, in the order of `possible_agents`; the world
    moves with the last of them. In a turn-based game that is one agent at a time.
    """

    def __init__(self, vector: NativeEnv, render_mode: str | None = None) -> None:
        """`vector`: one copy made with `hold=True`. UsageError on an unknown render mode."""
        self.face = ParallelFacade(vector, render_mode)
        self.vector = vector
        self.metadata = _metadata(vector.spec, parallelizable=not vector.spec.turn_based)
        self.render_mode = render_mode
        self.possible_agents = self.face.possible_agents
        self.agents: list[str] = []
        self.agent_selection = ""
        self._observations: dict[str, Any] = {}
        self.observation_spaces = self.face.observation_spaces
        self.action_spaces = self.face.action_spaces
        if vector.spec.state_size:
            self.state_space = self.face.state_space

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space, the same object at every call."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin the episode with that episode seed, or the next one. ValueError on a bad seed."""
        self._observations, self.infos = self.face.reset(seed, options)
        self.agents = list(self.face.agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._skip_agent_selection = None
        self._begin_turns()

    def step(self, action: Any) -> None:
        """Give the action of `agent_selection`; None for one whose life has ended.

        RuntimeError where no episode is open, ValueError on an action outside the space.
        """
        if not self.agents:
            raise RuntimeError(f"{self.vector.spec.name}: no episode is open; call reset() first")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        group, _ = self.face.places[agent]
        self._given[agent] = group.check(agent, action)
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if self._waiting:
            self.agent_selection = self._waiting.pop(0)
            return
        step = self.face.step(self._given)
        self._observations, self.rewards, self.terminations, self.truncations, self.infos = step
        self.agents = list(self.rewards)
        self._accumulate_rewards()
        self._begin_turns()
        self._deads_step_first()

    def observe(self, agent: str) -> Any:
        """What the agent sees: its last view where its life has just ended. A copy. RuntimeError before `reset`."""
        if not self._observations:
            raise RuntimeError(f"{self.vector.spec.name}: no episode is open; call reset() first")
        view = self._observations[agent]
        if not isinstance(view, dict):
            return view.copy()
        mask = view["action_mask"]
        copied = tuple(part.copy() for part in mask) if isinstance(mask, tuple) else mask.copy()
        return {"observation": view["observation"].copy(), "action_mask": copied}

    def state(self) -> Array:
        """The global state `[S]`, for critics. NotImplementedError where the environment has none."""
        return self.face.state()

    def render(self) -> Array | None:
        """An image `[height, width, 3]` uint8 in mode "rgb_array"; None in mode "human", which opens a window."""
        return self.face.render()

    def close(self) -> None:
        """Release what the environment holds, and close its window if one is open."""
        self.face.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as the parallel face is, with whose turn it is."""
        plain = {name: value for name, value in vars(self).items() if name not in ("face", "vector")}
        return _copy_aec, (type(self), self.face, plain)

    def _begin_turns(self) -> None:
        self._given: dict[str, Any] = {}
        self._waiting = self.face.acting
        self.agent_selection = self._waiting.pop(0) if self._waiting else self.agents[0]


def _copy_parallel(
    kind: type[ParallelFacade],
    name: str,
    options: dict[str, Any],
    render_mode: str | None,
    state: SimState,
    agents: list[str],
    untouched: bool,
) -> ParallelFacade:
    from environments.registry import game

    found = game(name)
    face = kind(NativeEnv(found, found.options(**options), hold=True), render_mode)
    face.restore(state, agents, untouched)
    return face


def _copy_aec(kind: type[AECFacade], face: ParallelFacade, plain: dict[str, Any]) -> AECFacade:
    turns = kind(face.vector, face.render_mode)
    turns.__dict__.update(plain, face=face)
    return turns


def _render(vector: NativeEnv, mode: str | None) -> Array | None:
    if mode is None:
        logger.warn("render() does nothing without a render mode: make the environment with render_mode='rgb_array'")
        return None
    module, function = RENDERER.split(":")
    image: Array | None = getattr(importlib.import_module(module), function)(vector, copy=0, mode=mode)
    return image
