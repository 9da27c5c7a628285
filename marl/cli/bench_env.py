"""Environment steps per second: batches, one copy as a PettingZoo environment, and other people's of the same rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import environments
from environments.spec import AgentGroup
from environments.vector import action_shape
from marl.cli import bench_peers
from marl.cli.bench_rows import Rounds, median, row
from scenarios.scenario import Scenario

COPIES = (1, 64, 4096)
SMALL = 1024
"""Below it, one thread is measured alone: more would not be used."""


class Contender:
    """Something that steps environments, measured in turn with others."""

    def __init__(self, name: str, step: Callable[[int], object], copies: int = 1) -> None:
        self.name, self.copies = name, copies
        self._step = step
        self._done = 0
        self._calls = 1
        """Calls between two looks at the clock: about twenty looks a round."""

    def speed(self, seconds: float) -> float:
        """Environment steps per second of a round."""
        started, first = time.perf_counter(), self._done
        while (passed := time.perf_counter() - started) < seconds:
            for k in range(self._done, self._done + self._calls):
                self._step(k)
            self._done += self._calls
        per_second = (self._done - first) / passed
        self._calls = max(1, int(per_second * seconds / 20))
        return per_second * self.copies


def medians(contenders: Sequence[Contender], options: Rounds) -> dict[str, float]:
    """Median speed of each by name; they take turns in every round, and the first round is to warm up."""
    speeds: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(options.rounds + 1):
        for each in contenders:
            speed = each.speed(options.seconds)
            if number:
                speeds[each.name].append(speed)
    return {name: median(found) for name, found in speeds.items()}


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario. Random actions, episodes restarted where they end, no drawing.

    The contenders take turns in every round: what else happens on the machine happens to all.
    """
    peer = bench_peers.find(scenario)
    reference = None if peer is None else Contender(*peer)
    contenders = [] if reference is None else [reference]
    face = environments.parallel_env(scenario.environment, **scenario.options)
    contenders.append(Contender("1 copy, PettingZoo parallel", bench_peers.parallel(face)))
    for copies in options.copies or COPIES:
        for threads in sorted({1, options.threads} if copies >= SMALL else {1}):
            label = f"{_count(copies, 'copy', 'copies')}, {_count(threads, 'thread', 'threads')}"
            contenders.append(Contender(label, batch(scenario, copies, threads), copies))
    speeds = medians(contenders, options)
    against = None if reference is None else (reference.name, speeds[reference.name])
    for each in contenders:
        yield row(f"{scenario.name}, {each.name}", speeds[each.name], None if each is reference else against)


def batch(scenario: Scenario, copies: int, threads: int) -> Callable[[int], object]:
    """Steps a batch."""
    env = environments.make(scenario.environment, copies, num_threads=threads, **scenario.options)
    rng = np.random.default_rng(0)
    actions = [{group.name: _draw(rng, group, copies) for group in env.spec.groups} for _ in range(bench_peers.DRAWS)]
    return lambda k: env.step(actions[k % bench_peers.DRAWS])


def _draw(rng: np.random.Generator, group: AgentGroup, copies: int) -> np.ndarray:
    shape, dtype = action_shape(group, copies)
    space: Any = group.action_space
    sizes = getattr(space, "nvec", None)
    return rng.integers(0, space.n if sizes is None else sizes, shape).astype(dtype)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
