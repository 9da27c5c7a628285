"""Environment steps per second of somebody else's environment: as it is, in this process, in workers, by SuperSuit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.external import named, wraps
from environments.external.layout import is_turn_based, prepared
from environments.vector import VectorEnv, action_shape
from marl.cli.bench_env import Contender, medians
from marl.cli.bench_rows import Rounds, row
from scenarios.scenario import Scenario

COPIES = 8
"""Copies for each worker."""
DRAWS = 64
TURN = 0.2
"""Seconds of a turn, about: a round is cut in several, because the pace of a machine changes within seconds."""


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one environment; random actions, episodes restarted where they end.

    Ratios are to one copy as it is, and in a last row those of our workers to SuperSuit's at equal copies.
    """
    name, given = scenario.environment, dict(scenario.options)
    workers = options.threads
    copies = options.copies[0] if options.copies else COPIES * workers
    many: list[VectorEnv] = [
        named.batch(name, 1, 0, 0, given, 0),
        named.batch(name, copies, 0, 0, given, 0),
        named.batch(name, copies, 0, 0, given, min(workers, copies)),
    ]
    env = named.made_by(name, given)()
    env = prepared(env, name) if is_turn_based(env) else env  # as its own users have it
    contenders = []
    if not is_turn_based(env):
        contenders.append(Contender("1 copy, as it is", plain(env)))
    labels = (
        "1 copy in this process",
        f"{copies} copies in this process",
        f"{copies} copies in {min(workers, copies)} workers",
    )
    contenders += [Contender(label, stepper(each), each.num_envs) for label, each in zip(labels, many, strict=True)]
    theirs = None if is_turn_based(env) else wraps.batch(named.made_by(name, given), copies, workers)
    if theirs is not None:
        label = f"{copies} copies in {workers} workers, SuperSuit's own"
        contenders.append(Contender(label, batched(theirs), copies))
    turns = max(1, round(options.seconds / TURN))
    speeds = medians(contenders, replace(options, rounds=options.rounds * turns, seconds=options.seconds / turns))
    for each in (*many, *([theirs] if theirs is not None else [])):
        each.close()
    first = contenders[0]
    for contender in contenders:
        against = None if contender is first else (first.name, speeds[first.name])
        yield row(f"{scenario.name}, {contender.name}", speeds[contender.name], against)
    if theirs is not None:
        ours, last = labels[-1], contenders[-1].name
        yield row(f"{scenario.name}, {ours}", speeds[ours], (last, speeds[last]))


def plain(env: Any) -> Callable[[int], object]:
    """Steps a ParallelEnv as its own users do."""
    spaces_of = {agent: env.action_space(agent) for agent in env.possible_agents}
    for number, space in enumerate(spaces_of.values()):
        space.seed(number)
    drawn = [{agent: space.sample() for agent, space in spaces_of.items()} for _ in range(DRAWS)]
    env.reset(seed=0)

    def step(k: int) -> None:
        env.step({agent: drawn[k % DRAWS][agent] for agent in env.agents})
        if not env.agents:
            env.reset()

    return step


def batched(batch: Any) -> Callable[[int], object]:
    """Steps a batch of SuperSuit's by random actions."""
    batch.action_space.seed(0)
    drawn = [np.stack([batch.action_space.sample() for _ in range(batch.num_envs)]) for _ in range(DRAWS)]
    return lambda k: batch.step(drawn[k % DRAWS])


def stepper(env: VectorEnv) -> Callable[[int], object]:
    """Steps a batch by random actions, drawn beforehand; legal ones where somebody's actions can be illegal."""
    rng = np.random.default_rng(0)
    if any(group.masked for group in env.spec.groups):
        return lambda k: env.step(_drawn(env, rng))
    drawn = [_drawn(env, rng) for _ in range(DRAWS)]
    return lambda k: env.step(drawn[k % DRAWS])


def _drawn(env: VectorEnv, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random actions that are legal now."""
    actions: dict[str, np.ndarray] = {}
    for group, buffers in zip(env.spec.groups, env.buffers.groups, strict=True):
        shape, dtype = action_shape(group, env.num_envs)
        space: Any = group.action_space
        if isinstance(space, spaces.Box):
            low, high = (np.nan_to_num(bound.reshape(-1), posinf=1, neginf=-1) for bound in (space.low, space.high))
            actions[group.name] = rng.uniform(low, high, shape).astype(dtype)
        elif group.masked and isinstance(space, spaces.Discrete):
            actions[group.name] = (buffers.action_mask * rng.random(buffers.action_mask.shape)).argmax(-1).astype(dtype)
        else:
            ends = space.n if isinstance(space, spaces.Discrete) else space.nvec
            actions[group.name] = rng.integers(0, ends, shape).astype(dtype)
    return actions
