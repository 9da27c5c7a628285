"""Renders the measurements in this folder as Markdown tables, between markers in README.md and the pages of docs/.

    python results/table.py            write the tables, and what `marl list scenarios` knows of the same
    python results/table.py --check    exit 1 where a page is out of step

A table stands between `<!-- results:SELECTION -->` and `<!-- end -->`; SELECTION is `all` (but games of one table),
`matrix` (those), `some` (README's), an algorithm's or a scenario's name, `curves:SCENARIO` (training returns on the
way), `greedy:SCENARIO` (greedy ones, beside those of the published implementation), `won` (how often training runs win,
where there is such a metric), `tictactoe`, `bench` (one run of all parts of `marl bench`) or `speed` (each in full).

A file `NAME.json` here, or in a folder below, is one of these:

- an object, one training run: `scenario`, `algorithm`, `variant` ("default", "tuned", ...), `reward` (what agents were
  paid), `seed`, `total_steps` (environment steps), `seconds` of training by the clock, perhaps `processor_seconds`,
  `machine`, and `evaluation`, `greedy` and `random`, each as `marl evaluate --json` writes it: returns summed over
  agents, undiscounted;
- a list, as `marl bench --json` writes it: `name`, `value`, `unit`, `ratio`, `against`, `machine`, and `part` where it
  measured all parts (`bench.json`);
- an object with `lines`, a tic-tac-toe player against every line of replies, as `tictactoe.py` writes it;
- an object with `baselines`, random play in every scenario, as `baselines.py` writes it;
- an object with `rounds`, a tournament's matches, which the script that played them renders itself;
- an object with `probes`, which probe came to what for which learner, as `probes.py` writes and renders it;
- an object with `cores`, a league that was grown or measured, as `leagues.py` writes and renders it;
- an object with `doctor`, what `marl check` found in somebody else's environment, as `peers.py` writes it.

Runs that differ by their seed alone are one row: the interquartile mean over seeds of the mean return per run, with
its 95 % stratified bootstrap interval (with one seed, the interval over its episodes).
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from marl.cli.bench_rows import figure
from marl.statistics import iqm, iqm_curve
from scenarios import catalog
from scenarios.measured import FILE

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/**/*.md")
MARKED = re.compile(r"(<!-- results:(\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SPEED_AT = "4096 copies, 2 threads"
NOTHING = "Not measured yet.\n"
ENDS = ("won", "drawn", "lost")
OTHERS = {"rounds", "doctor", "baselines", "lines", "probes", "cores"}
"""What only files have that are rendered elsewhere."""

Run = Mapping[str, Any]
FIRST = "continuous, first million"
SOME = {
    "particle/spread": ("ippo", "happo", "mappo, tuned", *(f"{name}, {FIRST}" for name in ("hasac", "hatd3", "mappo"))),
    **{
        f"particle/{task}": ("mappo", *(f"{name}, {FIRST}" for name in ("hasac", "hatd3", "mappo")))
        for task in ("reference", "speaker_listener")
    },
    "particle/tag": ("mappo",),
    "foraging/8x8-2p-2f": ("ippo",),
    "warehouse/tiny-2ag": ("mappo",),
    "skirmish/5m_vs_6m": ("mappo",),
    "memory/recall": ("mappo, feed-forward", "mappo, recurrent"),
    "pettingzoo:gymnasium_robotics.mamujoco_v1": ("happo, HalfCheetah 2x3", "hasac, HalfCheetah 2x3"),
}
"""Scenario -> learners, of each the longest runs: what README shows."""
MATRIX = {
    "climbing": ("matrix/climbing", ("tuned", "published")),
    "penalty, k = 0": ("matrix/penalty", ("0",)),
    "penalty, k = 25": ("matrix/penalty", ("25",)),
    "penalty, k = 100": ("matrix/penalty", ("100",)),
}
"""Column -> scenario and variants of its runs."""
REFERENCES = {
    "particle/spread": {
        "happo": {120_000: -69.0, 320_000: -60.0, 1_000_000: -55.0},
        "mappo": {1_000_000: -51.0},
        "hasac, continuous": {35_000: -59.3, 85_000: -52.9, 135_000: -46.5, 210_000: -42.3, 285_000: -41.7},
        "hatd3, continuous": {35_000: -67.7, 85_000: -57.8, 135_000: -50.1, 210_000: -40.4, 285_000: -40.5},
    },
    "particle/speaker_listener": {"hasac, continuous": {35_000: -33.2, 110_000: -24.9, 210_000: -20.0, 260_000: -17.5}},
}
"""Scenario -> algorithm -> environment steps -> mean of 100 greedy episodes, returns summed over the team's agents: the
published implementation with its tuned settings (replay learners with widths 256, 20 copies, an update per 20 steps) on
mpe2, one seed."""


def load(folder: Path = ROOT / "results") -> tuple[list[Run], list[Run]]:
    """All training runs and all benchmark rows, in the order of file names. ValueError names a file that is neither."""
    runs: list[Run] = []
    speeds: list[Run] = []
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, list):
            speeds += content
        elif isinstance(content, dict) and "evaluation" in content:
            runs.append(content)
        elif isinstance(content, dict) and content.keys() & OTHERS:
            continue
        else:
            raise ValueError(f"{path} is neither a training run, a list of benchmark rows nor a tournament")
    return runs, speeds


def load_lines(folder: Path = ROOT / "results" / "tictactoe") -> dict[str, list[Run]]:
    """What tic-tac-toe players came to against every line of replies: name of the row -> its seeds."""
    rows = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        rows[path.stem.rpartition("-")[0]].append(json.loads(path.read_text()))
    return dict(rows)


def fill(
    page: str, runs: Sequence[Run], speeds: Sequence[Run], lines: Mapping[str, Sequence[Run]] = MappingProxyType({})
) -> str:
    """The page with every marked table rendered anew."""

    def table(match: re.Match[str]) -> str:
        selection = match[2]
        if selection == "speed":
            body = speed_table(_of_parts(speeds))
        elif selection == "bench":
            body = speed_table([row for row in speeds if "part" in row])
        elif selection == "won":
            body = wins_table(runs)
        elif selection == "tictactoe":
            body = lines_table(lines)
        elif selection.startswith("greedy:"):
            scenario = selection.removeprefix("greedy:")
            body = greedy_table([run for run in runs if run["scenario"] == scenario], REFERENCES.get(scenario, {}))
        elif selection.startswith("curves:"):
            body = curves_table([run for run in runs if run["scenario"] == selection.removeprefix("curves:")])
        elif selection == "matrix":
            body = matrix_table(runs)
        elif selection == "some":
            body = learning_table(some(runs))
        elif selection == "all":
            body = learning_table([run for run in runs if not run["scenario"].startswith("matrix/")])
        else:
            body = learning_table([run for run in runs if selection in (run["algorithm"], run["scenario"])])
        return f"{match[1]}{body}{match[4]}"

    return MARKED.sub(table, page)


def learning_table(runs: Iterable[Run]) -> str:
    """One row per scenario, algorithm, variant, reward and number of steps."""
    rows = alike(runs)
    if not rows:
        return NOTHING
    lines = [
        "| scenario | algorithm | reward | steps | seeds | return [95 % interval] | greedy | random play | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (scenario, algorithm, variant, reward, steps), seeds in sorted(rows.items()):
        name = _named(algorithm, variant)
        minutes = sum(run.get("processor_seconds", run["seconds"]) for run in seeds) / len(seeds) / 60
        measured = (_returns(seeds, "evaluation"), _returns(seeds, "greedy"), _random(seeds))
        cells = (scenario, name, reward, _steps(steps), len(seeds), *measured, f"{minutes:.1f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", _conventions([run for seeds in rows.values() for run in seeds]), ""])


def curves_table(runs: Iterable[Run]) -> str:
    """Training returns at some numbers of environment steps, a row for runs that differ by their seed alone."""
    rows = alike(run for run in runs if run.get("curve"))
    if not rows:
        return NOTHING
    points = sorted({point["step"] for seeds in rows.values() for run in seeds for point in run["curve"]})
    lines = [f"| algorithm | reward | seeds | {' | '.join(map(_steps, points))} |", "|---" * (3 + len(points)) + "|"]
    for (_, algorithm, variant, reward, _), seeds in sorted(rows.items()):
        steps = [point["step"] for point in seeds[0]["curve"]]
        found = np.stack(iqm_curve([[point["return"] for point in run["curve"]] for run in seeds]), 1)
        cells = {step: _interval(row) for step, row in zip(steps, found.tolist(), strict=True)}
        name = _named(algorithm, variant)
        lines.append(f"| {name} | {reward} | {len(seeds)} | {' | '.join(cells.get(at, '') for at in points)} |")
    text = "Returns of training episodes, summed over the team's agents; IQM over seeds with its 95 % interval."
    return "\n".join([*lines, "", text, ""])


def greedy_table(runs: Iterable[Run], references: Mapping[str, Mapping[int, float]]) -> str:
    """Greedy returns at some numbers of environment steps, as `curves_table`; those of references in rows before."""
    rows = alike(run for run in runs if run.get("greedy_curve"))
    if not rows:
        return NOTHING
    steps = {point["step"] for seeds in rows.values() for run in seeds for point in run["greedy_curve"]}
    points = sorted(steps.union(*references.values()))
    lines = [f"| algorithm | seeds | {' | '.join(map(_steps, points))} |", "|---" * (2 + len(points)) + "|"]
    for algorithm, known in references.items():
        cells = [f"{known[at]:.1f}" if at in known else "" for at in points]
        lines.append(f"| {algorithm}, published implementation | 1 | {' | '.join(cells)} |")
    for (_, algorithm, variant, _, _), seeds in sorted(rows.items()):
        cells = []
        for at in points:
            found = [point["return"] for run in seeds for point in run["greedy_curve"] if point["step"] == at]
            cells.append(_interval(iqm(found)) if len(found) > 1 else "".join(map(_figure, found)))
        lines.append(f"| {algorithm}, {variant} | {len(seeds)} | {' | '.join(cells)} |")
    text = "Greedy returns, 100 episodes a seed, summed over the team's agents; IQM over seeds with its 95 % interval."
    return "\n".join([*lines, "", text, ""])


def some(runs: Iterable[Run]) -> list[Run]:
    """The runs that `SOME` names; of several lengths and rewards the longest runs, then those with the best return."""
    chosen: dict[tuple[str, str], list[Run]] = {}
    for seeds in alike(runs).values():
        place = seeds[0]["scenario"], _named(seeds[0]["algorithm"], seeds[0]["variant"])
        if place[1] in SOME.get(place[0], ()):
            chosen[place] = max(seeds, chosen.get(place, seeds), key=lambda row: (row[0]["total_steps"], _sum(row)))
    return [run for seeds in chosen.values() for run in seeds]


def matrix_table(runs: Iterable[Run]) -> str:
    """Games of one table: what one agent is paid, as the literature states it, and how many seeds found the optimum."""
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for (scenario, algorithm, variant, _, _), seeds in sorted(alike(runs).items()):
        for column, (place, variants) in MATRIX.items():
            if scenario == place and variant in variants:
                middle, low, high = spread_of(seeds, "greedy", "team")
                paid = _interval((middle / 2, low / 2, high / 2))
                best = sum(run["greedy"]["metrics"]["optimal"]["mean"] > 0.5 for run in seeds)
                name = f"{algorithm}, published" if variant == "published" else algorithm
                rows[name][column] = f"{paid}, {best} of {len(seeds)}"
    if not rows:
        return NOTHING
    lines = [f"| algorithm | {' | '.join(MATRIX)} |", "|---" * (1 + len(MATRIX)) + "|"]
    for name, cells in sorted(rows.items()):
        lines.append(f"| {name} | {' | '.join(cells.get(column, '') for column in MATRIX)} |")
    text = (
        "Greedy returns of one agent (half of the team's) after 20k steps, IQM over seeds with its 95 % interval; then "
        "in how many seeds the joint action is a best one. Those pay 275 in climbing and 250 in the penalty games."
    )
    return "\n".join([*lines, "", text, ""])


def wins_table(runs: Iterable[Run]) -> str:
    """How often runs end in a victory, where their environment has such a metric."""
    rows = alike(run for run in runs if "won" in run["evaluation"].get("metrics", {}))
    if not rows:
        return NOTHING
    lines = ["| scenario | algorithm | steps | seeds | won | greedy | random play |", "|---|---|---|---|---|---|---|"]
    known = [run for seeds in rows.values() for run in seeds]
    for (scenario, algorithm, _, _, steps), seeds in sorted(rows.items()):
        cells = []
        for play in ("evaluation", "greedy", "random"):
            middle, low, high = spread([run[play]["metrics"]["won"] for run in seeds])
            cells.append(f"{100 * middle:.1f} % [{100 * max(low, 0):.1f}, {100 * min(high, 1):.1f}]")
        lines.append(f"| {scenario} | {algorithm} | {_steps(steps)} | {len(seeds)} | {' | '.join(cells)} |")
    text = "Share of episodes won; IQM over seeds with its 95 % interval (over episodes where there is one seed)."
    return "\n".join([*lines, "", f"{text} {_episodes(known)}", ""])


def lines_table(rows: Mapping[str, Sequence[Run]]) -> str:
    """Of each way to train, the seeds' lines of play that were won, drawn and lost, both seats together."""
    if not rows:
        return NOTHING
    lines = ["| row | steps | seeds | won | drawn | lost | minutes |", "|---|---|---|---|---|---|---|"]
    for name, seeds in rows.items():
        ends = {end: [sum(seat[end] for seat in run["lines"].values()) for run in seeds] for end in ENDS}
        minutes = sum(run["seconds"] for run in seeds) / len(seeds) / 60
        counts = " | ".join(", ".join(map(str, found)) for found in ends.values())
        lines.append(f"| {name} | {seeds[0]['steps'] / 1e6:.1f}M | {len(seeds)} | {counts} | {minutes:.0f} |")
    text = "Lines of play, one figure for each seed: the greedy policy, in both seats, against every line of replies."
    return "\n".join([*lines, "", text, ""])


def alike(runs: Iterable[Run]) -> dict[tuple[Any, ...], list[Run]]:
    """Runs that differ by their seed alone: (scenario, algorithm, variant, reward, steps) -> them."""
    rows = defaultdict(list)
    for run in runs:
        rows[tuple(run[key] for key in ("scenario", "algorithm", "variant", "reward", "total_steps"))].append(run)
    return dict(rows)


def measured(runs: Iterable[Run], speeds: Sequence[Run], baselines: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `scenarios/measured.json`, as `scenarios.measured` reads it."""
    by_name = {row["name"]: row["value"] for row in _of_parts(speeds)}
    learned = defaultdict(list)
    for (scenario, algorithm, variant, reward, steps), seeds in sorted(alike(runs).items()):
        returns = {team: [round(x, 4) for x in spread_of(seeds, "evaluation", team)] for team in _teams(seeds)}
        metrics = {
            name: [round(x, 4) for x in spread([run["evaluation"]["metrics"][name] for run in seeds])]
            for name in seeds[0]["evaluation"].get("metrics", {})
        }
        row = {"algorithm": algorithm, "variant": variant, "reward": reward, "steps": steps, "seeds": len(seeds)}
        learned[scenario].append(row | {"returns": returns, "metrics": metrics})
    return {
        name: {
            "speed": by_name.get(f"{name}, {SPEED_AT}"),
            "random": {team: row["mean"] for team, row in baselines.get(name, {"teams": {}})["teams"].items()} or None,
            "learned": learned[name],
        }
        for name in catalog.SCENARIOS
    }


def _of_parts(speeds: Sequence[Run]) -> list[Run]:
    """Rows of runs that measured one part in full."""
    return [row for row in speeds if "part" not in row]


def speed_table(speeds: Sequence[Run]) -> str:
    """One row per figure, with what it was compared to in the same run."""
    if not speeds:
        return NOTHING
    lines = ["| what | figure | ratio | against |", "|---|---|---|---|"]
    for row in speeds:
        ratio = "" if row.get("ratio") is None else f"{row['ratio']:,.1f}x"
        name = ": ".join([*([row["part"]] if "part" in row else []), row["name"]])
        lines.append(f"| {name} | {figure(row['value'], 0)} {row['unit']} | {ratio} | {row.get('against') or ''} |")
    machines = sorted({_machine(row["machine"]) for row in speeds})
    return "\n".join([*lines, "", f"Measured on: {'; '.join(machines)}.", ""])


def _named(algorithm: str, variant: str) -> str:
    """A learner with what is special of its runs."""
    return algorithm if variant == "default" else f"{algorithm}, {variant}"


def _sum(seeds: Sequence[Run]) -> float:
    """Mean return of all teams together."""
    return sum(float(run["evaluation"]["sum"]["mean"]) for run in seeds) / len(seeds)


def _returns(seeds: Sequence[Run], play: str) -> str:
    """Per team where there are several, else for the one team."""
    teams = _teams(seeds)
    cells = []
    for team in teams:
        cells.append(_label(team, teams) + _interval(spread_of(seeds, play, team)))
    return "<br>".join(cells)


def _interval(found: Sequence[float]) -> str:
    mean, low, high = map(_figure, found)
    return f"{mean} [{low}, {high}]" if isfinite(found[1]) else mean


def spread_of(seeds: Sequence[Run], play: str, team: str) -> tuple[float, float, float]:
    """A team's return and its interval."""
    return spread([run[play]["teams"][team] for run in seeds])


def spread(results: Sequence[Run]) -> tuple[float, float, float]:
    """A figure and its interval: over seeds, or over the episodes of the only one."""
    if len(results) == 1:
        mean, low, high = (results[0][key] for key in ("mean", "low", "high"))
        return mean, low, high
    return iqm([result["mean"] for result in results])


def _teams(seeds: Sequence[Run]) -> list[str]:
    return list(seeds[0]["evaluation"]["teams"])


def _random(seeds: Sequence[Run]) -> str:
    teams = list(seeds[0]["random"]["teams"])
    means = {team: sum(run["random"]["teams"][team]["mean"] for run in seeds) / len(seeds) for team in teams}
    return "<br>".join(f"{_label(team, teams)}{_figure(mean)}" for team, mean in means.items())


def _figure(value: float) -> str:
    """A return: one digit behind the point, two where that would be most of it."""
    return f"{value:.1f}" if abs(value) >= 2 else f"{value:.2f}"


def _label(team: str, teams: Sequence[str]) -> str:
    return f"{team} " if len(teams) > 1 else ""


def _conventions(runs: Sequence[Run]) -> str:
    """What holds for the figures above, read from the runs themselves."""
    machines = sorted({_machine(run["machine"]) for run in runs if "machine" in run})
    text = (
        "Undiscounted returns, summed over each team's agents; IQM over seeds with its 95 % stratified bootstrap "
        "interval (over episodes where there is one seed). "
        f"{_episodes(runs)} Minutes are of training: of a processor where that was noted, else by the clock "
        "of a machine with other work."
    )
    return f"{text} Machine: {'; '.join(machines)}." if machines else text


def _episodes(runs: Sequence[Run]) -> str:
    episodes = sorted({run["evaluation"]["episodes"] for run in runs})
    actions = sorted({"greedy" if run["evaluation"]["greedy"] else "sampled" for run in runs})
    return f"Each seed: {' or '.join(map(str, episodes))} episodes, {' or '.join(actions)} actions, and as many greedy."


def _machine(machine: Any) -> str:
    """A machine as one phrase, however much was noted of it."""
    return ", ".join(f"{value}" for value in machine.values()) if isinstance(machine, dict) else str(machine)


def _steps(count: int) -> str:
    """`10M`, `250k`: as the command line takes them."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def main() -> int:
    """Write or check every page; returns the exit code."""
    runs, speeds = load()
    baselines = json.loads((ROOT / "results" / "baselines.json").read_text())["baselines"]
    known = json.dumps(measured(runs, speeds, baselines), indent=1) + "\n"
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    wanted = {path: fill(path.read_text(), runs, speeds, load_lines()) for path in pages} | {FILE: known}
    stale = []
    for path, filled in wanted.items():
        if not path.exists() or filled != path.read_text():
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv[1:]:
                path.write_text(filled)
    if stale:
        print(("out of step: " if "--check" in sys.argv[1:] else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
