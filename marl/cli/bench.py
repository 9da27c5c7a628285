"""`marl bench`: how fast environments and training are on this machine, beside what else can be measured here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from environments.errors import UsageError
from marl import files
from marl.cli.bench_rows import Rounds, figure
from marl.cli.parse import check_option
from scenarios import catalog

Part = Literal["env", "train", "league", "viewer"]
WHOLE: dict[Part, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "env": (
        ("particle/spread", "foraging/8x8-2p-2f", "warehouse/tiny-2ag", "board/connect_four", "skirmish/3m"),
        (1, 4096),
    ),
    "train": (("particle/spread",), (128,)),
    "league": (("board/connect_four",), ()),
    "viewer": (("particle/spread", "skirmish/3m"), ()),
}
"""What is measured where no part is named: scenarios of each part, and copies (where empty, the part's own choice)."""


@dataclass(frozen=True)
class Bench:
    """Measure environment steps per second; medians of several rounds, ratios within one run.

    `all`: a table of the four parts that follow, some scenarios of each, in a few minutes.

    `env`: every environment at several numbers of copies and threads, and one copy as a PettingZoo parallel
    environment, against other people's of the same rules where there are any. `env` of somebody else's (as in
    pettingzoo:MODULE): as it is, in this process, and eight copies for each of --threads workers, ours and SuperSuit's.

    `train`: whole iterations (128 steps, 4 epochs x 4 minibatches, separate 64x64 tanh networks), against the same
    written plainly with torch, taking turns; the share of an update that its matrix products alone would take; the
    same with one core kept busy; and the seconds from typing a command to its first step, all code compiled before.

    `league`: games between two players in blocks, as tournaments play them, against OpenSpiel's game at random one by
    one; and training as leagues do it, with 32 opponents in the pool against one.

    `viewer`: pictures of a running environment, against mpe2's; frames of a replay that plays, and of one whose time
    line is dragged, against a screen's 60 a second.
    """

    what: tyro.conf.Positional[Literal["all", "env", "train", "league", "viewer"]] = "all"
    """What is measured."""
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Scenarios of a part; by default all for `env`, board/connect_four for `league`, particle/spread else."""
    copies: tuple[int, ...] = ()
    """Copies of the environment, for a part; each 1 to 1048576. By default 1, 64 and 4096 for `env`, 128
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
    for name, value, low, high in (("threads", options.threads, 1, 1024), ("rounds", options.rounds, 1, 1000)):
        check_option(name, value, low, high)
    if not options.seconds > 0 or not all(1 <= copies <= 2**20 for copies in options.copies):
        raise UsageError("--seconds must be above 0, and --copies 1 to 1048576")
    if options.what == "all" and (options.names or options.copies):
        raise UsageError("scenarios and --copies are those of a part: marl bench env|train|league|viewer ...")
    parts = WHOLE if options.what == "all" else {options.what: (options.names, options.copies)}
    rows: list[dict[str, Any]] = []
    print(machine_name())
    for part, (names, copies) in parts.items():
        rounds = Rounds(copies, options.threads, options.rounds, options.seconds)
        for row in measured(part, names, rounds):
            whole = {"part": part} if options.what == "all" else {}
            rows.append(row | {"machine": machine_name()} | whole)
            print(line(rows[-1]), flush=True)
    if options.json is not None:
        files.write_json(options.json, rows)
    return 0


def measured(part: Part, names: Sequence[str], rounds: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of a part. UsageError on a name that the part cannot measure."""
    usual = {"env": tuple(catalog.SCENARIOS), "league": ("board/connect_four",)}
    foreign = next((name for name in names if ":" in name), None)
    if foreign is not None and part in ("train", "viewer"):
        raise UsageError(f"bench {part} is of the environments that ship here; marl bench env {foreign}")
    found = [catalog.find(name) for name in names or usual.get(part, ("particle/spread",))]
    for scenario in found:
        of = "external" if part == "env" and ":" in scenario.environment else part
        yield from importlib.import_module(f"marl.cli.bench_{of}").measure(scenario, rounds)


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    beside = "" if row["ratio"] is None else f"  {figure(row['ratio'], 1):>10} x {row['against']}"
    part = f"{row['part']:7} " if "part" in row else ""
    return f"{part}{row['name']:58} {figure(row['value'], 0):>14} {row['unit']}{beside}"


def machine_name() -> str:
    """Processor and number of cores."""
    from marl.runs import machine

    told = machine()
    return f"{told['cpu']}, {told['cores']} cores"
