"""Forward and backward passes of one multilayer perceptron over a few rows that stay in cache.

A chunk is some samples of a batch. Where all agents share parameters its rows are (sample, agent); where each has its
own, the rows are the samples of one agent, whose place in the stacked parameters is `stack`. Everything stands in flat
arrays: parameters, gradients, and `work`, one thread's memory for a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from marl.engine.blas import ADD, NEW, product, product_left_transposed
from marl.engine.scalar import F, rectified, tanh

U = np.uint64
ROWS = 96
"""Rows of a chunk, about: the activations of a few such layers fit the second cache."""
FEWEST_ROWS = 12
EVEN = 4
"""Rows of a product are a multiple of these (`even`)."""
SMALL_PRODUCT = 650_000
"""Multiplications of a product up to which BLAS (OpenBLAS: a million, and chunks vary) need not copy its factors first,
which costs it a quarter of its speed: wider networks have shorter chunks."""


def rows_of_chunk(size: Sequence[int]) -> int:
    """Rows of a chunk, about, for layers of these widths."""
    rows = SMALL_PRODUCT // max(a * b for a, b in pairwise(size))
    return min(rows, ROWS) if rows >= FEWEST_ROWS else ROWS


class Network(NamedTuple):
    """Where an `AgentMLP`'s numbers stand, and how rows pass through it; `L` layers."""

    size: NDArray[np.int64]
    """`[L+1]` widths: inputs, hidden layers, outputs."""
    weight: NDArray[np.int64]
    """`[L]` place of each layer's weights `[stacks, in, out]` among the parameters."""
    bias: NDArray[np.int64]
    """`[L]` place of each layer's biases `[stacks, out]`."""
    identity: int
    """Place of what each agent adds to the first layer, `[agents, out]`; -1: nothing."""
    agents: int
    """Agents, and so rows per sample."""
    stacks: int
    """Sets of parameters: 1, or one per agent."""
    one_for_all: int
    """1 where all agents of a sample have the same input: its first product is computed once."""
    samples: int
    """Samples of a chunk, about."""
    relu: int
    """1: relu follows the hidden layers; 0: tanh."""
    at: NDArray[np.int64]
    """`[L+7]` places in `work`: input, outputs of every layer, two blocks of errors, ones, turned weights, what is
    added to a layer's rows, the end."""


@kernel
def width(net):
    """Rows per sample of a chunk."""
    return net.agents if net.stacks == 1 else 1


@kernel
def even(rows):
    """As many rows as asked for, and up to three behind them that are computed in vain.

    What BLAS makes of a row depends on whether it is one of the last few of a product, by a rounding: so nothing
    depends on which rows are computed together.
    """
    return (rows + EVEN - 1) // EVEN * EVEN


@kernel
def cut(net, first, stop):
    """Samples of each chunk of `first .. stop`, of about equal length; at most half more than `net.samples`."""
    chunks = (stop - first + net.samples // 2) // net.samples
    return max(1, -((first - stop) // max(1, chunks)))


@kernel
def forward(net, parameters, stack, samples, work):
    """Input at `at[0]` -> outputs `[rows, K]` at `at[L]`; the hidden layers' values stay for `backward`."""
    layers = net.size.shape[0] - 1
    rows, spare = even(samples * width(net)), net.at[layers + 1]
    for layer in range(layers - 1):
        fan_in, fan_out = net.size[layer], net.size[layer + 1]
        weight = net.weight[layer] + stack * fan_in * fan_out
        once = layer == 0 and net.one_for_all
        have = even(samples) if once else rows
        product(work, net.at[layer], parameters, weight, work, spare, have, fan_in, fan_out, NEW)
        bases = added_rows(net, parameters, layer, stack, work)
        activate(net, work, layer, samples, 0 if once else 1, bases)
    fan_in, fan_out = net.size[layers - 1], net.size[layers]
    weight, bias = net.weight[layers - 1] + stack * fan_in * fan_out, net.bias[layers - 1] + stack * fan_out
    product(work, net.at[layers + 3], parameters, bias, work, net.at[layers], rows, 1, fan_out, NEW)
    product(work, net.at[layers - 1], parameters, weight, work, net.at[layers], rows, fan_in, fan_out, ADD)


@kernel
def backward(net, parameters, gradients, base, stack, samples, work):
    """Add the parameters' gradients at `gradients[base:]`, from the outputs' errors `[rows, K]` at `at[L+1]`.

    `turn` was called since the parameters last changed.
    """
    layers = net.size.shape[0] - 1
    rows = samples * width(net)
    error, spare, ones, turned = net.at[layers + 1], net.at[layers + 2], net.at[layers + 3], net.at[layers + 5]
    for i in range(layers):
        layer = layers - 1 - i
        fan_in, fan_out = net.size[layer], net.size[layer + 1]
        weight, source = net.weight[layer] + stack * fan_in * fan_out, net.at[layer]
        bias = base + net.bias[layer] + stack * fan_out
        product(work, ones, work, error, gradients, bias, 1, rows, fan_out, ADD)
        if layer > 0:
            product_left_transposed(work, source, work, error, gradients, base + weight, rows, fan_in, fan_out, ADD)
            turned -= fan_in * fan_out
            product(work, error, work, turned, work, spare, rows, fan_out, fan_in, NEW)
            count = rows * fan_in
            slope(work[source : source + count], work[spare : spare + count], net.relu)
            error, spare = spare, error
            continue
        if net.identity >= 0:
            together = net.agents * fan_out
            product(work, ones, work, error, gradients, base + net.identity, 1, samples, together, ADD)
        have = rows
        if net.one_for_all:
            sum_repeated(work, error, spare, samples, net.agents, fan_out)
            error, have = spare, samples
        product_left_transposed(work, source, work, error, gradients, base + weight, have, fan_in, fan_out, ADD)


@kernel
def turn(net, parameters, stack, work):
    """Transpose all weights but the first layer's, once for many chunks: BLAS is a third slower with `A B'`."""
    layers = net.size.shape[0] - 1
    at = net.at[layers + 5]
    for i in range(layers - 1):
        layer = layers - 1 - i
        fan_in, fan_out = net.size[layer], net.size[layer + 1]
        at -= fan_in * fan_out
        weight = net.weight[layer] + stack * fan_in * fan_out
        for r in range(U(fan_in)):
            for c in range(U(fan_out)):
                work[at + c * fan_in + r] = parameters[weight + r * fan_out + c]


# Loops run over slices: with one array and two offsets the compiler fears an overlap and does not vectorise.


@kernel
def added_rows(net, parameters, layer, stack, work):
    """What is added to a hidden layer's product: the bias, for each agent with what it adds; returns how many rows."""
    columns, bases = net.size[layer + 1], net.at[net.size.shape[0] + 4]
    bias = net.bias[layer] + stack * columns
    knows_agent = layer == 0 and net.identity >= 0
    rows = net.agents if knows_agent else 1
    for a in range(rows):
        for c in range(columns):
            own = parameters[net.identity + a * columns + c] if knows_agent else F(0.0)
            work[bases + a * columns + c] = parameters[bias + c] + own
    return rows


@kernel
def sum_repeated(work, error, target, samples, agents, columns):
    """Row i becomes the sum over the rows of all agents of sample i."""
    for i in range(samples):
        total = work[target + i * columns : target + (i + 1) * columns]
        for a in range(agents):
            row = error + (i * agents + a) * columns
            part = work[row : row + columns]
            for c in range(U(columns)):
                total[c] = part[c] if a == 0 else total[c] + part[c]


@kernel
def activate(net, work, layer, samples, step, bases):
    """Hidden values: the activation function of the product in the first block of errors plus one of the `bases` rows.

    The product has a row per agent (`step` 1), or one for all agents of a sample (0).
    """
    columns, agents, relu = net.size[layer + 1], width(net), net.relu
    source, target, base = net.at[net.size.shape[0]], net.at[layer + 1], net.at[net.size.shape[0] + 4]
    for _ in range(samples):
        for a in range(agents):
            first = base + (a * columns if bases > 1 else 0)
            x, y, b = work[source : source + columns], work[target : target + columns], work[first : first + columns]
            if relu:
                for c in range(U(columns)):
                    y[c] = rectified(x[c] + b[c])
            else:
                for c in range(U(columns)):
                    y[c] = tanh(x[c] + b[c])
            target += columns
            source += step * columns
        source += (1 - step) * columns


@kernel
def slope(y, e, relu):
    """Errors e times the activation's derivative, which its value y gives: 1 - y^2, or whether y > 0."""
    if relu:
        for i in range(U(y.shape[0])):
            e[i] = e[i] if y[i] > F(0.0) else F(0.0)
    else:
        for i in range(U(y.shape[0])):
            e[i] *= F(1.0) - y[i] * y[i]
