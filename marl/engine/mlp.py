"""Forward and backward passes of one multilayer perceptron over a few rows that stay in cache.

A chunk is some samples of a batch. Where all agents share parameters its rows are (sample, agent); where each has its
own, the rows are the samples of one agent, whose place in the stacked parameters is `stack`. Everything stands in flat
arrays: parameters, gradients, and `work`, one thread's memory for a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from marl.engine.blas import ADD, NEW, product, product_left_transposed
from marl.engine.scalar import F, tanh

U = np.uint64
ROWS = 128
"""Rows of a chunk, at least one sample: the activations of a few such layers fit the second cache."""


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
    relu: int
    """1: relu follows the hidden layers; 0: tanh."""
    at: NDArray[np.int64]
    """`[L+6]` places in `work`: input, outputs of every layer, two blocks of errors, ones, turned weights, the end."""


@kernel
def width(net):
    """Rows per sample of a chunk."""
    return net.agents if net.stacks == 1 else 1


@kernel
def forward(net, parameters, stack, samples, work):
    """Input at `at[0]` -> outputs `[rows, K]` at `at[L]`; the hidden layers' values stay for `backward`."""
    layers = net.size.shape[0] - 1
    rows = samples * width(net)
    for layer in range(layers):
        fan_in, fan_out = net.size[layer], net.size[layer + 1]
        weight = net.weight[layer] + stack * fan_in * fan_out
        source, target = net.at[layer], net.at[layer + 1]
        knows_agent = layer == 0 and net.identity >= 0
        start_rows(net, parameters, net.bias[layer] + stack * fan_out, knows_agent, samples, fan_out, work, target)
        if layer == 0 and net.one_for_all:
            once = net.at[layers + 1]
            product(work, source, parameters, weight, work, once, samples, fan_in, fan_out, NEW)
            add_repeated(work, once, target, samples, net.agents, fan_out)
        else:
            product(work, source, parameters, weight, work, target, rows, fan_in, fan_out, ADD)
        if layer < layers - 1:
            activate(net, work, target, rows * fan_out)


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
            slope(net, work, source, spare, rows * fan_in)
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


@kernel
def start_rows(net, parameters, bias, knows_agent, samples, columns, work, target):
    """Every row begins as the bias, and as what its agent adds: products with a column of ones."""
    ones = net.at[net.size.shape[0] + 2]
    product(work, ones, parameters, bias, work, target, samples * width(net), 1, columns, NEW)
    if knows_agent:
        product(work, ones, parameters, net.identity, work, target, samples, 1, net.agents * columns, ADD)


# Loops run over slices: with one array and two offsets the compiler fears an overlap and does not vectorise.


@kernel
def add_repeated(work, once, target, samples, agents, columns):
    """Add row i of `once` to the rows of all agents of sample i."""
    for r in range(samples * agents):
        row, source = target + r * columns, once + r // agents * columns
        rows, added = work[row : row + columns], work[source : source + columns]
        for c in range(U(columns)):
            rows[c] += added[c]


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
def activate(net, work, target, count):
    """The activation function, in place."""
    values = work[target : target + count]
    if net.relu:
        for i in range(U(count)):
            values[i] = F(0.0) if values[i] < F(0.0) else values[i]  # in this form NaN stays NaN
    else:
        for i in range(U(count)):
            values[i] = tanh(values[i])


@kernel
def slope(net, work, value, error, count):
    """Errors times the activation's derivative, which its value gives: 1 - y^2, or whether y > 0."""
    y, e = work[value : value + count], work[error : error + count]
    if net.relu:
        for i in range(U(count)):
            e[i] = e[i] if y[i] > F(0.0) else F(0.0)
    else:
        for i in range(U(count)):
            e[i] *= F(1.0) - y[i] * y[i]
