"""Forward and backward passes of perceptrons side by side, whose hidden values are kept in between.

Where a loss is torch's own affair, the passes are two calls: what is between the layers stays in memory from the first
to the second. Networks of one shape, `F` of them, take part in one call, their parameters standing where torch has put
them. Rows are cut in pieces whose hidden values stay in cache from layer to layer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.blas import ADD, NEW, product_of_columns, product_of_rows
from marl.engine.memory import array_at
from marl.engine.mlp import slope
from marl.engine.scalar import F, rectified, tanh

U = np.uint64


class Layers(NamedTuple):
    """`F` perceptrons of `L` layers, and where their numbers stand."""

    rows: int
    """B."""
    piece: int
    """Rows that go through all layers at once; of the last piece fewer."""
    size: NDArray[np.int64]
    """`[L+1]` widths: inputs, hidden layers, outputs."""
    weight: NDArray[np.int64]
    """`[F, L]` address of each `[in, out]`."""
    bias: NDArray[np.int64]
    """`[F, L]` address of each `[out]`; of the first layer, `[G, P, out]`."""
    each: int
    """Rows that get one of the G sets of P first biases, one after the other and again from the first."""
    period: int
    """P."""
    relu: int
    """1: relu follows the hidden layers; 0: tanh."""
    at: NDArray[np.int64]
    """`[L]` place of each hidden layer's values `[F, B, H]` among those kept, and the end."""


class Inputs(NamedTuple):
    """Rows `[F, B, D]` somewhere in memory."""

    address: int
    length: int
    """Numbers from the first to the last."""
    stack_step: int
    """From one network's to the next's; 0: all have the same."""
    row_step: int


class Wanted(NamedTuple):
    """What a backward pass finds."""

    gradients: NDArray[np.float32]
    """`[blocks, W]` of the parameters, by block of rows; W may be 0."""
    weight: NDArray[np.int64]
    """`[L]` place of each layer's weights `[F, in, out]` among the W."""
    bias: NDArray[np.int64]
    """`[L]` place of each layer's biases `[F, out]`; of the first, `[F, P, out]`."""
    slopes: NDArray[np.float32]
    """`[F, B, d]` of some columns of the inputs, `[1, B, d]` where all networks have the same; d may be 0."""
    turned: NDArray[np.int64]
    """`[F, L]` address of each layer's weights transposed, `[out, in]`; of the first, for those columns alone."""


@kernel(entry=True)
def forward(net, inputs, kept, room, out, rows, size, progress, who):
    """Outputs `out [F, B, K]`, in `rows` pieces.

    `kept` has the hidden values, laid out as `net.at` says: of all rows where `room` is 0, else of as many per thread.
    """
    x, samples, outputs = array_at(inputs.address, inputs.length), net.rows, out.reshape(out.size)
    while True:
        first, stop = take(progress, rows, size, who)
        if first >= rows:
            return
        for piece in range(first, stop):
            begin, end = piece * net.piece, min((piece + 1) * net.piece, samples)
            for stack in range(out.shape[0]):
                source = stack * inputs.stack_step + begin * inputs.row_step
                place = stack * samples + begin if room == 0 else room * who
                target = (stack * samples + begin) * out.shape[2]
                _through(net, x, source, inputs.row_step, kept, place, outputs, target, stack, begin, end - begin)
        report(progress, first, stop)


@kernel
def _through(net, x, source, step, kept, place, out, outputs, stack, begin, count):
    """One network's outputs for `count` rows, from row `begin` on."""
    layers = net.size.shape[0] - 1
    for layer in range(layers):
        fan_in, fan_out, last = net.size[layer], net.size[layer + 1], layer == layers - 1
        weight = array_at(net.weight[stack, layer], fan_in * fan_out)
        y, target = kept, net.at[layer] + place * fan_out
        if last:
            y, target = out, outputs
        product_of_rows(x, source, step, weight, 0, y, target, count, fan_in, fan_out, NEW)
        sets = net.period * ((net.rows - 1) // net.each + 1) if layer == 0 else 1
        biases, row = array_at(net.bias[stack, layer], sets * fan_out), 0
        for i in range(count):
            if sets > 1:
                row = ((begin + i) // net.each * net.period + (begin + i) % net.period) * fan_out
            values, bias = y[target + i * fan_out : target + (i + 1) * fan_out], biases[row : row + fan_out]
            if last:
                for c in range(U(fan_out)):
                    values[c] += bias[c]
            elif net.relu:  # in place: with two slices of one array the compiler fears an overlap
                for c in range(U(fan_out)):
                    values[c] = rectified(values[c] + bias[c])
            else:
                for c in range(U(fan_out)):
                    values[c] = tanh(values[c] + bias[c])
        x, source, step = y, target, fan_out


@kernel(entry=True)
def backward(net, inputs, kept, errors, pieces, wanted, works, choices, rows, size, progress, who):
    """What errors `[F, B, K]` of the outputs come to in parameters and inputs, from the values that `forward` kept.

    There are `rows` blocks of the `pieces`. Each thread has room for errors of two layers of a piece, and for the
    numbers of its rows: where only inputs matter, those without an error (of the larger of two Qs) are left out.
    """
    x, samples, work, chosen = array_at(inputs.address, inputs.length), net.rows, works[who], choices[who]
    count = wanted.gradients.shape[1]
    gradients = wanted.gradients.reshape(wanted.gradients.size)
    while True:
        first, stop = take(progress, rows, size, who)
        if first >= rows:
            return
        for block in range(first, stop):
            for i in range(U(block * count), U(block * count + count)):
                gradients[i] = F(0.0)
            for piece in range(block * pieces // rows, (block + 1) * pieces // rows):
                begin, end = piece * net.piece, min((piece + 1) * net.piece, samples)
                for stack in range(errors.shape[0]):
                    source = stack * inputs.stack_step + begin * inputs.row_step
                    own = chosen[: _choose(errors, stack, begin, end, count > 0, work, chosen)]
                    at = _back(net, x, source, inputs.row_step, kept, wanted, gradients, block, stack, begin, own, work)
                    _slopes(net, wanted, stack, begin, end, own, work, at)
        report(progress, first, stop)


@kernel
def _choose(errors, stack, begin, end, every, work, chosen):
    """Copy rows that have an error, or every row, to `work`, and their numbers from `begin` on; how many they are."""
    columns, count = errors.shape[2], 0
    for i in range(begin, end):
        found = every
        for c in range(columns):
            work[count * columns + c] = errors[stack, i, c]
            found = found or errors[stack, i, c] != F(0.0)
        if found:
            chosen[count] = i - begin
            count += 1
    return count


@kernel
def _back(net, x, source, step, kept, wanted, gradients, block, stack, begin, chosen, work):
    """Add the gradients of one network's parameters over the chosen rows from `begin` on; where in `work` are the
    errors of the first layer's products."""
    layers, count = net.size.shape[0] - 1, chosen.shape[0]
    base, parameters = block * wanted.gradients.shape[1], wanted.gradients.shape[1] > 0
    at, other = 0, work.shape[0] // 2
    for i in range(layers):
        layer = layers - 1 - i
        fan_in, fan_out = net.size[layer], net.size[layer + 1]
        y, values, wide = x, source, step
        if layer > 0:
            y, values, wide = kept, net.at[layer - 1] + (stack * net.rows + begin) * fan_in, fan_in
        if parameters:
            period = net.period if layer == 0 else 1
            bias = base + wanted.bias[layer] + stack * period * fan_out
            _add_rows(work, at, gradients, bias, begin, count, fan_out, period)
            weight = base + wanted.weight[layer] + stack * fan_in * fan_out
            product_of_columns(y, values, wide, work, at, gradients, weight, count, fan_in, fan_out, ADD)
        if layer > 0:
            turned = array_at(wanted.turned[stack, layer], fan_in * fan_out)
            product_of_rows(work, at, fan_out, turned, 0, work, other, count, fan_out, fan_in, NEW)
            for row in range(count):
                value, error = values + chosen[row] * fan_in, other + row * fan_in
                slope(y[value : value + fan_in], work[error : error + fan_in], net.relu)
            at, other = other, at
    return at


@kernel
def _slopes(net, wanted, stack, begin, end, chosen, work, at):
    """What the errors of the first layer's products come to in the inputs."""
    width, hidden, other = wanted.slopes.shape[2], net.size[1], work.shape[0] // 2 - at
    if width == 0:
        return
    place = stack if wanted.slopes.shape[0] > 1 else 0
    if stack == place:
        wanted.slopes[place, begin:end] = F(0.0)
    turned = array_at(wanted.turned[stack, 0], hidden * width)
    product_of_rows(work, at, hidden, turned, 0, work, other, chosen.shape[0], hidden, width, NEW)
    for i in range(chosen.shape[0]):
        for c in range(width):
            wanted.slopes[place, begin + chosen[i], c] += work[other + i * width + c]


@kernel
def _add_rows(work, at, sums, target, begin, count, columns, period):
    """Add rows, the first of which has number `begin`, to `period` rows of sums in turn."""
    for i in range(count):
        own = target + (begin + i) % period * columns
        s, e = sums[own : own + columns], work[at + i * columns : at + (i + 1) * columns]
        for c in range(U(columns)):
            s[c] += e[c]
