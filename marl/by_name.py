"""Agents by their names, one at a time: what PettingZoo gives and takes, and what a policy takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from environments.spec import AgentGroup
from marl.acting import View
from marl.distributions import head_size, noise_size

if TYPE_CHECKING:
    from marl.policy import Policy


def act(
    policy: Policy,
    observations: Mapping[str, Any],
    masks: Mapping[str, Any],
    greedy: bool,
    rng: np.random.Generator,
    hidden: dict[str, Any] | None,
) -> dict[str, Any]:
    """Actions of a policy's agents, as `Policy.act` says."""
    actions: dict[str, Any] = {}
    for group in policy.spec.groups:
        present = [agent for agent in group.agents if agent in observations]
        for agent in present:
            view, legal = observations[agent], masks.get(agent)
            if isinstance(view, Mapping):
                view, legal = view["observation"], view["action_mask"]
            view = np.asarray(view, np.float32)
            actions[agent] = _act_one(policy, group, agent, view, legal, greedy, rng, hidden)
    return actions


def _act_one(
    policy: Policy,
    group: AgentGroup,
    agent: str,
    observation: np.ndarray,
    mask: Any,
    greedy: bool,
    rng: np.random.Generator,
    hidden: dict[str, Any] | None,
) -> Any:
    space = group.action_space
    if observation.shape != group.observation_space.shape:
        raise ValueError(f"{agent}: observation {observation.shape}, wanted {group.observation_space.shape}")
    members = policy.spec.members(group)
    row = group.agents.index(agent) % members
    obs = torch.zeros(1, members, *observation.shape)
    obs[0, row] = torch.from_numpy(observation)
    legal, on_turn = None, True
    if mask is not None:
        flags = torch.from_numpy(np.concatenate([np.asarray(x, bool).reshape(-1) for x in _parts(mask)]))
        legal, on_turn = torch.ones(1, members, head_size(space), dtype=torch.bool), bool(flags.any())
        legal[0, row] = flags if on_turn else True
    if on_turn and not np.isfinite(observation).all():
        raise ValueError(f"{agent}: the observation is not finite")
    noise = torch.as_tensor(rng.uniform(1e-7, 1 - 1e-7, (1, members, noise_size(space))))
    acting = torch.zeros(1, members, dtype=torch.bool)
    acting[0, row] = on_turn
    carried = torch.zeros(1, members, policy.memory.get(group.name, 0))
    if hidden is not None and agent in hidden:
        carried[0, row] = torch.as_tensor(hidden[agent])
    draws = None if greedy else noise.float()
    step = policy.step_of(group, View(obs, legal, acting), draws, {group.name: carried})
    if hidden is not None and step.hidden is not None:
        hidden[agent] = step.hidden[0, row].numpy()
    return _inside(group.own_action_spaces.get(agent, space), step.action[0, row].numpy())


def _inside(space: spaces.Space[Any], action: np.ndarray) -> Any:
    """What networks choose, in one row and counted from 0, as an action in the space of its environment."""
    if isinstance(space, spaces.Discrete):
        return int(action + space.start)
    action = action.reshape(space.shape)
    if isinstance(space, spaces.Box):
        nearest = action if space.dtype.kind == "f" else np.rint(action)
        return np.asarray(np.clip(nearest, space.low, space.high), space.dtype)
    return np.asarray(action + space.start if isinstance(space, spaces.MultiDiscrete) else action, space.dtype)


def _parts(mask: Any) -> Sequence[Any]:
    """A mask as a list of arrays, one per choice."""
    return mask if isinstance(mask, tuple) else [mask]
