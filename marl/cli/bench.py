"""`marl bench`: how fast environments and training are on this machine, beside what else can be measured here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Bench:
    """Measure environment steps per second; medians of several rounds, ratios within one run.

    `env` of somebody else's (`pettingzoo:MODULE`): as it is, in this process, and eight copies for each of --threads
    workers, ours and SuperSuit's.

    `env`: every environment at several numbers of copies and threads, and one copy as a PettingZoo parallel
    environment, against other people's of the same rules where there are any. `train`: whole iterations (128 steps,
    4 epochs x 4 minibatches, separate 64x64 tanh networks), against the same written plainly with torch, taking turns;
    the share of an update that its matrix products alone would take; and the same with one core kept busy. `league`:
    games between two players in blocks, as tournaments play them, against OpenSpiel's game at random one by one; and
    training as leagues do it, with 32 opponents in the pool against one.
    """

    what: tyro.conf.Positional[Literal["env", "train", "league"]]
    """What is measured."""
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Scenarios; by default all for `env`, particle/spread for `train`, board/connect_four for `league`."""
    copies: tuple[int, ...] = ()
    """Copies of the environment; each 1 to 1048576. By default 1, 64 and 4096 for `env`, 128
    and some others for `train`, 128 for `league`."""
    threads: int = 2
    """Processor threads, at most; 1 to 1024."""
    rounds: int = 5
    """Rounds of every measurement, of which the median counts; 1 to 1000."""
    seconds: float = 0.2
    """Length of a round; above 0. A round of training is at least one iteration."""
    json: Path | None = None
    """Write the rows to this file, as JSON."""


def run(options: Bench) -> int:
    """Measure and print row by row; returns the exit code."""
    from environments.errors import UsageError
    from marl.cli.bench_rows import Rounds
    from scenarios import catalog

    for name, value, low, high in (("threads", options.threads, 1, 1024), ("rounds", options.rounds, 1, 1000)):
        if not low <= value <= high:
            raise UsageError(f"{name} must be {low} to {high}, not {value}")
    if not options.seconds > 0 or not all(1 <= copies <= 2**20 for copies in options.copies):
        raise UsageError("seconds must be above 0, and copies 1 to 1048576")
    usual = {"env": tuple(catalog.SCENARIOS), "train": ("particle/spread",), "league": ("board/connect_four",)}
    names = options.names or usual[options.what]
    found = [catalog.find(name) for name in names]
    rounds = Rounds(options.copies, options.threads, options.rounds, options.seconds)
    if options.what == "env":
        from marl.cli.bench_env import measure
    elif options.what == "league":
        from marl.cli.bench_league import measure
    else:
        from marl.cli.bench_train import measure
    rows: list[dict[str, Any]] = []
    print(machine_name())
    for scenario in found:
        if ":" in scenario.environment and options.what == "env":
            from marl.cli import bench_external

            rows_of = bench_external.measure(scenario, rounds)
        else:
            rows_of = measure(scenario, rounds)
        for row in rows_of:
            rows.append(row | {"machine": machine_name()})
            print(line(row), flush=True)
    if options.json is not None:
        from marl import files

        files.write_json(options.json, rows)
    return 0


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    beside = "" if row["ratio"] is None else f"  {_ratio(row['ratio']):>10} x {row['against']}"
    return f"{row['name']:58} {row['value']:14,.0f} {row['unit']}{beside}"


def _ratio(ratio: float) -> str:
    """Small ones with a place more: 1.26 and 1.34 are not the same."""
    return f"{ratio:,.2f}" if ratio < 10 else f"{ratio:,.1f}"


def machine_name() -> str:
    """Processor and number of cores."""
    from marl.runs import machine

    told = machine()
    return f"{told['cpu']}, {told['cores']} cores"
