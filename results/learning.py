"""Trains and measures every row of the learning tables, one JSON file per (algorithm, scenario, variant, seed).

    python results/learning.py                      all that is missing, two runs side by side
    python results/learning.py --only spread        rows whose name contains the word
    python results/learning.py --list               the rows and what is done

Everything goes through the command line, so each file names the two commands that make it again. Rows that are done are
skipped; delete a file to measure it again. Runs themselves are kept under `runs/results/`.

A process runs the commands of many rows, to the same bits as typed ones: nothing random is global, every command begins
with states of its own, and a game's compiled code is the same for all. So torch is imported once, which takes longer
than to learn a matrix game. Somebody else's environment may hold anything: its commands get processes of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from marl.cli import main as command_line
from marl.cli.bench import machine_name

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "learning"
RUNS = ROOT / "runs" / "results"
EPISODES = 1000
CURVE_POINTS = (50_000, 120_000, 320_000, 500_000, 600_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
"""Environment steps at which the learning curve is noted; those below a million are where references were measured."""
GREEDY_POINTS = (35_000, 85_000, 110_000, 120_000, 135_000, 210_000, 260_000, 285_000, 320_000, 500_000, 1_000_000)
"""The same of greedy play, by the rows that evaluate it on the way."""


@dataclass(frozen=True)
class Row:
    """One line of a table: the same command for several seeds."""

    algorithm: str
    scenario: str
    variant: str
    steps: int
    seeds: int
    reward: str | None = None
    options: tuple[str, ...] = ()
    """More words of the training command."""
    episodes: int = EPISODES
    """Of each evaluation."""

    @property
    def name(self) -> str:
        """Part of the file names."""
        reward = f"-{self.reward}" if self.reward else ""
        variant = self.variant.replace(", ", "-").replace(" ", "-")
        scenario = self.scenario.replace("/", "-").replace(":", "-")
        return f"{scenario}-{self.algorithm}-{variant}{reward}"


def _off_policy(*names: str) -> list[Row]:
    """Learners from a replay buffer, as many steps as the reference implementation's were measured at."""
    options = ("--preset", "tuned", "--env.continuous-actions", "true")
    return [Row(name, "particle/spread", "continuous, tuned", 135_000, 3, None, options) for name in names]


def _critics() -> list[Row]:
    """HASAC's critics side by side: plain ones, also with as many updates as DroQ makes, and two of other kinds."""
    twice = ("--updates-per-step", "0.1")
    kinds: dict[str, tuple[str, ...]] = {
        "plain critics": (),
        "plain critics, twice the updates": twice,
        "droq critics, twice the updates": ("--critic-network", "droq", *twice),
        "simba critics": ("--critic-network", "simba", "--value-norm", "true"),
    }
    options = ("--preset", "tuned", "--env.continuous-actions", "true")
    return [
        Row("hasac", "particle/spread", f"continuous, {kind}", 200_000, 3, None, (*options, *more))
        for kind, more in kinds.items()
    ]


WATCHED = ("--eval-every", "5000", "--eval-greedy", "true", "--eval-record", "0")
"""100 greedy episodes from time to time, so that a run can be compared at any step."""
SMALL_ROLLOUTS = ("--num-envs", "32", "--rollout-length", "100", "--epochs", "10", "--learning-rate", "7e-4")
"""As MAPPO's preset `sample` of spread."""


def _first_million() -> list[Row]:
    """Where the reference implementation was measured, HASAC and HATD3 with as many updates, MAPPO and HAPPO as where
    MAPPO is at its best after a million steps of spread."""
    watched = "team_mean", (*SMALL_ROLLOUTS, *WATCHED)
    rows = [Row(name, "particle/spread", "watched", 1_000_000, 3, *watched) for name in ("mappo", "happo")]
    for task in ("spread", "reference", "speaker_listener"):
        place, variant = f"particle/{task}", "continuous, first million"
        common = ("--env.continuous-actions", "true", *WATCHED)
        off_policy = ("--preset", "tuned", *common)
        rows += [
            *(Row(name, place, variant, 1_000_000, 3, None, off_policy) for name in ("hasac", "hatd3")),
            Row("mappo", place, variant, 1_000_000, 3, None, (*SMALL_ROLLOUTS, *common)),
        ]
    soft = ("--preset", "tuned", *WATCHED)
    return rows + [Row(name, "particle/spread", "tuned", 500_000, 3, None, soft) for name in ("hasac", "masac", "isac")]


def _both(scenario: str, variant: str, steps: int, seeds: int, *options: str) -> list[Row]:
    return [Row(name, scenario, variant, steps, seeds, None, options) for name in ("mappo", "ippo")]


SIX_EPISODES = ("--rollout-length", "126", "--num-envs", "64")
"""Of `memory/recall`."""
REMEMBERS = (*SIX_EPISODES, "--recurrent", "gru", "--chunk-length", "21")
"""Gradients back to the sign."""


def _recalled(variant: str, *more: str) -> list[Row]:
    """`memory/recall` for learners of action values, rollouts being episodes."""
    size = ("--rollout-length", "21", "--num-envs", "16", "--hidden", "64", "--batch-size", "672", "--n-step", "1")
    pace = ("--learning-rate", "1e-3", "--adam-eps", "1e-5", "--warmup-steps", "5000", "--epsilon-steps", "60000")
    rewards = {"iql": None, "vdn": "team_sum", "qmix": "team_sum"}
    options = (*size, *pace, *more)
    return [Row(name, "memory/recall", variant, 100_000, 5, reward, options) for name, reward in rewards.items()]


def _cheetah(*names: str) -> list[Row]:
    """HalfCheetah with two players of three joints each: both are paid the same, so a team's return is twice that of
    its environment."""
    options = ("--env.scenario", "HalfCheetah", "--env.agent-conf", "2x3", "--preset", "halfcheetah", "--workers", "0")
    place, variant = "pettingzoo:gymnasium_robotics.mamujoco_v1", "HalfCheetah 2x3"
    return [Row(name, place, variant, 500_000, 3, "team_mean", options, episodes=100) for name in names]


ON_POLICY = ("ia2c", "maa2c", "ippo", "mappo", "happo", "hatrpo", "dpo")


def _held(*regions: str) -> list[Row]:
    """IPPO with another trust region than clipped ratios."""
    return [
        Row(
            "ippo", "particle/spread", f"first million, {region}", 1_000_000, 5, "team_mean", ("--trust-region", region)
        )
        for region in regions
    ]


def _matrix(game: str, variant: str, *options: str) -> list[Row]:
    """A game of one table for every learner of discrete actions."""
    names = (*ON_POLICY, "isac", "masac", "hasac", "iql", "vdn", "qmix")
    return [Row(name, f"matrix/{game}", variant, 20_000, 10, None, options) for name in names]


def _values(scenario: str, variant: str, steps: int, seeds: int, *options: str) -> list[Row]:
    """Learners of action values."""
    return [Row(name, scenario, variant, steps, seeds, None, options) for name in ("qmix", "vdn", "iql")]


ROWS = [
    Row("mappo", "particle/spread", "default", 10_000_000, 5, "agent"),
    Row("mappo", "particle/spread", "default", 10_000_000, 5, "team_mean"),
    Row("mappo", "particle/spread", "sample", 1_000_000, 5, "team_mean", ("--preset", "sample")),
    Row("mappo", "particle/spread", "tuned", 10_000_000, 3, "team_mean", ("--preset", "tuned")),
    Row("ippo", "particle/spread", "default", 2_000_000, 3, "agent"),
    Row("ippo", "particle/spread", "default", 10_000_000, 5, "team_mean"),
    *_both("particle/reference", "default", 3_000_000, 5),
    *_both("particle/speaker_listener", "default", 3_000_000, 5),
    *_both("particle/tag", "default", 1_000_000, 5),
    *_both("particle/adversary", "default", 1_000_000, 3),
    *_both("particle/spread", "continuous", 2_000_000, 3, "--env.continuous-actions", "true"),
    *_off_policy("hasac", "hatd3", "masac", "isac", "matd3", "haddpg", "maddpg"),
    *_critics(),
    *_first_million(),
    *_matrix("climbing", "tuned", "--preset", "tuned"),
    Row("hasac", "matrix/climbing", "published", 20_000, 10, None, ("--preset", "published")),
    *(row for k in (0, 25, 100) for row in _matrix("penalty", f"{k}", "--preset", "tuned", "--env.k", str(k))),
    *_values("particle/speaker_listener", "default", 300_000, 3),
    *_values("particle/spread", "default", 300_000, 3),
    # a sign to be remembered for twenty steps: networks that can, and the same without a memory
    *_both("memory/recall", "recurrent", 800_000, 5, *REMEMBERS),
    *_both("memory/recall", "feed-forward", 800_000, 5, *SIX_EPISODES),
    *_recalled("recurrent", "--recurrent", "gru", "--chunk-length", "21"),
    *_recalled("feed-forward"),
    Row("ippo", "roshambo/population", "default", 2_000_000, 3),
    # a goal that both know and that stays; that changes and only the leader knows; and the two steps between
    Row("ippo", "colorgrid/stationary", "default", 2_000_000, 5),
    Row("ippo", "colorgrid/leader_follower", "default", 2_000_000, 5),
    Row("ippo", "colorgrid/leader_follower", "both know", 2_000_000, 5, None, ("--env.knows-goal", "both")),
    Row("ippo", "colorgrid/leader_follower", "goal stays", 2_000_000, 5, None, ("--env.switch-probability", "0")),
    # learners from rollouts side by side; what holds a policy back
    *(Row(name, "particle/spread", "first million", 1_000_000, 5, "team_mean") for name in ON_POLICY),
    *_held("mdpo", "fixpo"),
    *(Row("happo", f"particle/{task}", "default", 3_000_000, 5) for task in ("reference", "speaker_listener")),
    Row("happo", "particle/spread", "default", 10_000_000, 5, "team_mean"),
    # beside the first million of ippo's curves on the same tasks
    *(Row("dpo", f"particle/{task}", "default", 1_000_000, 5) for task in ("reference", "speaker_listener")),
    *(Row("mappo", f"skirmish/{name}", "default", 5_000_000, 3) for name in ("3m", "8m", "2s3z", "5m_vs_6m")),
    *_both("foraging/8x8-2p-2f", "default", 500_000, 3),
    *(Row("mappo", f"warehouse/{name}", "default", 10_000_000, 3) for name in ("tiny-2ag", "tiny-4ag")),
    *_cheetah("hasac", "happo"),
    # the same learning by compiled gradients and by torch's
    Row("mappo", "particle/spread", "short", 2_000_000, 5, "agent"),
    Row("mappo", "particle/spread", "short, torch engine", 2_000_000, 5, "agent", ("--engine", "torch")),
    Row("mappo", "particle/tag", "torch engine", 1_000_000, 5, None, ("--engine", "torch")),
]


def measure(row: Row, seed: int) -> None:
    """Train and evaluate one run, unless its file is there."""
    path = FOLDER / f"{row.name}-{seed}.json"
    if path.exists():
        return
    folder = RUNS.relative_to(ROOT) / f"{row.name}-{seed}"  # relative: results name no machine's folders
    apart = ":" in row.scenario
    train = ["marl", "train", row.algorithm, row.scenario, "--seed", str(seed), "--total-steps", str(row.steps)]
    train += ["--reward", row.reward] if row.reward else []
    train += [*row.options, "--threads", "1", "--run-dir", str(folder)]
    begun = (ROOT / folder / "config.json").exists()
    clock = time.process_time()
    _run(["marl", "resume", str(folder)] if begun else train, apart)
    processor = {} if begun or apart else {"processor_seconds": time.process_time() - clock}
    sampled, sampled_command = _evaluate(row.episodes, apart, str(folder))
    greedy, _ = _evaluate(row.episodes, apart, str(folder), "--greedy")
    config = json.loads((ROOT / folder / "config.json").read_text())
    nobody = [word for team in config["teams"] for word in ("--team", f"{team}=random")]
    random, _ = _evaluate(row.episodes, apart, str(folder), *nobody)
    metrics = [json.loads(line) for line in (ROOT / folder / "metrics.jsonl").read_text().splitlines()]
    result = {
        "scenario": row.scenario,
        "algorithm": row.algorithm,
        "variant": row.variant,
        "reward": config["reward"],
        "seed": seed,
        "total_steps": row.steps,
        "seconds": metrics[-1]["time/total"],
        **processor,
        "machine": machine_name(),
        "versions": json.loads((ROOT / folder / "manifest.json").read_text())["versions"],
        "commands": [" ".join(train), " ".join(sampled_command)],
        "convention": "returns summed over agents, undiscounted; steps are environment steps; training curve sampled",
        "evaluation": sampled,
        "greedy": greedy,
        "random": random,
        "curve": _curve(metrics),
        **({"greedy_curve": _greedy_curve(metrics)} if "--eval-greedy" in row.options else {}),
    }
    FOLDER.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{path.name}: {sampled['sum']}", flush=True)


def _evaluate(episodes: int, apart: bool, what: str, *words: str) -> tuple[dict[str, Any], list[str]]:
    out = RUNS / f"evaluation-{Path(what).name}.json"
    command = ["marl", "evaluate", what, "--episodes", str(episodes), "--seed", "1000", *words]
    _run([*command, "--threads", "1", "--json", str(out)], apart)
    content: dict[str, Any] = json.loads(out.read_text())
    out.unlink()
    return content, command


def _curve(metrics: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Mean training return of the ten iterations up to each noted step (of fewer, near the start)."""
    curve = []
    for point in CURVE_POINTS:
        rows = [row for row in metrics if row["step"] <= point and "return" in row][-10:]
        if rows and metrics[-1]["step"] >= point:
            mean = sum(row["return"] for row in rows) / len(rows)
            curve.append({"step": point, "return": round(mean, 2)})
    return curve


def _greedy_curve(metrics: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Mean return of the first greedy evaluation at each noted step, or within an iteration after it."""
    curve = []
    measured = [row for row in metrics if "eval/return" in row]
    for point in GREEDY_POINTS:
        row = next((row for row in measured if row["step"] >= point), None)
        if row is not None:
            curve.append({"step": point, "return": round(row["eval/return"], 2), "episodes": row["eval/episodes"]})
    return curve


def _run(command: Sequence[str], apart: bool) -> None:
    """Run a command as if it was typed in the project's folder: here, or in a process of its own.

    KeyboardInterrupt where it was asked to stop, SystemExit where it failed.
    """
    if apart:
        process = [sys.executable, "-m", "marl.cli.main", *command[1:]]
        done = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, check=False)
        code, told = done.returncode, done.stderr
    else:
        said = io.StringIO()
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said)
        with quiet[0], quiet[1], contextlib.chdir(ROOT), mock.patch.object(sys, "argv", list(command)):
            code = command_line.main()
        told = said.getvalue()
    if code in (command_line.INTERRUPTED, command_line.TERMINATED):
        raise KeyboardInterrupt
    if code != 0:
        raise SystemExit(f"{' '.join(command)} failed with {code}: {told.strip()[-500:]}")


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name contains this word")
    parser.add_argument("--list", action="store_true", help="say what there is and what is done")
    parser.add_argument("--seeds", type=int, default=100, help="no more seeds than these of each row")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side")
    arguments = parser.parse_args()
    chosen = [row for row in ROWS if arguments.only in row.name]
    wanted = [(row, seed) for row in chosen for seed in range(min(row.seeds, arguments.seeds))]
    if arguments.list:
        for row, seed in wanted:
            print("done   " if (FOLDER / f"{row.name}-{seed}.json").exists() else "missing", f"{row.name}-{seed}")
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn"))
    try:
        for task in [pool.submit(measure, row, seed) for row, seed in wanted]:
            task.result()
    finally:
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
