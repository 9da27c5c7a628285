"""A whole rollout without the interpreter: act, step, and again, where policies and environment are compiled.

Copies know nothing of each other, so a thread takes a few of them through all steps, their numbers staying in cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments import workers
from environments.compile import kernel
from environments.vector import StepBuffers
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.calls import address, call, row_of
from marl.engine.fused import Passes, every
from marl.engine.heads import Choose
from marl.engine.mlp import Network
from marl.engine.noise import draw
from marl.engine.passes import evaluate

COPIES = 32
"""Copies that go through a rollout together, at most."""


class Group(NamedTuple):
    """How the agents of a group act in `S` seats of `E` copies, and where that is written down; `T` steps."""

    evaluate: int
    """Address of `passes.evaluate`."""
    network: Network
    parameters: NDArray[np.int64]  # [1] their address
    numbers: int  # of them
    work: NDArray[np.float32]  # [threads, numbers]
    seats: int  # per copy
    every: NDArray[np.int64]  # [S]
    ends: NDArray[np.int64]  # [1] S
    agents: NDArray[np.int64]  # [N] places in `spec.agents`
    draws: NDArray[np.float32]  # [E, N, J] memory for a step's noise
    sizes: NDArray[np.int64]  # [J] numbers of actions, sum K
    noise: NDArray[np.float32]  # [S, n, J] the draws, by seat
    inputs: NDArray[np.float32 | np.uint8]  # [T, S, n, D]
    mask: NDArray[np.bool_]  # [T, S, n, K], or [T, 0, 0, 0]
    action: NDArray[np.int32]  # [T, S, n, J] written
    log_prob: NDArray[np.float32]  # [T, S, n] written


def group(
    passes: Passes, sizes: NDArray[np.int64], agents: NDArray[np.int64], seats: int, **steps: NDArray[Any]
) -> Group:
    """A group, from what its fields of these names say; `steps`: those with an axis of T."""
    network, parameters, numbers, work = passes.place()
    rows = steps["log_prob"].shape[1]
    draws = np.zeros((rows // seats, len(agents), len(sizes)), np.float32)
    noise = draws.reshape(rows, -1, len(sizes))
    made = Group(
        0,
        network,
        parameters,
        numbers,
        work,
        seats,
        every(rows),
        np.array([rows]),
        agents,
        draws,
        sizes,
        noise,
        **steps,
    )
    return made._replace(evaluate=address(evaluate, _evaluated(made)))


def _evaluated(g: Group) -> tuple[Any, ...]:
    """What `passes.evaluate` is given in the first step."""
    choose = Choose(g.sizes, g.mask[0], g.noise, g.action[0], g.log_prob[0])
    network = g.network, g.parameters, g.numbers, g.ends
    return (choose, *network, g.inputs[0], g.every, g.work, *workers.share(1, 1, 1))


def take_all(
    env: Any, key: int, groups: Sequence[Group], actions: tuple[NDArray[Any], ...], out: StepBuffers, threads: int
) -> None:
    """Take the copies of a compiled environment through T steps, in which `groups` act in this order.

    `actions` (of `env.spec.groups`) and `out` are written, `[T, E, ..]`; `key` is that of the acting noise.
    """
    step, before, after = env.block()
    firsts = row(actions, 0), row(out, 0)
    place = address(step, (*before, *firsts, *after, *workers.share(1, 1, 1)))
    together = min(COPIES, -(-env.num_envs // threads))
    blocks = -(-env.num_envs // together)
    threads = min(threads, blocks)
    counters = np.zeros((threads, 2), np.int64)
    seeds = np.uint64(key), env.episode_seed, env.episode_step
    arguments = (*seeds, tuple(groups), place, before, actions, out, after, counters, env.num_envs, together)
    workers.shared(threads).run(play, arguments, blocks)


def row(x: Any, t: int) -> Any:
    """`row_of(x, t)`, by the interpreter: `x[t]` of everything in nested tuples."""
    if not isinstance(x, tuple):
        return x[t]
    parts = [row(part, t) for part in x]
    return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)


@kernel(entry=True)
def play(
    key, seeds, taken, groups, step, before, actions, out, after, inner, copies, together, rows, size, progress, who
):
    """Take all copies, `rows` blocks of some `together`, through the T steps of `actions` and `out`, group by group.

    `step` is the address of the environment's block of work, given `(*before, actions, out, *after)` of each step;
    `inner [threads, 2]` are counters as blocks of work take them.
    """
    counter = inner[who]
    while True:
        block, stop = take(progress, rows, size, who)
        if block >= rows:
            return
        begin, end = block * together, min(stop * together, copies)
        for first in range(begin, end, together):
            last = min(first + together, end)
            for t in range(out.episode_over.shape[0]):
                for g in range(len(groups)):
                    own = groups[g]
                    draw(key, seeds, taken, own.agents, own.draws, first, last)
                    choose = Choose(own.sizes, own.mask[t], own.noise, own.action[t], own.log_prob[t])
                    counter[1] = first * own.seats
                    seats = (last * own.seats, (last - first) * own.seats, counter, who)
                    network = (own.network, own.parameters, own.numbers, own.ends)
                    call(own.evaluate, (choose, *network, own.inputs[t], own.every, own.work, *seats))
                counter[1] = first
                work = (*before, row_of(actions, t), row_of(out, t), *after)
                call(step, (*work, last, last - first, counter, who))
        report(progress, block, stop)


@kernel(entry=True)
def tally(running, taken, paid, over, totals, lengths):
    """Returns `totals [T, E, teams]` and `lengths [T, E]` of the open episodes after each step, from what each group is
    `paid [G, T, E, teams]`; `running [E, teams]` and `taken [E]` are those before, and become those after."""
    for t in range(over.shape[0]):
        for e in range(over.shape[1]):
            taken[e] += 1
            lengths[t, e] = taken[e]
            for k in range(running.shape[1]):
                for g in range(paid.shape[0]):
                    running[e, k] += paid[g, t, e, k]
                totals[t, e, k] = running[e, k]
            if over[t, e]:
                taken[e] = 0
                for k in range(running.shape[1]):
                    running[e, k] = 0.0
