"""A whole rollout without the interpreter: act, step, and again, where policies and environment are compiled.

Copies know nothing of each other, so a thread takes a few of them through all steps, their numbers staying in cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments import workers
from environments.compile import kernel, kernel_for
from environments.vector import StepBuffers
from environments.workers import report, take
from marl.engine import SOURCES as _rules_folder  # noqa: F401 - tells the disk cache which files to watch
from marl.engine.calls import address, call, call_each, row_of
from marl.engine.fused import Passes, every
from marl.engine.heads import Choose, Point, Squash
from marl.engine.mlp import Network
from marl.engine.noise import draw, normal
from marl.engine.passes import evaluate

COPIES = 32
"""Copies that go through a rollout together, at most."""


class Group(NamedTuple):
    """The agents of a group in `S` seats of `E` copies, what they see and how likely their actions were; `T` steps."""

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
    noise: NDArray[np.float32]  # [S, n, J] the draws, by seat
    inputs: NDArray[np.float32 | np.uint8]  # [T, S, n, D]
    log_prob: NDArray[np.float32]  # [T, S, n] written


class Choices(NamedTuple):
    """Discrete actions of a group."""

    sizes: NDArray[np.int64]  # [J] numbers of actions, sum K
    mask: NDArray[np.bool_]  # [T, S, n, K], or [T, 0, 0, 0]
    action: NDArray[np.int32]  # [T, S, n, J] written


class Points(NamedTuple):
    """Box actions of a group, from normals or squashed ones."""

    task: Point | Squash  # of no step: for its numbers
    low: NDArray[np.float32]  # [d] bounds
    high: NDArray[np.float32]  # [d]
    action: NDArray[np.float32]  # [T, S, n, d] written
    given: NDArray[np.float32]  # [T, S, n, d] written: within the bounds


How = Choices | Points


class Now(NamedTuple):
    """A step of some copies, and the thread that takes them."""

    key: np.uint64  # of the acting noise
    seeds: NDArray[np.uint64]  # [E] of their episodes
    taken: NDArray[np.int64]  # [E] steps of these
    t: int
    first: int
    last: int
    counter: NDArray[np.int64]  # [2] as blocks of work take it
    who: int


def group(
    passes: Passes,
    how: How,
    agents: NDArray[np.int64],
    seats: int,
    draws: int,
    inputs: NDArray[Any],
    log_prob: NDArray[np.float32],
) -> Group:
    """A group, from what its fields of these names say."""
    network, parameters, numbers, work = passes.place()
    rows = log_prob.shape[1]
    memory = np.zeros((rows // seats, len(agents), draws), np.float32)
    noise = memory.reshape(rows, -1, draws)
    held = network, parameters, numbers, work, seats, every(rows), np.array([rows]), agents, memory, noise
    made = Group(0, *held, inputs, log_prob)
    given = _task(how, made), network, parameters, numbers, made.ends, inputs[0], made.every, work
    return made._replace(evaluate=address(evaluate, (*given, *workers.share(1, 1, 1))))


def _task(how: How, made: Group) -> Choose | Point | Squash:
    """As `task_of` the first step, by the interpreter."""
    if isinstance(how, Choices):
        return Choose(how.sizes, how.mask[0], made.noise, how.action[0], made.log_prob[0])
    return how.task._replace(noise=made.noise, action=how.action[0], log_prob=made.log_prob[0])


def take_all(
    env: Any,
    key: int,
    hows: Sequence[How],
    groups: Sequence[Group],
    moves: tuple[NDArray[Any], ...],
    out: StepBuffers,
    threads: int,
) -> None:
    """Take the copies of a compiled environment through T steps, in which `groups` act in this order.

    `moves` (what agents of `env.spec.groups` do) and `out` are written, `[T, E, ..]`; `key` is that of acting noise.
    """
    step, before, after = env.block()
    firsts = row(moves, 0), row(out, 0)
    place = address(step, (*before, *firsts, *after, *workers.share(1, 1, 1)))
    together = min(COPIES, -(-env.num_envs // threads))
    blocks = -(-env.num_envs // together)
    threads = min(threads, blocks)
    counters = np.zeros((threads, 2), np.int64)
    seeds = np.uint64(key), env.episode_seed, env.episode_step
    now = Now(*seeds, 0, 0, 0, counters[0], 0)
    places = np.array([address(act, (how, own, 0, now)) for how, own in zip(hows, groups, strict=True)])
    acting = places, tuple(hows), tuple(groups)
    arguments = (*seeds, *acting, place, before, moves, out, after, counters, env.num_envs, together)
    workers.shared(threads).run(play, arguments, blocks)


def row(x: Any, t: int) -> Any:
    """`row_of(x, t)`, by the interpreter: `x[t]` of everything in nested tuples."""
    if not isinstance(x, tuple):
        return x[t]
    parts = [row(part, t) for part in x]
    return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)


@kernel(entry=True)
def play(
    key, seeds, taken, places, hows, groups, step, before, moves, out, after, inner, copies, together, rows, size,
    progress, who,
):  # fmt: skip
    """Take all copies, `rows` blocks of some `together`, through the T steps of `moves` and `out`, group by group.

    `places` are addresses of `act` for each of `hows` and `groups`; `step` is that of the environment's block of work,
    given `(*before, moves, out, *after)` of each step; `inner [threads, 2]` are counters as blocks of work take them.
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
                call_each(places, hows, groups, Now(key, seeds, taken, t, first, last, counter, who))
                counter[1] = first
                work = (*before, row_of(moves, t), row_of(out, t), *after)
                call(step, (*work, last, last - first, counter, who))
        report(progress, block, stop)


@kernel(entry=True)
def act(how, own, number, now):
    """Let the agents of group `number` act in a step of some copies."""
    draw(now.key, now.seeds, now.taken, own.agents, own.draws, now.first, now.last)
    shape(how, own, now)
    now.counter[1] = now.first * own.seats
    seats = (now.last * own.seats, (now.last - now.first) * own.seats, now.counter, now.who)
    network = (own.network, own.parameters, own.numbers, own.ends)
    call(own.evaluate, (task_of(how, own, now.t), *network, own.inputs[now.t], own.every, own.work, *seats))
    give(how, own, now)


def shape(how: Any, own: Any, now: Any) -> None:
    """Make of uniform noise what a kind of actions wants; compiled for each."""
    raise NotImplementedError


def task_of(how: Any, own: Any, t: int) -> Any:
    """What `passes.evaluate` is to do with the outputs of a step; compiled for each kind of actions."""
    raise NotImplementedError


def give(how: Any, own: Any, now: Any) -> None:
    """Make of actions what the environment is given; compiled for each kind of them."""
    raise NotImplementedError


@kernel_for(shape, Choices)
def shape_choices(how, own, now):
    """It is wanted uniform."""


@kernel_for(task_of, Choices)
def task_of_choices(how, own, t):
    """Choose."""
    return Choose(how.sizes, how.mask[t], own.noise, how.action[t], own.log_prob[t])


@kernel_for(give, Choices)
def give_choices(how, own, now):
    """They are what it is given."""


@kernel_for(shape, Points)
def shape_points(how, own, now):
    """It is wanted normal."""
    for e in range(now.first, now.last):
        for n in range(own.draws.shape[1]):
            for k in range(own.draws.shape[2]):
                own.draws[e, n, k] = normal(own.draws[e, n, k])


@kernel_for(task_of, Points)
def task_of_points(how, own, t):
    """Point or squash."""
    return with_arrays(how.task, own.noise, how.action[t], own.log_prob[t])


def with_arrays(task: Any, noise: Any, action: Any, log_prob: Any) -> Any:
    """The task with these arrays; compiled for each kind."""
    raise NotImplementedError


@kernel_for(with_arrays, Point)
def point_with(task, noise, action, log_prob):
    """Point."""
    return Point(task.log_std, task.centre, task.half, noise, action, log_prob)


@kernel_for(with_arrays, Squash)
def squash_with(task, noise, action, log_prob):
    """Squash."""
    return Squash(task.centre, task.half, task.smallest, task.largest, noise, action, log_prob)


@kernel_for(give, Points)
def give_points(how, own, now):
    """As `distributions.legal_box`."""
    action, given = how.action[now.t], how.given[now.t]
    for s in range(now.first * own.seats, now.last * own.seats):
        for n in range(action.shape[1]):
            for k in range(action.shape[2]):
                x = action[s, n, k]
                x = how.low[k] if x < how.low[k] else x  # in this form NaN stays NaN
                given[s, n, k] = how.high[k] if x > how.high[k] else x


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
