"""Networks for the agents of a group, with shared or separate parameters, without padding or concatenating ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from marl.engine.perceptrons import Perceptrons


class _Tanh(torch.autograd.Function):
    """tanh x = 2 sigmoid(2x) - 1, to 2e-7: torch's own vectorised sigmoid is ten times faster than its tanh on CPUs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = (x + x).sigmoid_().mul_(2.0).sub_(1.0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        slope: Tensor = torch.ops.aten.tanh_backward(grad, y)
        return slope


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; the library's own in float64, where exactness is asked for."""
    if x.dtype == torch.float64:
        return torch.tanh(x)
    y: Tensor = _Tanh.apply(x)  # type: ignore[no-untyped-call]
    return y


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": tanh, "relu": torch.relu}
IN_PLACE = ACTIVATIONS | {"relu": torch.relu_}
"""The same where they may take the place of what comes out of a product: no gradient needs that."""
ROWS = 2048
"""Of a block of `in_blocks`."""
HIDDEN_GAIN = {"tanh": 5 / 3, "relu": math.sqrt(2)}


class AgentMLP(nn.Module):
    """A multilayer perceptron for each of `n` agents: `[B, n, D] -> [B, n, K]`.

    `shared` parameters are one network for all; with `agent_id` its first layer also sees which agent it acts for. The
    one-hot of the agent is not concatenated: its product with the first weight matrix is a row of that matrix, added.
    Separate parameters (`per_agent`) are stacked `[n, in, out]`, and one batched product serves all agents.

    An input `[B, D]` is the same for all agents (a central critic's state): the first product is computed once.
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
    ) -> None:
        super().__init__()
        self.agents = agents
        self.activation = activation
        self.activate = ACTIVATIONS[activation]
        self.engine: Perceptrons | None = None
        """What computes it, gradients included, where it can; else torch does."""
        stacks = agents if parameters == "per_agent" else 1
        knows_agent = agent_id and stacks == 1 and agents > 1
        sizes = [inputs, *hidden, outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.identity: nn.Parameter | None = None
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            gain = output_gain if layer == len(hidden) else HIDDEN_GAIN[activation]
            rows = fan_in + agents if layer == 0 and knows_agent else fan_in
            weight = stacked(orthogonal(rows, fan_out, gain, generator) for _ in range(stacks))
            if layer == 0 and knows_agent:
                self.identity = nn.Parameter(weight[0, fan_in:].clone())
                weight = weight[:, :fan_in].clone()
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(stacks, fan_out)))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, n, D]` or `[B, D]` -> `[B, n, K]`."""
        engine = self.engine_for(x)
        if engine is not None:
            return self._computed(engine, x)
        return self._shared(x) if self.weights[0].shape[0] == 1 else self._per_agent(x)

    def alone(self, x: Tensor, agent: int) -> Tensor:
        """One agent's outputs `[B, K]` from `x [B, D]`, by its own parameters (`per_agent`)."""
        return layered(x, [part[agent] for part in (*self.weights, *self.biases)], self.activation, self.engine)

    def fixed(self, x: Tensor) -> Tensor:
        """`forward`, of which the parameters have no gradient."""
        engine = self.engine_for(x)
        return self.forward(x) if engine is None else self._computed(engine, x, x)

    def engine_for(self, *inputs: Tensor) -> Perceptrons | None:
        """The engine, where it can compute what becomes of these."""
        return self.engine if self.engine is not None and self.engine.can(self.weights[0], *inputs) else None

    def _computed(self, engine: Perceptrons, x: Tensor, own: Tensor | None = None) -> Tensor:
        """`forward` by the engine; gradients go nowhere but to `own`, if that is given: x or nothing."""
        weights, biases = list(self.weights), list(self.biases)
        if len(weights[0]) > 1:
            rows = x if x.dim() == 2 else x.transpose(0, 1)
            own = None if own is None else rows
            return engine(rows, weights, biases, self.activation, own).transpose(0, 1)
        shared = x.dim() == 2 and self.identity is None
        each = x if x.dim() == 3 else x.unsqueeze(1).expand(-1, 1 if shared else self.agents, -1)
        rows, own = each.reshape(1, -1, x.shape[-1]), None if own is None else each.reshape(1, -1, x.shape[-1])
        first = biases[0] if self.identity is None else (biases[0] + self.identity).unsqueeze(0)
        found = engine(rows, weights, [first, *biases[1:]], self.activation, own)
        return found.view(len(x), -1, found.shape[2]).expand(-1, self.agents if shared else -1, -1)

    def branches(self, engine: Perceptrons, x: Tensor, other: Tensor, at: int) -> Tensor:
        """Outputs `[B, J, n, K]` for J ends of the same inputs: to the products of the first columns, `x [B, n, D]`,
        come those of `other [B, J, n, d]`, columns from `at` on. Without n where separate networks share the inputs.

        The products of x are made once. Nothing has a gradient.
        """
        weights, biases = ([y.detach() for y in z] for z in (self.weights, self.biases))
        first, own = weights[0][:, : x.shape[-1]], weights[0][:, at : at + other.shape[-1]]
        if self.identity is not None:
            biases[0] = (biases[0] + self.identity.detach()).unsqueeze(0)
        batch, ends = other.shape[:2]
        if len(first) > 1:  # a network for each, of the same inputs or of its own
            x, rows = (y if y.dim() == k else y.movedim(k - 1, 0) for y, k in ((x, 2), (other, 3)))
            rows = rows.reshape(*rows.shape[:-3], batch * ends, -1)
            begun = engine(x, [first], [biases[0]], self.activation).unsqueeze(2)
        else:
            rows = other.reshape(1, -1, other.shape[-1])
            begun = engine(x.reshape(1, -1, x.shape[-1]), [first], [biases[0]], self.activation)
            begun = begun.view(1, batch, -1, begun.shape[2])
        found = engine(rows, [own, *weights[1:]], [begun, *biases[1:]], self.activation)
        if len(first) > 1:
            return found.view(len(first), batch, ends, -1).movedim(0, 2)
        return found.view(batch, ends, -1, found.shape[2])

    def _shared(self, x: Tensor) -> Tensor:
        one_for_all = x.dim() == 2
        batch, last = x.shape[0], len(self.weights) - 1
        rows = x.shape[1:-1].numel() if self.identity is None else self.agents
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer == 0 and self.identity is not None:
                product = x.reshape(-1, x.shape[-1]) @ weight[0]
                if one_for_all:
                    product = product.repeat_interleave(self.agents, 0)
                x = product.view(batch, rows, weight.shape[-1]).add_(bias[0] + self.identity)
            else:
                x = torch.addmm(bias[0], x.reshape(-1, x.shape[-1]), weight[0])
            if layer < last:
                x = IN_PLACE[self.activation](x)
        x = x.view(batch, rows, x.shape[-1])
        return x.expand(batch, self.agents, x.shape[-1]) if one_for_all else x

    def _per_agent(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0).expand(self.agents, *x.shape) if x.dim() == 2 else x.transpose(0, 1)
        weights, biases = list(self.weights), list(self.biases)
        return self.onwards(torch.baddbmm(biases[0].unsqueeze(1), x, weights[0]), weights, biases)

    def onwards(self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
        """`[B, n, K]` from what the first layer's products come to, `[n, B, H]`, whose place is taken (`per_agent`), by
        the other layers of these."""
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = IN_PLACE[self.activation](x)
            x = one_column(bias, x, weight) if weight.shape[2] == 1 else torch.baddbmm(bias.unsqueeze(1), x, weight)
        return x.transpose(0, 1)


def compute_by(engine: Perceptrons | None, module: nn.Module) -> None:
    """Let an engine, or torch, compute all perceptrons within."""
    for each in module.modules():
        if isinstance(each, AgentMLP):
            each.engine = engine


def computed_by(module: nn.Module) -> Perceptrons | None:
    """The engine that computes the perceptrons within, if there is one."""
    return next((each.engine for each in module.modules() if isinstance(each, AgentMLP)), None)


def in_blocks(network: nn.Module, x: Tensor) -> Tensor:
    """`network(x)`, `[B, n, D] -> [B, n, K]` or `[B, D] -> [B, n, K]`; where no gradient is wanted, some rows after the
    others, so that what a layer makes is still in the processor's cache when the next one takes it."""
    rows = max(ROWS // x.shape[1:-1].numel(), 1)
    if torch.is_grad_enabled() or len(x) <= rows or not isinstance(network, AgentMLP) or network.engine_for(x):
        whole: Tensor = network(x)
        return whole
    return torch.cat([network(block) for block in torch.split(x, rows)])


def one_column(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """`bias + x @ weight`, `[n, B, 1]` from `[n, 1]`, `[n, B, H]` and `[n, H, 1]`, entry by entry: batched products of
    matrices take up to six times as long, with their gradients, where there is but one column."""
    return (x * weight.transpose(1, 2)).sum(2, keepdim=True) + bias.unsqueeze(1)


def layered(x: Tensor, parameters: Sequence[Tensor], activation: str, engine: Perceptrons | None = None) -> Tensor:
    """One perceptron's outputs `[B, K]` from `x [B, D]`; `parameters` are its weights, then its biases, in order."""
    layers = len(parameters) // 2
    if engine is not None and engine.can(x, parameters[0]):
        return engine(x, parameters[:layers], parameters[layers:], activation)
    for layer in range(layers):
        x = torch.addmm(parameters[layers + layer], x, parameters[layer])
        if layer < layers - 1:
            x = IN_PLACE[activation](x)
    return x


def stacked(parts: Iterable[Tensor]) -> Tensor:
    """Tensors of one shape side by side, along a new first axis.

    torch's own stack and cat, of tensors that take no memory as in `policy.load`, import its compiler: two seconds.
    """
    rows = list(parts)
    whole = torch.empty(len(rows), *rows[0].shape, dtype=rows[0].dtype)
    for place, row in zip(whole, rows, strict=True):
        place.copy_(row)
    return whole


def orthogonal(rows: int, columns: int, gain: float, generator: torch.Generator) -> Tensor:
    """A `[rows, columns]` matrix with orthonormal rows or columns times gain (Saxe et al. 2014, arXiv:1312.6120)."""
    weight = torch.empty(columns, rows)
    nn.init.orthogonal_(weight, gain, generator=generator)
    return weight.T.contiguous()
