"""What becomes of a network's outputs: actions, values, or the errors of a loss.

A task is a NamedTuple of arrays and numbers; the compiler picks the function for its type, so the loops in `passes` are
written once. Row r of a chunk is agent `stack + r % width` of sample `index[start + r // width]`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.compile import kernel, kernel_for
from marl.engine.mlp import width
from marl.engine.scalar import F, exp

U = np.uint64
LOG_2 = F(math.log(2))
LOG_SQRT_2PI = F(0.5 * math.log(2 * math.pi))


class Choose(NamedTuple):
    """Choose among discrete actions; Discrete is one choice, MultiDiscrete several."""

    sizes: NDArray[np.int64]  # [J] numbers of actions, sum K
    mask: NDArray[np.bool_]  # [S, n, K], empty where everything is legal
    noise: NDArray[np.float32]  # [S, n, J] uniform; empty: take the likeliest
    action: NDArray[np.int32]  # [S, n, J] written
    log_prob: NDArray[np.float32]  # [S, n] written


class Point(NamedTuple):
    """Choose a point of a box from independent normals around `centre + half * output`."""

    log_std: int  # its place among the parameters, [1 or n, d]
    centre: NDArray[np.float32]  # [d]
    half: NDArray[np.float32]  # [d]
    noise: NDArray[np.float32]  # [S, n, d] standard normal; empty: take the mean
    action: NDArray[np.float32]  # [S, n, d] written
    log_prob: NDArray[np.float32]  # [S, n] written


class Squash(NamedTuple):
    """Choose a point of a box from independent normals squashed into its bounds: outputs are means, then log-deviations
    before squashing."""

    centre: NDArray[np.float32]  # [d]
    half: NDArray[np.float32]  # [d]
    smallest: np.float32  # bounds of the log-deviations
    largest: np.float32
    noise: NDArray[np.float32]  # [S, n, d] standard normal; empty: take the squashed mean
    action: NDArray[np.float32]  # [S, n, d] written
    log_prob: NDArray[np.float32]  # [S, n] written


class Keep(NamedTuple):
    """Write a network's single output down."""

    value: NDArray[np.float32]  # [S, n] written


TOTALS = 5
"""Sums that the loss of some decisions or values reports: of the loss, then of what is said of actions (entropies,
divergences, how many were clipped), and how many there are: slopes are those of the sum, and means are taken later."""
COUNT = TOTALS - 1
"""Place among them of how many there are."""


class Surrogate(NamedTuple):
    """Numbers of the clipped surrogate and what it is told of each decision; `R` agents of a team side by side."""

    old_log_prob: NDArray[np.float32]  # [B, R]
    advantage: NDArray[np.float32]  # [B, R]
    use: NDArray[np.bool_]  # [B, R]
    first: int  # column of the group's first agent
    clip: np.float32
    entropy: np.float32  # weight of the bonus


class ChooseLoss(NamedTuple):
    """PPO's loss of discrete actions."""

    sizes: NDArray[np.int64]
    mask: NDArray[np.bool_]  # [B, n, K] or empty
    action: NDArray[np.int32]  # [B, n, J]
    surrogate: Surrogate


class PointLoss(NamedTuple):
    """PPO's loss of points in a box."""

    log_std: int
    centre: NDArray[np.float32]
    half: NDArray[np.float32]
    action: NDArray[np.float32]  # [B, n, d]
    surrogate: Surrogate


class ValueLoss(NamedTuple):
    """Squared or Huber error of values, optionally clipped."""

    old: NDArray[np.float32]  # [B, R]
    target: NDArray[np.float32]  # [B, R]
    use: NDArray[np.bool_]  # [B, R]
    first: int
    clip: np.float32  # infinite: none
    huber: np.float32  # infinite: squared error
    weight: np.float32  # of the loss


def finish(task: Any, net: Any, parameters: Any, index: Any, start: int, samples: int, stack: int, work: Any) -> None:
    """Use a chunk's outputs; compiled for each kind of task."""
    raise NotImplementedError


def errors(
    task: Any, net: Any, parameters: Any, gradients: Any, base: int, totals: Any, index: Any, start: int, samples: int,
    stack: int, work: Any,
) -> None:  # fmt: skip
    """Turn a chunk's outputs into errors at `at[L+1]`; adds to `totals`; compiled for each kind of task."""
    raise NotImplementedError


@kernel
def log_softmax(net, sizes, mask, index, start, samples, stack, work):
    """Outputs become log-probabilities (illegal: 0), and their block of errors probabilities (illegal: 0)."""
    layers = net.size.shape[0] - 1
    agents, columns = U(width(net)), net.size[layers]
    rows = samples * width(net)
    logits = work[net.at[layers] : net.at[layers] + rows * columns]
    probs = work[net.at[layers + 1] : net.at[layers + 1] + rows * columns]
    masked = mask.shape[0] > 0
    if masked:
        for r in range(U(rows)):
            b, a = index[start + r // agents], stack + r % agents
            for k in range(U(columns)):
                if not mask[b, a, k]:
                    logits[r * U(columns) + k] = -np.inf
    first = U(0)
    for _ in range(rows):
        for j in range(sizes.shape[0]):
            last = first + U(sizes[j])
            highest = logits[first]
            for k in range(first + U(1), last):
                highest = logits[k] if logits[k] > highest else highest
            for k in range(first, last):
                logits[k] -= highest
            first = last
    for k in range(U(rows * columns)):
        probs[k] = exp(logits[k])
    first = U(0)
    for _ in range(rows):
        for j in range(sizes.shape[0]):
            last = first + U(sizes[j])
            if masked:
                for k in range(first, last):
                    if logits[k] == -np.inf:
                        probs[k] = F(0.0)
                        logits[k] = F(0.0)
            total = F(0.0)
            for k in range(first, last):
                total += probs[k]
            log_total, scale = F(math.log(total)), F(1.0) / total
            for k in range(first, last):
                logits[k] -= log_total if probs[k] > F(0.0) else F(0.0)
                probs[k] *= scale
            first = last


@kernel_for(finish, Choose)
def choose(task, net, parameters, index, start, samples, stack, work):
    """The number of cumulative probabilities that the noise exceeds, or the likeliest action."""
    log_softmax(net, task.sizes, task.mask, index, start, samples, stack, work)
    layers = net.size.shape[0] - 1
    agents, columns = U(width(net)), net.size[layers]
    for r in range(U(samples * width(net))):
        b, a = index[start + r // agents], stack + r % agents
        first = r * columns
        log_prob = F(0.0)
        for j in range(task.sizes.shape[0]):
            chosen, best, cumulative, found = 0, F(-1.0), F(0.0), False
            for k in range(task.sizes[j]):
                p = work[net.at[layers + 1] + first + k]
                if task.noise.shape[0] == 0:
                    if p > best:
                        chosen, best = k, p
                elif not found and p > F(0.0):  # no illegal action has any
                    chosen = k  # the last legal one, should rounding leave the sum below the noise
                    cumulative += p
                    found = cumulative > task.noise[b, a, j]
            task.action[b, a, j] = chosen
            log_prob += work[net.at[layers] + first + chosen]
            first += task.sizes[j]
        task.log_prob[b, a] = log_prob


@kernel_for(finish, Point)
def point(task, net, parameters, index, start, samples, stack, work):
    """Mean plus deviation times a normal draw."""
    layers = net.size.shape[0] - 1
    agents, columns = U(width(net)), net.size[layers]
    for r in range(U(samples * width(net))):
        b, a = index[start + r // agents], stack + r % agents
        log_prob = F(0.0)
        for d in range(columns):
            draw = F(0.0) if task.noise.shape[0] == 0 else task.noise[b, a, d]
            log_std = parameters[task.log_std + stack * columns + d] + F(math.log(task.half[d]))
            mean = task.centre[d] + task.half[d] * work[net.at[layers] + r * columns + d]
            action = mean + F(math.exp(log_std)) * draw
            z = (action - mean) * F(math.exp(-log_std))  # of the action as rounded, which is what will be learnt from
            task.action[b, a, d] = action
            log_prob -= F(0.5) * z * z + log_std + LOG_SQRT_2PI
        task.log_prob[b, a] = log_prob


@kernel_for(finish, Squash)
def squash(task, net, parameters, index, start, samples, stack, work):
    """As `distributions.SquashedGaussian`."""
    layers = net.size.shape[0] - 1
    agents, dims = U(width(net)), net.size[layers] // 2
    for r in range(U(samples * width(net))):
        b, a = index[start + r // agents], stack + r % agents
        first = net.at[layers] + r * U(2 * dims)
        log_prob = F(0.0)
        for d in range(U(dims)):
            log_std = work[first + U(dims) + d]
            log_std = task.smallest if log_std < task.smallest else log_std  # in this form NaN stays NaN
            log_std = task.largest if log_std > task.largest else log_std
            z = F(0.0) if task.noise.shape[0] == 0 else task.noise[b, a, d]
            u = work[first + d] + F(math.exp(log_std)) * z
            softplus = F(math.log1p(math.exp(-F(2.0) * abs(u)))) + (F(-2.0) * u if u < F(0.0) else F(0.0))
            slope = F(2.0) * (LOG_2 - u - softplus)
            task.action[b, a, d] = task.centre[d] + task.half[d] * F(math.tanh(u))
            log_prob -= F(0.5) * z * z + log_std + LOG_SQRT_2PI + slope + F(math.log(task.half[d]))
        task.log_prob[b, a] = log_prob


@kernel_for(finish, Keep)
def keep(task, net, parameters, index, start, samples, stack, work):
    """Write the output down."""
    layers = net.size.shape[0] - 1
    agents = U(width(net))
    for r in range(U(samples * width(net))):
        task.value[index[start + r // agents], stack + r % agents] = work[net.at[layers] + r]


@kernel
def surrogate_slope(told, b, column, log_prob, totals):
    """Slope of the negated clipped surrogate by the log-probability; adds loss, KL, clipped and 1 to `totals`.

    L = -min(rho A, clip(rho, 1 - c, 1 + c) A),  rho = exp(log_prob - old). Where the clipped branch is the smaller one
    it is constant.
    """
    log_ratio = log_prob - told.old_log_prob[b, column]
    ratio = exp(log_ratio)
    advantage = told.advantage[b, column]
    low, high = F(1.0) - told.clip, F(1.0) + told.clip
    clipped = high if ratio > high else low if ratio < low else ratio
    gain, kept = ratio * advantage, clipped * advantage
    cut = kept < gain
    totals[0] -= kept if cut else gain
    totals[2] += ratio - F(1.0) - log_ratio
    totals[3] += abs(ratio - F(1.0)) > told.clip
    totals[COUNT] += 1
    return F(0.0) if cut else -gain


@kernel_for(errors, ChooseLoss)
def choose_errors(task, net, parameters, gradients, base, totals, index, start, samples, stack, work):
    """Slopes of surrogate and entropy by the logits x, per choice with H = -sum p log p:

    d log p_a / d x_k = [k = a] - p_k,    d H / d x_k = -p_k (log p_k + H)
    """
    log_softmax(net, task.sizes, task.mask, index, start, samples, stack, work)
    told = task.surrogate
    layers = net.size.shape[0] - 1
    agents, columns = U(width(net)), U(net.size[layers])
    push = told.entropy
    logs, errs = U(net.at[layers]), U(net.at[layers + 1])
    for i in range(U(samples)):
        b = index[start + i]
        for a in range(U(stack), U(stack) + agents):
            if told.use[b, told.first + a]:
                log_prob = F(0.0)
                k = U(0)
                for j in range(task.sizes.shape[0]):
                    log_prob += work[logs + k + U(task.action[b, a, j])]
                    k += U(task.sizes[j])
                pull = surrogate_slope(told, b, told.first + a, log_prob, totals)
                k = U(0)
                for j in range(task.sizes.shape[0]):
                    last = k + U(task.sizes[j])
                    entropy = F(0.0)
                    for c in range(k, last):
                        entropy -= work[errs + c] * work[logs + c]
                    totals[1] += entropy
                    for c in range(k, last):
                        p = work[errs + c]
                        work[errs + c] = p * (push * (work[logs + c] + entropy) - pull)
                    work[errs + k + U(task.action[b, a, j])] += pull
                    k = last
            else:
                for c in range(columns):
                    work[errs + c] = F(0.0)
            logs += columns
            errs += columns


@kernel_for(errors, PointLoss)
def point_errors(task, net, parameters, gradients, base, totals, index, start, samples, stack, work):
    """Slopes of surrogate and entropy by outputs y and log-deviations, with z = (a - m) / s, m = centre + half y:

    d log p / d y = half z / s = z / exp(log_std),    d log p / d log_std = z^2 - 1,    d H / d log_std = 1
    """
    told = task.surrogate
    layers = net.size.shape[0] - 1
    agents, columns = U(width(net)), net.size[layers]
    deviations = task.log_std + stack * columns
    for r in range(U(samples * width(net))):
        b, a = index[start + r // agents], stack + r % agents
        means, errs = net.at[layers] + r * columns, net.at[layers + 1] + r * columns
        if not told.use[b, told.first + a]:
            for d in range(columns):
                work[errs + d] = F(0.0)
            continue
        log_prob, entropy = F(0.0), F(0.0)
        for d in range(columns):
            log_std = parameters[deviations + d] + F(math.log(task.half[d]))
            mean = task.centre[d] + task.half[d] * work[means + d]
            z = (task.action[b, a, d] - mean) * F(math.exp(-log_std))
            work[errs + d] = z
            log_prob -= F(0.5) * z * z + log_std + LOG_SQRT_2PI
            entropy += log_std + F(0.5) + LOG_SQRT_2PI
        totals[1] += entropy
        pull = surrogate_slope(told, b, told.first + a, log_prob, totals)
        for d in range(columns):
            z = work[errs + d]
            work[errs + d] = pull * z * F(math.exp(-parameters[deviations + d]))
            gradients[base + deviations + d] += pull * (z * z - F(1.0)) - told.entropy


@kernel
def value_error(error, huber):
    """Huber's loss of an error, and its slope."""
    size = abs(error)
    if size > huber:
        return huber * (size - F(0.5) * huber), huber if error > F(0.0) else -huber
    return F(0.5) * error * error, error


@kernel_for(errors, ValueLoss)
def value_errors(task, net, parameters, gradients, base, totals, index, start, samples, stack, work):
    """Slope of the larger of the errors of the value and of the value kept within `clip` of the old one."""
    layers = net.size.shape[0] - 1
    agents = U(width(net))
    for r in range(U(samples * width(net))):
        b, column = index[start + r // agents], task.first + stack + r % agents
        value, err = work[net.at[layers] + r], net.at[layers + 1] + r
        work[err] = F(0.0)
        if not task.use[b, column]:
            continue
        target = task.target[b, column]
        loss, push = value_error(value - target, task.huber)
        moved = value - task.old[b, column]
        if abs(moved) > task.clip:
            kept = task.old[b, column] + (task.clip if moved > F(0.0) else -task.clip)
            held, _ = value_error(kept - target, task.huber)
            if held > loss:
                loss, push = held, F(0.0)
        totals[0] += loss
        totals[COUNT] += 1
        work[err] = task.weight * push
