"""Encoders of images: what a network is fed where agents see pictures; everything else is fed as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from environments.spec import channels_first, image_size, is_image
from marl.networks import orthogonal, stacked
from marl.policy_spec import PolicySpec

Layer = tuple[int, int, int]
"""Channels made, side of the kernel, stride."""
STACKS: tuple[tuple[Layer, ...], ...] = (
    ((32, 8, 4), (64, 4, 2), (64, 3, 1)),  # Mnih et al. 2015, Nature 518; from 36 x 36
    ((16, 4, 2), (32, 3, 2)),  # from 8 x 8
    ((16, 3, 1),),  # from 3 x 3
)
"""Convolutions, the first that an image is large enough for. The dense layer behind them is the first of `hidden`."""
GAIN = math.sqrt(2)
"""Of rectified layers."""
BLOCK_PIXELS = 2**21
"""Numbers of images that are encoded at once where no gradient is wanted: what is between the layers stays small."""


def stack_of(height: int, width: int) -> tuple[Layer, ...]:
    """The convolutions for images of that size."""
    return next(stack for stack in STACKS if min(_left(stack, height), _left(stack, width)) >= 1)


def _left(stack: Sequence[Layer], side: int) -> int:
    """What a stack leaves of a side; 0 where it is too short."""
    for _, kernel, stride in stack:
        side = (side - kernel) // stride + 1 if side >= kernel else 0
    return side


class Encoder(nn.Module):
    """Rectified convolutions of images of 0 to 255, `[B, n, *shape] -> [B, n, D]`; `stacks` of them, one per agent, or
    one for all."""

    def __init__(self, shape: Sequence[int], stacks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = tuple(shape)
        channels, height, width = image_size(shape)
        self.layers = stack_of(height, width)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for made, kernel, _ in self.layers:
            rows = channels * kernel * kernel
            flat = stacked(orthogonal(rows, made, GAIN, generator).T for _ in range(stacks))
            self.weights.append(nn.Parameter(flat.reshape(stacks, made, channels, kernel, kernel).contiguous()))
            self.biases.append(nn.Parameter(torch.zeros(stacks, made)))
            channels = made
        self.size = channels * _left(self.layers, height) * _left(self.layers, width)
        """D."""

    def forward(self, images: Tensor) -> Tensor:
        """`[B, n, *shape] -> [B, n, D]`."""
        parameters = (*self.weights, *self.biases)
        if len(self.weights[0]) == 1:
            rows = self.encoded(images.flatten(0, 1), [x[0] for x in parameters])
            return rows.view(*images.shape[:2], self.size)
        each = [self.encoded(images[:, i], [x[i] for x in parameters]) for i in range(images.shape[1])]
        return torch.stack(each, 1)

    def encoded(self, images: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Rows `[B, D]` of images `[B, *shape]`; `parameters` are one stack's weights, then its biases."""
        if torch.is_grad_enabled() or not len(images):
            return self._encoded(images, parameters)
        rows = max(1, BLOCK_PIXELS // math.prod(self.shape))
        return torch.cat([self._encoded(block, parameters) for block in torch.split(images, rows)])

    def _encoded(self, images: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        x = images.to(parameters[0].dtype) * (1 / 255)
        if len(self.shape) == 2:
            x = x.unsqueeze(1)
        elif not channels_first(self.shape):
            x = x.permute(0, 3, 1, 2)
        depth = len(self.layers)
        for (_, _, stride), weight, bias in zip(self.layers, parameters[:depth], parameters[depth:], strict=True):
            x = torch.relu(functional.conv2d(x, weight, bias, stride))
        return x.flatten(1)


class Encoders(nn.ModuleDict):
    """The encoders of the groups of a kind of team that see images, by name; there may be none."""

    def __init__(self, spec: PolicySpec, parameters: str, generator: torch.Generator, needed: bool = True) -> None:
        """`parameters`: `shared` by the agents of a group, or `per_agent`. None at all where observations are not
        `needed`."""
        stacks = {group.name: spec.members(group) if parameters == "per_agent" else 1 for group in spec.groups}
        super().__init__(
            {
                group.name: Encoder(group.observation_space.shape, stacks[group.name], generator)
                for group in spec.groups
                if needed and is_image(group.observation_space)
            }
        )
        self.sizes = {group.name: math.prod(group.observation_space.shape) for group in spec.groups}
        """Numbers that a network is fed of one agent's observation, by group."""
        self.pixels = sum(self.sizes[group.name] * spec.members(group) for group in spec.groups if group.name in self)
        """Numbers in the images that a team sees at once."""
        for name, encoder in self.items():
            self.sizes[name] = encoder.size  # type: ignore[assignment]

    def whole(self, spec: PolicySpec) -> int:
        """Numbers that a network is fed of all the team's observations."""
        return sum(self.sizes[group.name] * spec.members(group) for group in spec.groups)

    def own(self, name: str, agent: int) -> list[Tensor]:
        """One agent's parts of its group's stacked parameters; none where it sees no images."""
        return [x[agent] for x in self[name].parameters()] if name in self else []

    def fed(self, name: str, obs: Tensor, dtype: torch.dtype, own: Sequence[Tensor] | None = None) -> Tensor:
        """What a network is fed of a group's observations: `[B, n, *shape] -> [B, n, D]`.

        With `own` parameters of one agent, of that one alone: `[B, 1, *shape] -> [B, 1, D]`.
        """
        if name not in self:
            return obs.flatten(2).to(dtype)
        encoder = self[name]
        assert isinstance(encoder, Encoder)
        fed: Tensor = encoder(obs) if own is None else encoder.encoded(obs.squeeze(1), own).unsqueeze(1)
        return fed

    def side_by_side(self, obs: Mapping[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
        """What a network is fed of all the team's observations, `[B, n D]` of each group."""
        return [self.fed(name, x, dtype).flatten(1) for name, x in obs.items()]
