"""Mixers: the value of a team from the values of its agents, so that what is best for each is best for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marl.critics import whole_size, whole_view
from marl.encoders import Encoders
from marl.networks import AgentMLP
from marl.policy_spec import PolicySpec
from marl.replay_buffer import Views


class Sum(nn.Module):
    """Q = sum_i Q_i (Sunehag et al. 2018, arXiv:1706.05296)."""

    def forward(self, q: Tensor, views: Views) -> Tensor:
        """`[B, 1]` from the agents' `q [B, R]`."""
        return q.sum(1, keepdim=True)


class Monotone(nn.Module):
    """Q = |w(s)| . elu(|W(s)| q + b(s)) + v(s), which never falls where some Q_i rises (Rashid et al. 2018,
    arXiv:1803.11485).

    One network makes W, b, w and v from what is seen centrally: the state, or all observations where there is none.
    """

    def __init__(
        self,
        spec: PolicySpec,
        state_size: int,
        width: int,
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.spec, self.state_size, self.width = spec, state_size, width
        self.agents = sum(spec.members(group) for group in spec.groups)
        self.encoders = Encoders(spec, "shared", generator, not state_size)
        seen, made = whole_size(spec, state_size, self.encoders), (self.agents + 2) * width + 1
        self.weights = AgentMLP(seen, hidden, made, 1, "shared", False, "relu", 1.0, generator)
        start = torch.randn(made, generator=generator) / width**0.5  # all that there is where nothing is seen
        start[self.agents * width : (self.agents + 1) * width] = 0.0
        start[-1] = 0.0
        self.weights.biases[-1].data[0] = start

    def forward(self, q: Tensor, views: Views) -> Tensor:
        """`[B, 1]` from the agents' `q [B, R]` and what is seen."""
        made = self.weights(whole_view(self.spec, self.state_size, self.encoders, views, q.dtype)).squeeze(1)
        first, bias, second, value = torch.split(made, [self.agents * self.width, self.width, self.width, 1], 1)
        inner = torch.einsum("br,brw->bw", q, first.abs().view(-1, self.agents, self.width))
        mixed: Tensor = (nn.functional.elu(inner + bias) * second.abs()).sum(1, keepdim=True) + value
        return mixed
