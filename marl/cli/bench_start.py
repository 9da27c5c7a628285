"""How long `marl train` takes to begin, as one who types it sees it: in a process of its own, all code compiled."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from environments import registry
from environments.errors import EnvironmentFailure
from marl import config as settings
from marl import runs
from marl.cli.bench_rows import Rounds, median, row
from scenarios.scenario import Scenario

STARTED: dict[str, dict[str, Any]] = {"mappo": {}, "hasac": {"continuous_actions": True}}
"""Algorithm -> options of the environment, besides the scenario's own."""
TORCH = "import torch"


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """A row for each algorithm: seconds from typing the command to its first step, beside importing torch alone."""
    known = {field.name for field in fields(registry.game(scenario.environment).options)}
    commands = {name: extra for name, extra in STARTED.items() if extra.keys() <= known}
    seconds: dict[str, list[float]] = {name: [] for name in (TORCH, *commands)}
    for name, extra in commands.items():
        begun(name, scenario, options.threads, extra)  # this one compiles what is not there yet
    for _ in range(options.rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", TORCH], check=True)
        seconds[TORCH].append(time.perf_counter() - started)
        for name, extra in commands.items():
            seconds[name].append(begun(name, scenario, options.threads, extra))
    for name in commands:
        against = TORCH, median(seconds[TORCH])
        yield row(f"{scenario.name}, second start of marl train {name}", median(seconds[name]), against, "s")


def begun(algorithm: str, scenario: Scenario, threads: int, extra: Mapping[str, Any]) -> float:
    """Seconds from a command's start to its first step, with all loaded: to the end of the run's last iteration, less
    those after its first, and less what one takes.

    EnvironmentFailure where the command fails.
    """
    size = settings.TrainConfig().num_envs * settings.algorithm(algorithm).config.rollout_length
    words = [sys.executable, "-m", "marl.cli.main", "train", algorithm, scenario.name]
    for name, value in extra.items():
        words += [f"--env.{name.replace('_', '-')}", json.dumps(value)]
    with TemporaryDirectory() as folder:
        words += ["--total-steps", str(2 * size), "--threads", str(threads), "--run-dir", f"{folder}/run"]
        started = time.time()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EnvironmentFailure(f"marl train {algorithm} {scenario.name} failed: {done.stderr}")
        file = Path(folder) / "run" / runs.METRICS
        first, last = (json.loads(line) for line in file.read_text().splitlines())
        ended = file.stat().st_mtime
    iterations: float = last["time/total"] - first["time/total"]
    return ended - started - iterations - float(last["time/collect"]) - float(last["time/update"])
