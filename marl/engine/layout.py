"""Networks as kernels see them: all parameters of one in a flat array that torch's parameters are views of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marl.engine.mlp import EVEN, Network, rows_of_chunk
from marl.networks import AgentMLP

LINE = 16
"""Numbers per cache line: blocks of work begin on one."""


class FlatNetwork:
    """An `AgentMLP`, and further parameters that belong to it, laid out in one flat array."""

    def __init__(self, network: nn.Module, extra: Sequence[nn.Parameter] = ()) -> None:
        assert isinstance(network, AgentMLP)
        identity = [] if network.identity is None else [network.identity]
        self.parameters = [*network.weights, *network.biases, *identity, *extra]
        self._places = np.cumsum([0, *(p.numel() for p in self.parameters)])
        self.flat = np.zeros(0, np.float32)
        self.address = 0
        """Where the flat array stands in memory, as `bind` left it."""
        self._places_in_memory: list[int] = []
        layers = len(network.weights)
        size = [network.weights[0].shape[1], *(weight.shape[2] for weight in network.weights)]
        self.extra = [int(place) for place in self._places[2 * layers + len(identity) : -1]]
        """Place of each further parameter."""
        stacks = network.weights[0].shape[0]
        each = network.agents if stacks == 1 else 1
        samples = max(1, rows_of_chunk(size) // each)
        self.shape = Network(
            np.array(size, np.int64),
            self._places[:layers].astype(np.int64),
            self._places[layers : 2 * layers].astype(np.int64),
            int(self._places[2 * layers]) if identity else -1,
            network.agents,
            stacks,
            0,
            samples,
            int(network.activation == "relu"),
            _work_places(size, (samples + samples // 2) * each, network.agents),
        )
        self.bind()

    def bind(self) -> NDArray[np.float32]:
        """The parameters' present values as a flat array, of which they are views from now on."""
        if [p.data_ptr() for p in self.parameters] != self._places_in_memory:
            with torch.inference_mode(False):  # who only acts now may be trained later
                whole = torch.cat([p.detach().reshape(-1) for p in self.parameters])
            for parameter, view in zip(self.parameters, self.split(whole), strict=True):
                parameter.data = view
            self.flat, self.address = whole.numpy(), whole.data_ptr()
            self._places_in_memory = [p.data_ptr() for p in self.parameters]
        return self.flat

    def split(self, flat: Tensor) -> list[Tensor]:
        """A flat array of the parameters, or of their gradients, as views in the parameters' shapes."""
        return [
            flat[first:last].view(p.shape)
            for p, first, last in zip(self.parameters, self._places, self._places[1:], strict=False)
        ]

    def spans(self) -> list[tuple[int, int]]:
        """Where each of the parameters stands in the flat array: from, to (exclusive)."""
        return [(int(first), int(last)) for first, last in pairwise(self._places)]

    def work(self, threads: int) -> NDArray[np.float32]:
        """Memory for a chunk, for each of `threads`."""
        work = np.zeros((threads, int(self.shape.at[-1])), np.float32)
        ones, end = self.shape.at[-4:-2]
        work[:, ones:end] = 1.0
        return work


class AgentOfFlatNetwork:
    """One agent's own network among those stacked in a `FlatNetwork`: as `Passes` takes it, its gradients alone."""

    def __init__(self, whole: FlatNetwork, agent: int, parameters: Sequence[Tensor]) -> None:
        """`parameters` get the gradients: views of this agent's part of each of the whole's, in its order."""
        self.whole, self.agent, self.parameters = whole, agent, list(parameters)
        shape = whole.shape
        fan_in, fan_out = shape.size[:-1], shape.size[1:]
        self.shape = shape._replace(
            weight=shape.weight + agent * fan_in * fan_out, bias=shape.bias + agent * fan_out, agents=1, stacks=1
        )
        extras = whole.parameters[len(whole.parameters) - len(whole.extra) :] if whole.extra else []
        self.extra = [place + agent * p[0].numel() for place, p in zip(whole.extra, extras, strict=True)]
        """Place of each further parameter's row."""

    @property
    def address(self) -> int:
        """As the whole's."""
        return self.whole.address

    def bind(self) -> NDArray[np.float32]:
        """As the whole's."""
        return self.whole.bind()

    def split(self, flat: Tensor) -> list[Tensor]:
        """Views of this agent's part of the whole's gradients."""
        return [part[self.agent] for part in self.whole.split(flat)]

    def spans(self) -> list[tuple[int, int]]:
        """Where this agent's part of each of the parameters stands."""
        sizes = [part.numel() for part in self.parameters]
        return [
            (first + self.agent * size, first + (self.agent + 1) * size)
            for (first, _), size in zip(self.whole.spans(), sizes, strict=True)
        ]

    def work(self, threads: int) -> NDArray[np.float32]:
        """As the whole's."""
        return self.whole.work(threads)


def _work_places(size: Sequence[int], rows: int, agents: int) -> NDArray[np.int64]:
    widest, rows = max(size[1:]), -(-rows // EVEN) * EVEN
    turned = sum(a * b for a, b in pairwise(size[1:]))
    blocks = [*(width * rows for width in size), widest * rows, widest * rows, rows, turned, widest * agents]
    return np.cumsum([0, *(-(-block // LINE) * LINE for block in blocks)]).astype(np.int64)
