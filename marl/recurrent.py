"""Recurrent networks for the agents of a group, with shared or separate parameters: `[T, B]` scans with resets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marl.networks import orthogonal, tanh


class AgentGRU(nn.Module):
    """Gated recurrent units, in layers, for each of `n` agents: `[T, B, n, D] -> [T, B, n, H]`.

    Cho et al. 2014 (arXiv:1406.1078), in torch's form; x below a layer, h its hidden state, s the logistic function:

        r  = s(x W_r + b_r + h U_r)                 z = s(x W_z + b_z + h U_z)
        h~ = tanh(x W_n + b_n + r (h U_n + c_n))    h' = (1 - z) h~ + z h

    `shared` parameters are one network for all agents, `per_agent` ones are stacked, as in `AgentMLP`. Which agent it
    acts for a shared network learns from what it is fed. A layer's input products are taken for all steps at once.
    """

    def __init__(
        self, inputs: int, width: int, layers: int, agents: int, parameters: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.agents, self.width, self.layers = agents, width, layers
        stacks = agents if parameters == "per_agent" else 1

        def stacked(rows: int) -> nn.Parameter:
            """Three orthogonal matrices side by side, one set per stack: `[stacks, rows, 3 H]`."""
            sets = [torch.cat([orthogonal(rows, width, 1.0, generator) for _ in range(3)], 1) for _ in range(stacks)]
            return nn.Parameter(torch.stack(sets))

        self.below = nn.ParameterList(stacked(inputs if layer == 0 else width) for layer in range(layers))
        """W of each layer: r, z, n side by side."""
        self.before = nn.ParameterList(stacked(width) for _ in range(layers))
        """U of each layer."""
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(stacks, 3 * width)) for _ in range(layers))
        """b of each layer."""
        self.inner = nn.ParameterList(nn.Parameter(torch.zeros(stacks, width)) for _ in range(layers))
        """c_n of each layer."""

    def start(self, batch: int) -> Tensor:
        """Hidden states before anything was seen, `[B, n, layers, H]`: zeros."""
        return torch.zeros(batch, self.agents, self.layers, self.width, dtype=self.biases[0].dtype)

    def forward(self, x: Tensor, hidden: Tensor, start: Tensor, acting: Tensor) -> tuple[Tensor, Tensor]:
        """What the top layer says at every step, and the hidden states after the last.

        Args:
            x: `[T, B, n, D]`; where an agent does not act, anything.
            hidden: `[B, n, layers, H]` before step 0.
            start: `[T, B]` bool: a new episode begins at this step, its hidden states are zeros.
            acting: `[T, B, n]` bool: elsewhere a hidden state stays as it is.
        """
        steps, batch, agents = acting.shape
        stacks = self.biases[0].shape[0]
        rows = acting.unsqueeze(-1)
        if not bool(acting.all()):
            x = torch.where(rows, x, torch.zeros((), dtype=x.dtype))
        fresh, own = (
            _by_stack(start.view(steps, batch, 1, 1).expand(-1, -1, agents, -1), stacks),
            _by_stack(rows, stacks),
        )
        last = []
        for layer in range(self.layers):
            h = _by_stack(hidden[None, :, :, layer], stacks)[0]
            x, h = self._layer(layer, _by_stack(x, stacks), h, fresh, own)
            x = _by_agent(x, batch, agents)
            last.append(_by_agent(h.unsqueeze(0), batch, agents)[0])
        return x, torch.stack(last, 2)

    def _layer(self, layer: int, x: Tensor, h: Tensor, fresh: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """One layer over all steps: `x [T, stacks, M, D]` and `h [stacks, M, H]` -> `[T, stacks, M, H]`, `h`."""
        weight, bias, inner = self.before[layer], self.biases[layer], self.inner[layer].unsqueeze(1)
        given = x @ self.below[layer] + bias.unsqueeze(1)
        resets, waits = bool(fresh.any()), not bool(own.all())
        said = []
        for t in range(len(x)):
            if resets:
                h = torch.where(fresh[t], torch.zeros((), dtype=h.dtype), h)
            kept = h @ weight
            gates = torch.sigmoid(given[t, ..., : 2 * self.width] + kept[..., : 2 * self.width])
            r, z = gates.chunk(2, -1)
            new = tanh(given[t, ..., 2 * self.width :] + r * (kept[..., 2 * self.width :] + inner))
            moved = new + z * (h - new)
            h = torch.where(own[t], moved, h) if waits else moved
            said.append(h)
        return torch.stack(said), h


def _by_stack(x: Tensor, stacks: int) -> Tensor:
    """`[T, B, n, D]` as the products take it: `[T, stacks, B n / stacks, D]`."""
    return x.flatten(1, 2).unsqueeze(1) if stacks == 1 else x.transpose(1, 2)


def _by_agent(x: Tensor, batch: int, agents: int) -> Tensor:
    """`_by_stack` undone."""
    return x.reshape(x.shape[0], batch, agents, -1) if x.shape[1] == 1 else x.transpose(1, 2)
