"""Whole training, environment steps per second: our learners, and PPO written plainly with torch, taking turns."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from marl import config as settings
from marl.cli import bench_plain, bench_soft, bench_start
from marl.cli.bench_plain import EPOCHS, MINIBATCHES, WIDTH, plain_can
from marl.cli.bench_rows import Rounds, median, row
from marl.cli.plan import Learns, Plan, describe
from marl.engine import measure as engine
from scenarios.scenario import Scenario

COPIES = (16, 1024, 4096)
"""Further numbers of copies that are measured unless some are asked for."""
WARM = 2
"""Iterations before the first that counts."""

Iteration = Callable[[], Mapping[str, float] | None]


@dataclass(frozen=True)
class Contender:
    """One way of training, measured in turn with others."""

    name: str
    iteration: Iteration
    steps: int
    """Environment steps of an iteration."""


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario: everything at one size, then one learner at other sizes."""
    first, *others = options.copies or (128, *COPIES)
    yield from same_size(scenario, first, options)
    for copies in others:
        speeds, _ = race([trained(scenario, "mappo", copies, options.threads)], options)
        for name, speed in speeds.items():
            yield row(f"{scenario.name}, {name}", speed, None)
    yield from bench_soft.measure(scenario, options)
    yield from bench_start.measure(scenario, options)


def same_size(scenario: Scenario, copies: int, options: Rounds) -> Iterator[dict[str, Any]]:
    """The plain loop, IPPO and MAPPO on one thread and on all, MAPPO by torch, wider, and beside a busy process."""
    threads = options.threads
    main = trained(scenario, "mappo", copies, threads)
    contenders = [trained(scenario, "ippo", copies, threads), main]
    if threads > 1:
        contenders.append(trained(scenario, "mappo", copies, 1))
    contenders += [
        trained(scenario, "mappo", copies, threads, engine="torch"),
        trained(scenario, "mappo", copies, threads, width=2 * WIDTH),
    ]
    against: tuple[str, float] | None = None
    if plain_can(describe(scenario.environment, scenario.options)):
        loop = bench_plain.Plain(scenario, copies, threads)
        contenders.insert(0, Contender("plain torch PPO", loop.iteration, copies * bench_plain.STEPS))
    speeds, updates = race(contenders, options)
    for name, speed in speeds.items():
        yield row(f"{scenario.name}, {name}", speed, against)
        if against is None and name == contenders[0].name:
            against = (name, speed)
    yield products(scenario, main, updates[main.name], threads)
    if threads > 1:
        with busy_core():
            beside, _ = race([main], options)
        yield row(f"{scenario.name}, {main.name}, one core busy", beside[main.name], (main.name, speeds[main.name]))


def products(scenario: Scenario, contender: Contender, seconds: float, threads: int) -> dict[str, Any]:
    """The update alone against its matrix products alone, at the speed that the processor makes such products."""
    rate = engine.product_rate(threads, 64)
    flops = sum(engine.gradient_flops(passes.shape) for passes in _passes(contender)) * contender.steps * EPOCHS
    name = f"{scenario.name}, {contender.name}, updates alone"
    return row(name, contender.steps / seconds, ("its matrix products", rate * contender.steps / flops))


def _passes(contender: Contender) -> list[Any]:
    (learner,) = contender.iteration.__self__.learners.values()  # type: ignore[attr-defined]
    return [*learner.fused.actors.values(), *learner.fused.heads.values()]


def trained(
    scenario: Scenario, algorithm: str, copies: int, threads: int, engine: str = "auto", width: int = WIDTH
) -> Contender:
    """One of our learners."""
    words = [algorithm, f"{copies} x {bench_plain.STEPS}"]
    words += [f"{width} wide"] if width != WIDTH else []
    words += [f"{threads} thread{'s' if threads > 1 else ''}"] + ([f"{engine} engine"] if engine != "auto" else [])
    made = plan(scenario, algorithm, copies, threads, engine, width)
    return Contender(", ".join(words), made.build().iteration, copies * bench_plain.STEPS)


def plan(
    scenario: Scenario, algorithm: str, copies: int, threads: int, engine: str = "auto", width: int = WIDTH
) -> Plan:
    """A run of the measured shape that will not end."""
    shape = {
        "rollout_length": bench_plain.STEPS,
        "epochs": EPOCHS,
        "minibatches": MINIBATCHES,
        "hidden": (width, width),
        "activation": "tanh",
        "target_kl": None,
    }
    learner = settings.changed(settings.algorithm(algorithm).config, shape)
    train = settings.TrainConfig(num_envs=copies, threads=threads, total_steps=10**12)
    made = Plan(
        scenario.name,
        algorithm,
        scenario.environment,
        dict(scenario.options),
        "agent",
        settings.changed(train, {"engine": engine}),
        {team: Learns(algorithm, learner) for team in scenario.teams},
    )
    made.check()
    return made


def race(contenders: Sequence[Contender], options: Rounds) -> tuple[dict[str, float], dict[str, float]]:
    """Medians over rounds of environment steps per second, and of the seconds of an update.

    The contenders take turns in every round: what else happens on the machine happens to all.
    """
    speeds: dict[str, list[float]] = {each.name: [] for each in contenders}
    updates: dict[str, list[float]] = {each.name: [] for each in contenders}
    for each in contenders:
        for _ in range(WARM):
            each.iteration()
    for _ in range(options.rounds):
        for each in contenders:
            started, done = time.perf_counter(), 0
            while done == 0 or time.perf_counter() - started < options.seconds:
                metrics = each.iteration() or {}
                updates[each.name].append(metrics.get("time/update", np.inf))
                done += 1
            speeds[each.name].append(done * each.steps / (time.perf_counter() - started))
    return {name: median(all_of) for name, all_of in speeds.items()}, {
        name: median(all_of) for name, all_of in updates.items()
    }


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests, for as long as the context is open."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
