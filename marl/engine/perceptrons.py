"""Perceptrons in torch's graph: the outputs and gradients of torch's own operations, computed by the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from environments import workers
from marl.engine import blas, stacks
from marl.engine.memory import FLOAT32_BYTES
from marl.engine.stacks import Inputs, Layers, Wanted

BLOCKS = 4
"""Sums of gradients that are kept apart until all are done, at most: as many for one thread as for several."""

SMALL_PRODUCT = 1_000_000
"""Multiplications of a product up to which BLAS (OpenBLAS) need not copy its factors first: that takes a fifth of the
time of layers 128 wide, and more in wider ones."""
EVEN = 4
"""Rows of a piece are a multiple of these: there are no rows left over for BLAS to do one by one."""
FEWEST_ROWS = 8
"""Fewer, and weights would be read so often that copying the factors costs less."""
ROWS = 192
"""Rows of a piece of layers so wide that its products are not small."""


def rows_of_piece(widths: Sequence[int]) -> int:
    """Rows that go through layers of these widths at once."""
    rows = min(SMALL_PRODUCT // max(a * b for a, b in pairwise(widths)), ROWS) // EVEN * EVEN
    return rows if rows >= FEWEST_ROWS else ROWS


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
        if x.stride(-1) != 1 or x.stride(-2) < x.shape[-1] or 0 in x.stride()[:-2]:
            x = x.clone(memory_format=torch.contiguous_format)  # to torch a single row is contiguous whatever its step
        self.threads, self.weights, self.biases, self.start = threads, weights, biases, start
        self.x = x.detach()
        """Rows of the inputs, alive until they have been passed back."""
        self.networks, rows = len(weights[0]) if weights[0].dim() == 3 else 1, x.shape[-2]
        self.widths = [weights[0].shape[-2], *(weight.shape[-1] for weight in weights)]
        self.piece = rows_of_piece(self.widths)
        self.pieces = -(-rows // self.piece)
        first = biases[0].dim() - weights[0].dim() + 1  # 0 `[F, out]`, 1 `[F, P, out]`, 2 `[F, G, P, out]`
        self.net = Layers(
            rows,
            self.piece,
            np.array(self.widths),
            self._addresses(weights),
            self._addresses(biases),
            max(1, rows // (biases[0].shape[-3] if first == 2 else 1)),
            biases[0].shape[-2] if first else 1,
            int(activation == "relu"),
            self._places(self.networks * rows),
        )
        step = x.stride(0) if x.dim() == 3 else 0
        length = (self.networks - 1) * step + (rows - 1) * x.stride(-2) + x.shape[-1]
        self.inputs = Inputs(x.data_ptr(), length, step, x.stride(-2))

    def forward(self, keep: bool) -> Tensor:
        """Outputs `[F, B, K]`; what `backward` needs is kept, or not."""
        out = torch.empty(self.networks, self.net.rows, self.widths[-1])
        room = 0 if keep else self.piece
        net = self.net if keep else self.net._replace(at=self._places(self.threads * room))
        self.kept = np.empty(net.at[-1], np.float32)
        self._run(stacks.forward, (net, self.inputs, self.kept, room, out.numpy()), self.pieces)
        return out

    def backward(self, errors: Tensor, parameters: bool, columns: int) -> tuple[Tensor, list[Tensor]]:
        """Gradients of that many columns of the inputs, `[F or 1, B, columns]`, and of the parameters if wanted."""
        layers, owned = len(self.weights), (*self.weights, *self.biases)
        sizes = [y.numel() if parameters else 0 for y in owned]
        ends = np.array([0, *accumulate(sizes)])
        blocks = min(BLOCKS, self.pieces)
        gradients = np.empty((blocks, ends[-1]), np.float32)
        slopes = torch.empty(self.networks if self.inputs.stack_step else 1, self.net.rows if columns else 0, columns)
        first = self.weights[0][..., self.start : self.start + columns, :]
        turned = [weight.mT.contiguous() for weight in (first, *self.weights[1:])]
        wanted = Wanted(gradients, ends[:layers], ends[layers:-1], slopes.numpy(), self._addresses(turned))
        works = np.empty((self.threads, 2 * self.piece * max(self.widths)), np.float32)
        choices = np.empty((self.threads, self.piece), np.int64)
        given = errors.contiguous().numpy()
        arguments = (self.net, self.inputs, self.kept, given, self.pieces, wanted, works, choices)
        self._run(stacks.backward, arguments, blocks)
        if not parameters:
            return slopes, []
        whole = torch.from_numpy(gradients).sum(0)
        return slopes, [y.view_as(own) for y, own in zip(torch.split(whole, sizes), owned, strict=True)]

    def _places(self, rows: int) -> NDArray[np.int64]:
        return np.array([0, *accumulate(rows * width for width in self.widths[1:-1])])

    def _addresses(self, stacked: Sequence[Tensor]) -> NDArray[np.int64]:
        """`[F, L]` of each network's part of tensors `[F, ..]`."""
        places = [(y.data_ptr(), y.stride(0) * FLOAT32_BYTES) for y in stacked]
        return np.array([[first + i * step for first, step in places] for i in range(self.networks)])

    def _run(self, block: Callable[..., None], arguments: tuple[Any, ...], rows: int) -> None:
        workers.shared(min(self.threads, rows)).run(block, arguments, rows)


class _Through(torch.autograd.Function):
    """A batch's outputs as a function of its inputs, or of some of their columns, and of the parameters."""

    @staticmethod
    def forward(ctx: Any, batch: Batch, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.batch, ctx.shape, ctx.parameters = batch, x.shape, len(parameters)
        ctx.save_for_backward(x, *batch.weights, *batch.biases)
        return batch.forward(keep=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, errors: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # which is an error where one was changed since
        wanted = ctx.needs_input_grad
        columns = ctx.shape[-1] if wanted[1] else 0
        slopes, gradients = ctx.batch.backward(errors, any(wanted[2:]), columns)
        moved = slopes.view(ctx.shape) if columns else None
        return None, moved, *(gradients or [None] * ctx.parameters)
