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


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario. Random actions, episodes restarted where they end, no drawing.

    The contenders take turns in every round: what else happens on the machine happens to all.
    """
    name = scenario.environment
    reference = mpe2(name)
    contenders = [] if reference is None else [reference]
    contenders.append(Contender("1 copy, PettingZoo parallel", parallel(environments.parallel_env(name))))
    for copies in options.copies or COPIES:
        for threads in sorted({1, options.threads} if copies >= SMALL else {1}):
            label = f"{_count(copies, 'copy', 'copies')}, {_count(threads, 'thread', 'threads')}"
            contenders.append(Contender(label, batch(name, copies, threads), copies))
    speeds: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(options.rounds + 1):
        for each in contenders:
            speed = each.speed(options.seconds)
            if number:  # the first round is to warm up
                speeds[each.name].append(speed)
    against = None if reference is None else (reference.name, median(speeds[reference.name]))
    for each in contenders:
        yield row(f"{name}, {each.name}", median(speeds[each.name]), None if each is reference else against)


def batch(name: str, copies: int, threads: int) -> Callable[[int], object]:
    """Steps a batch."""
    env = environments.make(name, copies, num_threads=threads)
    rng = np.random.default_rng(0)
    actions = [{group.name: _draw(rng, group, copies) for group in env.spec.groups} for _ in range(DRAWS)]
    return lambda k: env.step(actions[k % DRAWS])


def mpe2(name: str) -> Contender | None:
    """mpe2's environment of the same rules, if any; None, said aloud, where mpe2 is not installed."""
    if name not in MPE2:
        return None
    try:
        version = importlib.metadata.version("mpe2")
        module = importlib.import_module(f"mpe2.{MPE2[name]}")
    except (importlib.metadata.PackageNotFoundError, ImportError):
        print("skipped: mpe2 is not installed, so there are no ratios; pip install 'marl[envs]'", file=sys.stderr)
        return None
    return Contender(f"mpe2 {version} parallel_env", parallel(module.parallel_env()))


def parallel(env: Any) -> Callable[[int], object]:
    """Steps a PettingZoo parallel environment, and resets it where nobody is left."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    actions = [{agent: int(rng.integers(space.n)) for agent, space in spaces.items()} for _ in range(DRAWS)]

    def step(k: int) -> None:
        joint = actions[k % DRAWS]
        env.step({agent: joint[agent] for agent in env.agents})
        if not env.agents:
            env.reset()

    return step


def _draw(rng: np.random.Generator, group: AgentGroup, copies: int) -> np.ndarray:
    shape, dtype = action_shape(group, copies)
    space: Any = group.action_space
    sizes = getattr(space, "nvec", None)
    return rng.integers(0, space.n if sizes is None else sizes, shape).astype(dtype)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
