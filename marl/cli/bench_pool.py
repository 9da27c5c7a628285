"""Training against a population: environment steps per second with one opponent and with many, taking turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from marl.cli import bench_plain
from marl.cli.bench_rows import Rounds, row
from scenarios.scenario import Scenario

if TYPE_CHECKING:
    from marl.acting import Actor
    from marl.cli.bench_train import Contender

ALGORITHM, COPIES, CROWD = "ippo", 128, 32


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Whole iterations of one learner whose opponents, drawn anew for every episode, are one past state or many."""
    from marl.cli.bench_train import race

    copies = (options.copies or (COPIES,))[0]
    speeds, _ = race([against(scenario, copies, count, options.threads) for count in (1, CROWD)], options)
    (alone, single), (crowded, speed) = speeds.items()
    yield row(alone, single, None)
    yield row(crowded, speed, (alone, single))


def against(scenario: Scenario, copies: int, count: int, threads: int) -> Contender:
    """A learner as leagues train it, in a population of `count` that does not grow."""
    import torch

    from league.student import Matchmaking
    from league.turns import FROZEN, Choice
    from marl.cli.bench_train import Contender, plan
    from marl.cli.plan import TRAINING_COPY
    from marl.policy import Policy
    from marl.seeding import derive
    from marl.trainer import Trainer

    made = plan(scenario, ALGORITHM, copies, threads)
    env = made.environment_of(copies, TRAINING_COPY, 0)
    (kind,) = (each.name for each in env.spec.kinds)
    learner = made.learner(env.spec, kind, 0)
    spec = learner.policy.spec

    def load(key: tuple[int, int], kind: str) -> Actor:
        return Policy(spec, torch.Generator().manual_seed(key[0]))

    keys = tuple((number, FROZEN) for number in range(1, count + 1))
    seating = Matchmaking(
        env=env,
        environment=scenario.environment,
        kind=kind,
        learner=learner.policy,
        number=0,
        key=derive(0, "matchmaking"),
        load=load,
        record=len,
        choices={kind: Choice(keys, (1 / count,) * count)},
        cache=count,
    )
    trainer = Trainer(env, {kind: learner}, {}, 10**12, bench_plain.STEPS, 0, seating=seating)
    what = f"{ALGORITHM}, {copies} x {bench_plain.STEPS}, {count} opponent{'s' if count > 1 else ''}"
    return Contender(f"{scenario.name}, {what}", trainer.iteration, copies * bench_plain.STEPS)
