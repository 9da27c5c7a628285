"""Plays the 43 tournament bots against one another and scores each against all, itself included.

    python results/roshambo.py            play what is missing of 20 round robins, then write the table into the page
    python results/roshambo.py --check    exit 1 where the page is out of step with the results

Every match has 1,000 throws and a seed of its own, made of the round and the two bots, so that a round is the same
whenever it is played. `results/roshambo.json` holds the first bot's return in all 946 pairs of every round, and in
`mean` the 43 x 43 table of rows against columns; a round that is in it is not played again. Needs the extra
`openspiel`; a round robin takes ten seconds.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from environments.games.roshambo import openspiel
from league import population
from marl import files

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "results" / "roshambo.json"
PAGE = ROOT / "docs" / "environments" / "roshambo.md"
BEGIN, END = "<!-- roshambo:population -->\n", "<!-- end -->"
ROUNDS = 20
THROWS = 1000
PUBLISHED = {
    "greenberg": (288.15, 3.65),
    "iocainebot": (255.00, 5.01),
    "phasenbott": (232.25, 111.7),
    "halbot": (212.43, 176.2),
    "mod1bot": (203.16, 90.2),
    "biopic": (196.36, 36.66),
    "robertot": (177.77, 50.15),
    "boom": (169.12, 27.93),
    "shofar": (152.01, 16.86),
    "randbot": (0.23, 1.20),
    "rockbot": (-610.0, 1000.0),
    "antiflatbot": (-648.0, 999.0),
}
"""Population return and within-population exploitability (plain maximum) by the table of Lanctot et al. 2023, 1000
matches a pair, for the bots at its top and its foot and some between."""


def play_round(names: Sequence[str], number: int) -> list[int]:
    """The first bot's return in every pair `(i, j)`, i <= j, in the order of `pairs`."""
    scores = []
    for i, j in pairs(len(names)):
        scores.append(openspiel.returns(openspiel.play(names[i], names[j], THROWS, match_seed(number, i, j))))
    return scores


def match_seed(number: int, i: int, j: int) -> int:
    """Seed of the match of bots `i` and `j` in a round."""
    return int(np.random.SeedSequence([number, i, j]).generate_state(1)[0])


def pairs(count: int) -> list[tuple[int, int]]:
    """Every pair once, bots against themselves included."""
    return list(itertools.combinations_with_replacement(range(count), 2))


def tables(measured: Mapping[str, Any]) -> NDArray[np.float64]:
    """`[bots, bots, rounds]`: return of the first against the second; of a bot against itself, in the first seat."""
    count = len(measured["bots"])
    table = np.zeros((count, count, len(measured["rounds"])))
    for k, scores in enumerate(measured["rounds"]):
        for (i, j), score in zip(pairs(count), scores, strict=True):
            table[j, i, k] = -score
            table[i, j, k] = score
    return table


def render(measured: Mapping[str, Any]) -> str:
    """Bots by population return, with the published figures where they are known, and how well the orders agree."""
    table, names = tables(measured), measured["bots"]
    scores = {name: population.score(table[i]) for i, name in enumerate(names)}
    order = sorted(names, key=lambda name: -scores[name].population_return)
    lines = [
        "| | bot | population return | exploitability | largest loss | aggregate | published return | published loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rank, name in enumerate(order, 1):
        own = scores[name]
        figures = (own.population_return, own.exploitability, own.largest_loss, own.aggregate)
        known = [f"{value:.2f}" for value in PUBLISHED[name]] if name in PUBLISHED else ["", ""]
        lines.append(f"| {rank} | {' | '.join([name, *(f'{value:.1f}' for value in figures), *known])} |")
    known_names = [name for name in order if name in PUBLISHED]
    mine = [scores[name].population_return for name in known_names]
    theirs = [PUBLISHED[name][0] for name in known_names]
    agreement = float(spearmanr(mine, theirs).statistic) if len(mine) > 1 else float("nan")
    apart = max((abs(a - b) for a, b in zip(mine, theirs, strict=True)), default=float("nan"))
    rounds = len(measured["rounds"])
    lines += [
        "",
        f"{rounds} round robins, {rounds} matches of {THROWS} throws a pair, each bot "
        f"against all {len(names)}, itself included; exploitability by halves (`league.population`). Of the "
        f"{len(known_names)} bots with published figures the order agrees with rank correlation {agreement:.3f}; "
        f"population returns are at most {apart:.1f} apart.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Play, write, or check; returns the exit code."""
    check = "--check" in sys.argv[1:]
    measured: dict[str, Any] = (
        json.loads(FILE.read_text()) if FILE.exists() else {"bots": openspiel.names(), "rounds": []}
    )
    while not check and len(measured["rounds"]) < ROUNDS:
        measured["rounds"].append(play_round(measured["bots"], len(measured["rounds"])))
        measured["mean"] = tables(measured).mean(axis=2).round(2).tolist()
        text = json.dumps(measured, separators=(",", ":")).replace("],[", "],\n[")
        files.write_atomic(FILE, f"{text}\n".encode())
        print(f"round {len(measured['rounds'])} of {ROUNDS}", flush=True)
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    filled = before + BEGIN + render(measured) + END + rest.split(END, 1)[1]
    if filled != page:
        print(f"{'out of step' if check else 'written'}: {PAGE.relative_to(ROOT)}")
        if not check:
            PAGE.write_text(filled)
    return int(check and filled != page)


if __name__ == "__main__":
    sys.exit(main())
