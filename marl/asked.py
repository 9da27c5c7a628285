"""Players who are asked for one agent's action at a time: programs, and people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from environments.spec import AgentGroup
from marl.acting import PolicyStep, View

Ask = Callable[[AgentGroup, int, NDArray[Any], NDArray[np.bool_] | None], Any]
"""(group, number of the agent among the team's in the group, observation, legal actions) -> action."""


class AskedActor:
    """One team's seat in one copy, whose acting agents are asked in order. It has no probabilities."""

    def __init__(self, groups: Sequence[AgentGroup], ask: Ask) -> None:
        self.groups, self.ask = groups, ask

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """The answers; zeros for agents that do not act. ValueError for more than one seat."""
        steps = {}
        for group in self.groups:
            view = views[group.name]
            seats, agents = view.acting.shape
            if seats != 1:
                raise ValueError(f"one seat can be asked at a time, not {seats}")
            box = isinstance(group.action_space, spaces.Box)
            actions = np.zeros((1, agents, *(group.action_space.shape or ())), np.float32 if box else np.int32)
            for n in np.flatnonzero(view.acting[0].numpy()).tolist():
                mask = None if view.action_mask is None else view.action_mask[0, n].numpy()
                actions[0, n] = self.ask(group, n, view.obs[0, n].numpy(), mask)
            steps[group.name] = PolicyStep(torch.from_numpy(actions), torch.zeros(seats, agents))
        return steps
