"""Perceptrons in torch's graph: the outputs and gradients of torch's own operations, computed by the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from environments import workers
from marl.engine import blas, stacks
from marl.engine.memory import FLOAT32_BYTES
from marl.engine.mlp import rows_of_chunk
from marl.engine.stacks import Inputs, Layers, Wanted

BLOCKS = 4
"""Sums of gradients that are kept apart until all are done, at most: as many for one thread as for several."""


class Perceptrons:
    """Passes through perceptrons on some threads; the same bits whatever their number."""

    def __init__(self, threads: int) -> None:
        blas.one_thread()
        self.threads = threads

    def can(self, *factors: Tensor) -> bool:
        """Whether there is something to compute of its kind of numbers, where it is."""
        return all(x.dtype == torch.float32 and x.is_cpu and x.numel() > 0 for x in factors)

    def __call__(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        activation: str,
        own: Tensor | None = None,
        start: int = 0,
    ) -> Tensor:
        """Outputs `[F, B, K]` of networks of `weights [F, in, out]` and `biases [F, out]` for `x [F, B, D]`, or of the
        same `[B, D]` for all. Without F in the parameters, those of one: `[B, K]`.

        The first biases may be `[F, P, out]`, for rows in turn; or `[F, G, P, out]`, the first P being for as many
        B / G rows, and so on: those have no gradient. With `own`, columns of x from `start` on, gradients go there and
        nowhere else.
        """
        batch = Batch(self.threads, x, weights, biases, activation, start)
        if not torch.is_grad_enabled():
            out = batch.forward(keep=False)
        else:
            parameters = (*weights, *biases) if own is None else ()
            out = _Through.apply(batch, x if own is None else own, *parameters)  # type: ignore[no-untyped-call]
        return out[0] if weights[0].dim() == 2 else out


class Batch:
    """Rows on their way through networks, and back."""

    def __init__(
        self,
        threads: int,
        x: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        activation: str,
        start: int,
    ) -> None:
        alone = weights[0].dim() == 2
        self.weights, self.biases = ([y.detach()[None] if alone else y.detach() for y in z] for z in (weights, biases))
        if x.stride(-1) != 1 or x.stride(-2) < x.shape[-1]:
            x = x.contiguous()
        self.threads, self.x, self.start = threads, x.detach(), start
        self.shapes = [y.shape for y in (*weights, *biases)]
        networks, rows = len(self.weights[0]), x.shape[-2]
        self.widths = [self.weights[0].shape[1], *(weight.shape[2] for weight in self.weights)]
        self.chunk = rows_of_chunk(self.widths)
        self.pieces = max(1, (rows + self.chunk // 2) // self.chunk)
        first = self.biases[0].view(networks, -1, *self.biases[0].shape[-2 if self.biases[0].dim() > 2 else -1 :])
        first = first if first.dim() == 4 else first.unsqueeze(1)
        self.biases[0] = first
        self.net = Layers(
            rows,
            np.array(self.widths),
            _addresses(self.weights),
            _addresses(self.biases),
            max(1, rows // first.shape[1]),
            first.shape[2],
            int(activation == "relu"),
            self._places(networks * rows),
        )
        step = x.stride(0) if x.dim() == 3 else 0
        length = (networks - 1) * step + (rows - 1) * x.stride(-2) + x.shape[-1]
        self.inputs = Inputs(x.data_ptr(), length, step, x.stride(-2))

    def forward(self, keep: bool) -> Tensor:
        """Outputs `[F, B, K]`; what `backward` needs is kept, or not."""
        out = torch.empty(len(self.weights[0]), self.net.rows, self.widths[-1])
        room = 0 if keep else 2 * self.chunk
        net = self.net if keep else self.net._replace(at=self._places(self.threads * room))
        self.kept = np.empty(net.at[-1], np.float32)
        self._run(stacks.forward, (net, self.inputs, self.kept, room, out.numpy()), self.pieces)
        return out

    def backward(self, errors: Tensor, parameters: bool, columns: int) -> tuple[Tensor, list[Tensor]]:
        """Gradients of that many columns of the inputs, `[F or 1, B, columns]`, and of the parameters if wanted."""
        layers, networks = len(self.weights), len(self.weights[0])
        sizes = [y.numel() if parameters else 0 for y in (*self.weights, *self.biases)]
        ends = np.cumsum([0, *sizes])
        blocks = min(BLOCKS, self.pieces)
        gradients = np.empty((blocks, ends[-1]), np.float32)
        slopes = torch.empty(networks if self.inputs.stack_step else 1, self.net.rows if columns else 0, columns)
        first = self.weights[0][:, self.start : self.start + columns]
        turned = [weight.mT.contiguous() for weight in (first, *self.weights[1:])]
        wanted = Wanted(gradients, ends[:layers], ends[layers:-1], slopes.numpy(), _addresses(turned))
        works = np.empty((self.threads, 4 * self.chunk * max(self.widths[1:])), np.float32)
        given = errors.contiguous().numpy()
        arguments = (self.net, self.inputs, self.kept, given, self.pieces, wanted, works)
        self._run(stacks.backward, arguments, blocks)
        if not parameters:
            return slopes, []
        whole = torch.from_numpy(gradients).sum(0)
        return slopes, [y.view(shape) for y, shape in zip(torch.split(whole, sizes), self.shapes, strict=True)]

    def _places(self, rows: int) -> NDArray[np.int64]:
        return np.cumsum([0, *(rows * width for width in self.widths[1:-1])])

    def _run(self, block: Callable[..., None], arguments: tuple[Any, ...], rows: int) -> None:
        workers.shared(min(self.threads, rows)).run(block, arguments, rows)


class _Through(torch.autograd.Function):
    """A batch's outputs as a function of its inputs, or of some of their columns, and of the parameters."""

    @staticmethod
    def forward(ctx: Any, batch: Batch, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.batch, ctx.shape, ctx.parameters = batch, x.shape, len(parameters)
        return batch.forward(keep=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, errors: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad
        columns = ctx.shape[-1] if wanted[1] else 0
        slopes, gradients = ctx.batch.backward(errors, any(wanted[2:]), columns)
        moved = slopes.view(ctx.shape) if columns else None
        return None, moved, *(gradients or [None] * ctx.parameters)


def _addresses(stacked: Sequence[Tensor]) -> NDArray[np.int64]:
    """`[F, L]` of each network's part of tensors `[F, ..]`."""
    steps = np.arange(len(stacked[0]))[:, None]
    first, step = np.array([(y.data_ptr(), y.stride(0)) for y in stacked]).T
    return np.asarray(first + steps * step * FLOAT32_BYTES)
