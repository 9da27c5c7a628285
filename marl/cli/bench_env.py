"""Environment steps per second: batches, one copy as a PettingZoo environment, and mpe2's own."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import environments
from environments.spec import AgentGroup
from environments.vector import action_shape
from marl.cli.bench_rows import Rounds, median, row
from scenarios.scenario import Scenario

COPIES = (1, 64, 4096)
SMALL = 1024
"""Below it, one thread is measured alone: more would not be used."""
MPE2 = {
    "particle/simple": "simple_v3",
    "particle/adversary": "simple_adversary_v3",
    "particle/crypto": "simple_crypto_v3",
    "particle/push": "simple_push_v3",
    "particle/reference": "simple_reference_v3",
    "particle/speaker_listener": "simple_speaker_listener_v4",
    "particle/spread": "simple_spread_v3",
    "particle/tag": "simple_tag_v3",
    "particle/world_comm": "simple_world_comm_v3",
    "particle/formation": "simple_formation_v1",
    "particle/line": "simple_line_v1",
    "particle/collect_treasure": "collect_treasure_v1",
}
"""The environments that have the same rules as ours."""
DRAWS = 16
"""Joint actions drawn beforehand and used in turn: drawing is not what is measured."""


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario. Random actions, episodes restarted where they end, no drawing."""
    name = scenario.environment
    against = reference(name, options)
    if against is not None:
        yield row(f"{name}, {against[0]}", against[1], None)
    yield row(f"{name}, 1 copy, PettingZoo parallel", parallel_face(name, options), against)
    for copies in options.copies or COPIES:
        for threads in sorted({1, options.threads} if copies >= SMALL else {1}):
            speed = batch(name, copies, threads, options)
            yield row(
                f"{name}, {_count(copies, 'copy', 'copies')}, {_count(threads, 'thread', 'threads')}", speed, against
            )


def batch(name: str, copies: int, threads: int, options: Rounds) -> float:
    """Environment steps/s of a batch."""
    env = environments.make(name, copies, num_threads=threads)
    rng = np.random.default_rng(0)
    actions = [{group.name: _draw(rng, group, copies) for group in env.spec.groups} for _ in range(DRAWS)]

    def step(k: int) -> None:
        env.step(actions[k % DRAWS])

    speed = per_second(step, options) * copies
    env.close()
    return speed


def parallel_face(name: str, options: Rounds) -> float:
    """Environment steps/s of one copy as a PettingZoo parallel environment."""
    return _parallel(environments.parallel_env(name), options)


def reference(name: str, options: Rounds) -> tuple[str, float] | None:
    """mpe2's environment of the same rules, if any, and its steps/s; None, said aloud, where mpe2 is not installed."""
    if name not in MPE2:
        return None
    try:
        version = importlib.metadata.version("mpe2")
        module = importlib.import_module(f"mpe2.{MPE2[name]}")
    except (importlib.metadata.PackageNotFoundError, ImportError):
        print("skipped: mpe2 is not installed, so there are no ratios; pip install 'marl[envs]'", file=sys.stderr)
        return None
    return f"mpe2 {version} parallel_env", _parallel(module.parallel_env(), options)


def per_second(call: Callable[[int], None], options: Rounds) -> float:
    """Median over rounds of calls per second, after one round to warm up."""
    calls, k = 1, 0
    speeds = []
    for number in range(options.rounds + 1):
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < options.seconds:
            for _ in range(calls):
                call(k)
                k += 1
            done += calls
        speed = done / (time.perf_counter() - started)
        calls = max(1, int(speed * options.seconds / 20))  # look at the clock 20 times a round, not more
        if number:
            speeds.append(speed)
    return median(speeds)


def _parallel(env: Any, options: Rounds) -> float:
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    actions = [{agent: int(rng.integers(space.n)) for agent, space in spaces.items()} for _ in range(DRAWS)]

    def step(k: int) -> None:
        joint = actions[k % DRAWS]
        env.step({agent: joint[agent] for agent in env.agents})
        if not env.agents:
            env.reset()

    speed = per_second(step, options)
    env.close()
    return speed


def _draw(rng: np.random.Generator, group: AgentGroup, copies: int) -> np.ndarray:
    shape, dtype = action_shape(group, copies)
    space: Any = group.action_space
    sizes = getattr(space, "nvec", None)
    return rng.integers(0, space.n if sizes is None else sizes, shape).astype(dtype)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
