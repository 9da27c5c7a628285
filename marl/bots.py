"""Bots as players: a function of observations sits in a team's seats. What a bot is, `environments.bots` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from marl.acting import PolicyStep, View
from marl.policy_spec import PolicySpec

Bot = Callable[[np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]
"""(observations `[B, *shape]`, masks `[B, K]` or None, noise `[B]`) -> actions."""


class BotPolicy:
    """A bot that acts for every agent of a kind of team. It has no probabilities: log-probabilities are 0."""

    def __init__(self, spec: PolicySpec, bot: Bot) -> None:
        self.spec = spec
        self.bot = bot

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """The bot's actions for the agents that act, zeros for others; `greedy` changes nothing."""
        steps = {}
        for group in self.spec.groups:
            view = views[group.name]
            rows = view.acting.numpy()
            space = group.action_space
            action = np.zeros((*rows.shape, *(space.shape or ())), np.float32 if _is_box(space) else np.int32)
            if rows.any():
                mask = None if view.action_mask is None else view.action_mask.numpy()[rows]
                action[rows] = self.bot(view.obs.numpy()[rows], mask, noise[group.name].numpy()[rows][:, 0])
            steps[group.name] = PolicyStep(torch.from_numpy(action), torch.zeros(rows.shape))
        return steps


def _is_box(space: spaces.Space[object]) -> bool:
    return isinstance(space, spaces.Box)
