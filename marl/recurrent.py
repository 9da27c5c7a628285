"""Recurrent networks for the agents of a group, with shared or separate parameters: `[T, B]` scans with resets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from marl.networks import HIDDEN_GAIN, AgentMLP, orthogonal, stacked, tanh
from marl.policy_spec import PolicySpec

LONGEST = 32
"""Steps for which the most persistent units hold on to what they have, before they learn otherwise."""


class Past(NamedTuple):
    """What recurrent networks need besides `[C L, n, ..]` views, which are `C` chunks of `L` steps each, in order."""

    hidden: Tensor  # [C, n, M] before the first step of each chunk
    start: Tensor  # [C, L] bool: an episode begins at this step
    acting: Tensor  # [C, L, n] bool

    @classmethod
    def of_step(cls, hidden: Tensor, acting: Tensor) -> Past:
        """Of one step: `hidden [S, n, M]`, zeros where an episode begins, and `acting [S, n]`."""
        return cls(hidden, torch.zeros(len(hidden), 1, dtype=torch.bool), acting.unsqueeze(1))

    def only(self, agent: int) -> Past:
        """Of one agent alone."""
        own = slice(agent, agent + 1)
        return Past(self.hidden[:, own], self.start, self.acting[:, :, own])


class AgentGRU(nn.Module):
    """Gated recurrent units, in layers, for each of `n` agents: `[T, B, n, D] -> [T, B, n, H]`.

    Cho et al. 2014 (arXiv:1406.1078), in torch's form; x below a layer, h its hidden state, s the logistic function:

        r  = s(x W_r + b_r + h U_r)                 z = s(x W_z + b_z + h U_z)
        h~ = tanh(x W_n + b_n + r (h U_n + c_n))    h' = (1 - z) h~ + z h

    `shared` parameters are one network for all agents, `per_agent` ones are stacked, as in `AgentMLP`. Which agent it
    acts for a shared network learns from what it is fed. A layer's input products are taken for all steps at once.

    The units keep what they hold for 2 to `LONGEST` steps at first, b_z = log u with u from 1 to `LONGEST` - 1 (Tallec
    and Ollivier 2018, arXiv:1804.11188): from b_z = 0 half of it is gone after each step, and its gradient too.
    """

    def __init__(
        self, inputs: int, width: int, layers: int, agents: int, parameters: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.agents, self.width, self.layers = agents, width, layers
        stacks = agents if parameters == "per_agent" else 1

        def gates(rows: int) -> nn.Parameter:
            """Three orthogonal matrices side by side, one set per stack: `[stacks, rows, 3 H]`."""
            made = stacked(orthogonal(rows, width, 1.0, generator) for _ in range(3 * stacks))
            return nn.Parameter(made.view(stacks, 3, rows, width).transpose(1, 2).reshape(stacks, rows, 3 * width))

        self.below = nn.ParameterList(gates(inputs if layer == 0 else width) for layer in range(layers))
        """W of each layer: r, z, n side by side."""
        self.before = nn.ParameterList(gates(width) for _ in range(layers))
        """U of each layer."""
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(stacks, 3 * width)) for _ in range(layers))
        """b of each layer."""
        for bias in self.biases:
            bias.data[:, width : 2 * width] = torch.linspace(1, LONGEST - 1, width).log()
        self.inner = nn.ParameterList(nn.Parameter(torch.zeros(stacks, width)) for _ in range(layers))
        """c_n of each layer."""

    def start(self, batch: int) -> Tensor:
        """Hidden states before anything was seen, `[B, n, layers, H]`: zeros."""
        return torch.zeros(batch, self.agents, self.layers, self.width, dtype=self.biases[0].dtype)

    def forward(
        self, x: Tensor, hidden: Tensor, start: Tensor, acting: Tensor, agent: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the top layer says at every step, and the hidden states after it, `[T, B, n, layers, H]`.

        With `agent`, of that one alone, by parameters of its own: n = 1.

        Args:
            x: `[T, B, n, D]`; where an agent does not act, anything.
            hidden: `[B, n, layers, H]` before step 0.
            start: `[T, B]` bool: a new episode begins at this step, its hidden states are zeros.
            acting: `[T, B, n]` bool: elsewhere a hidden state stays as it is.
        """
        steps, batch, agents = acting.shape
        stacks = self.biases[0].shape[0] if agent is None else 1
        rows = acting.unsqueeze(-1)
        if not bool(acting.all()):
            x = torch.where(rows, x, torch.zeros((), dtype=x.dtype))
        fresh, own = (
            _by_stack(start.view(steps, batch, 1, 1).expand(-1, -1, agents, -1), stacks),
            _by_stack(rows, stacks),
        )
        after = []
        for layer in range(self.layers):
            h = _by_stack(hidden[None, :, :, layer], stacks)[0]
            parts = (self.below[layer], self.before[layer], self.biases[layer], self.inner[layer])
            if agent is not None:
                parts = tuple(part[agent : agent + 1] for part in parts)
            x = _by_agent(self._layer(parts, _by_stack(x, stacks), h, fresh, own), batch, agents)
            after.append(x)
        return x, torch.stack(after, 3)

    def _layer(self, parts: tuple[Tensor, ...], x: Tensor, h: Tensor, fresh: Tensor, own: Tensor) -> Tensor:
        """One layer over all steps: `x [T, stacks, M, D]` and `h [stacks, M, H]` -> every h, `[T, stacks, M, H]`."""
        below, weight, bias, inner = parts[0], parts[1], parts[2].unsqueeze(1), parts[3].unsqueeze(1)
        width = [2 * self.width, self.width]
        given, given_new = torch.split(x @ below + bias, width, -1)
        resets, waits = bool(fresh.any()), not bool(own.all())
        said = []
        for t, (gates_in, new_in) in enumerate(zip(given.unbind(), given_new.unbind(), strict=True)):
            if resets:
                h = torch.where(fresh[t], torch.zeros((), dtype=h.dtype), h)
            kept, kept_new = torch.split(h @ weight, width, -1)
            r, z = torch.sigmoid(gates_in + kept).chunk(2, -1)
            new = tanh(new_in + r * (kept_new + inner))
            moved = new + z * (h - new)
            h = torch.where(own[t], moved, h) if waits else moved
            said.append(h)
        return torch.stack(said)


class RecurrentAgents(nn.Module):
    """An `AgentMLP` with recurrent layers, as wide as its last hidden one, between that and the output.

    Shared ones are told below the recurrent layers which agent they act for.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        agents: int,
        parameters: str,
        agent_id: bool,
        activation: str,
        output_gain: float,
        generator: torch.Generator,
        layers: int,
    ) -> None:
        super().__init__()
        width, gain = hidden[-1], HIDDEN_GAIN[activation]
        self.agents = agents
        self.memory = layers * width
        """M, the numbers that are carried for each agent: hidden states, layer by layer."""
        self.body = AgentMLP(inputs, hidden[:-1], width, agents, parameters, agent_id, activation, gain, generator)
        self.gru = AgentGRU(width, width, layers, agents, parameters, generator)
        self.output = AgentMLP(width, (), outputs, agents, parameters, False, activation, output_gain, generator)

    def forward(self, x: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        """Outputs `[C L, n, K]` and hidden states after each step `[C, L, n, M]` of `[C L, n, D]`, or of `[C L, D]`
        where all agents are fed the same."""
        said, after = self._said(self.body(x), past)
        outputs: Tensor = self.output(said)
        return outputs, after

    def alone(self, x: Tensor, agent: int, past: Past) -> Tensor:
        """One agent's outputs `[C L, K]` from `x [C L, D]`, by its own parameters (`per_agent`); `past` is its own."""
        said, _ = self._said(self.body.alone(x, agent).unsqueeze(1), past, agent)
        return self.output.alone(said.squeeze(1), agent)

    def _said(self, x: Tensor, past: Past, agent: int | None = None) -> tuple[Tensor, Tensor]:
        chunks, steps, agents = past.acting.shape
        rows = self.body.activate(x).view(chunks, steps, agents, -1).transpose(0, 1)
        hidden = past.hidden.to(x.dtype).view(chunks, agents, self.gru.layers, self.gru.width)
        said, after = self.gru(rows, hidden, past.start.T, past.acting.transpose(0, 1), agent)
        return said.transpose(0, 1).flatten(0, 1), after.transpose(0, 1).flatten(3)


def network(
    spec: PolicySpec,
    inputs: int,
    hidden: tuple[int, ...],
    outputs: int,
    agents: int,
    parameters: str,
    agent_id: bool,
    output_gain: float,
    generator: torch.Generator,
) -> AgentMLP | RecurrentAgents:
    """A network for each of some agents, recurrent where the policy is to be."""
    built = inputs, hidden, outputs, agents, parameters, agent_id, spec.activation, output_gain, generator
    return AgentMLP(*built) if spec.recurrent == "none" else RecurrentAgents(*built, layers=spec.recurrent_layers)


def _by_stack(x: Tensor, stacks: int) -> Tensor:
    """`[T, B, n, D]` as the products take it: `[T, stacks, B n / stacks, D]`."""
    return x.flatten(1, 2).unsqueeze(1) if stacks == 1 else x.transpose(1, 2)


def _by_agent(x: Tensor, batch: int, agents: int) -> Tensor:
    """`_by_stack` undone."""
    return x.reshape(x.shape[0], batch, agents, -1) if x.shape[1] == 1 else x.transpose(1, 2)
