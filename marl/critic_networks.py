"""Networks of critics that bear more updates per step than plain perceptrons do: DroQ's and SimbaV2's.

Both stand in the place of `AgentMLP` and take what it takes; the activation is relu.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from marl.networks import HIDDEN_GAIN, orthogonal, stacked

SHIFT = 3.0
"""Number put beside an input before its length is made 1, so that its length is not lost (Lee et al. 2025)."""
WIDER = 4
"""Width of the inside of a block, in widths."""


class Stacked(nn.Module, ABC):
    """Networks of the agents of a group, or several functions of one input, side by side: `[B, n, D] -> [B, n, K]`."""

    def __init__(self, inputs: int, agents: int, parameters: str, agent_id: bool) -> None:
        """`parameters` and `agent_id` as `AgentMLP` takes them; `[B, D]` is the same for all."""
        super().__init__()
        self.agents, self.stacks = agents, agents if parameters == "per_agent" else 1
        self.knows_agent = agent_id and self.stacks == 1 and agents > 1
        self.inputs = inputs + (agents if self.knows_agent else 0)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, n, D]` or `[B, D]` -> `[B, n, K]`."""
        if x.dim() == 2:
            x = x.unsqueeze(1).expand(-1, self.agents, -1)
        if self.knows_agent:
            who = torch.eye(self.agents, dtype=x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x, who], 2)
        if self.stacks > 1:
            return self._through(x.transpose(0, 1)).transpose(0, 1)
        found: Tensor = self._through(x.reshape(1, -1, x.shape[2]))
        return found.view(*x.shape[:2], -1)

    @abstractmethod
    def _through(self, x: Tensor) -> Tensor:
        """`[stacks, rows, D] -> [stacks, rows, K]`."""

    def _weight(self, rows: int, columns: int, gain: float, generator: torch.Generator) -> nn.Parameter:
        return nn.Parameter(stacked(orthogonal(rows, columns, gain, generator) for _ in range(self.stacks)))

    def _filled(self, columns: int, value: float) -> nn.Parameter:
        return nn.Parameter(torch.full((self.stacks, 1, columns), value))


class DroQ(Stacked):
    """Each hidden layer a product, dropout, layer normalisation and relu (Hiraoka et al. 2022, arXiv:2110.02034)."""

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        agents: int,
        parameters: str,
        agent_id: bool,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        """`dropout`: share of hidden numbers that are left out at each use."""
        super().__init__(inputs, agents, parameters, agent_id)
        self.dropout = dropout
        self.noise: torch.Generator | None = None
        """What decides which; none: nothing is left out."""
        sizes = [self.inputs, *hidden, outputs]
        gains = [HIDDEN_GAIN["relu"]] * len(hidden) + [1.0]
        self.weights = nn.ParameterList(
            self._weight(rows, columns, gain, generator)
            for (rows, columns), gain in zip(pairwise(sizes), gains, strict=True)
        )
        self.biases = nn.ParameterList(self._filled(columns, 0.0) for columns in sizes[1:])
        self.scales = nn.ParameterList(self._filled(columns, 1.0) for columns in hidden)
        self.shifts = nn.ParameterList(self._filled(columns, 0.0) for columns in hidden)

    def _through(self, x: Tensor) -> Tensor:
        for weight, bias, scale, shift in zip(self.weights, self.biases, self.scales, self.shifts, strict=False):
            x = self._dropped(torch.baddbmm(bias, x, weight))
            x = torch.relu(functional.layer_norm(x, x.shape[-1:]) * scale + shift)
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])

    def _dropped(self, x: Tensor) -> Tensor:
        if self.noise is None or self.dropout == 0.0 or torch.is_inference_mode_enabled():
            return x  # what is only shown draws nothing
        kept = torch.rand(x.shape, generator=self.noise, dtype=x.dtype) >= self.dropout
        return x * kept / (1.0 - self.dropout)


class Simba(Stacked):
    """Blocks on the unit sphere (SimbaV2: Lee et al. 2025, arXiv:2502.15280).

    h_0 = |s W |[x, 3]||, h_{l+1} = |(1 - a) h_l + a |W2 relu(s W1 h_l)||, q = W4 (s W3 h) + b, where |v| has length 1,
    s and a are learnt numbers per column, and the weights behind every number have length 1, again after each step.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        agents: int,
        parameters: str,
        agent_id: bool,
        generator: torch.Generator,
    ) -> None:
        """`hidden`: the sphere's dimensions, then one equal number for each block."""
        super().__init__(inputs, agents, parameters, agent_id)
        width, inside, blocks = hidden[0], WIDER * hidden[0], len(hidden) - 1
        block = [(width, inside), (inside, width)]
        shapes = [(self.inputs + 1, width), *block * blocks, (width, width), (width, outputs)]
        self.weights = nn.ParameterList(self._weight(*shape, 1.0, generator) for shape in shapes)
        small = math.sqrt(2 / width)
        scales = [(width, small), *[(inside, small)] * blocks, (width, 1.0)]
        self.scales = nn.ParameterList(self._filled(size, value) for size, value in scales)
        self.mixes = nn.ParameterList(self._filled(width, 1 / math.sqrt(width)) for _ in range(blocks))
        self.bias = self._filled(outputs, 0.0)
        self.mixed = math.sqrt(width) / (blocks + 1)
        """What `mixes` are multiplied by: an optimiser's steps are as large beside them as beside weights."""
        self.project()

    def _through(self, x: Tensor) -> Tensor:
        weights, scales = list(self.weights), list(self.scales)
        x = _unit(torch.cat([x, torch.full_like(x[..., :1], SHIFT)], -1))
        h = _unit(x @ weights[0] * scales[0])
        for block, mix in enumerate(self.mixes):
            inside = torch.relu(h @ weights[1 + 2 * block] * scales[1 + block])
            part = mix * self.mixed
            h = _unit((1 - part) * h + part * _unit(inside @ weights[2 + 2 * block]))
        q: Tensor = (h @ weights[-2] * scales[-1]) @ weights[-1] + self.bias
        return q

    @torch.no_grad()
    def project(self) -> None:
        """Give the weights of every product length 1."""
        for weight in self.weights:
            weight.div_(weight.norm(dim=1, keepdim=True).clamp(min=1e-8))


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = functional.normalize(x, dim=-1, eps=1e-8)
    return unit
