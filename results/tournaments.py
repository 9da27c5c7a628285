"""Tournaments whose results are committed, each by one command.

    python results/tournaments.py connect_four    snapshots of one training run, bots that look ahead, and random play
    python results/tournaments.py roshambo        the 43 bots of the published tournament, with baselines of our own

A tournament that was interrupted goes on; one that is complete is only rated again. Policies are trained first where
they are missing (some minutes). `results/tournaments/<name>.json` holds the table, `docs/tournaments.md` shows it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marl.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "tournaments"
RUNS = ROOT / "runs" / "tournaments"
PAGE = ROOT / "docs" / "tournaments.md"
SNAPSHOTS = ("500k", "2M", "8M")
"""Steps that the Connect Four players were trained for, each from the beginning."""
GAMES, MATCHES = 200, 2
"""Of a pairing: games of Connect Four, matches of a thousand throws."""
THROWER = "2M"
"""Steps that the roshambo player was trained for."""
OURS = ("random", "beat-last", "copy-last", "rotate", "switching")
"""Bots of our own that meet the published ones."""


def connect_four() -> None:
    """How far self-play gets against search, and what more of it gains."""
    entrants = ["random", *(f"depth-{depth}=bot:board/connect_four/depth-{depth}" for depth in range(1, 5))]
    for steps in SNAPSHOTS:
        run = trained(f"connect_four-{steps}", "board/connect_four", steps, "--self-play", "true")
        entrants.append(f"self-play {steps}={run}")
    hold("connect_four", "Connect Four", ["board/connect_four", *entrants, "--games", str(GAMES), "--sampled"])


def roshambo() -> None:
    """Who outguesses whom among the published bots, simple ones of our own, and a player who learned against some."""
    from environments.games.roshambo import openspiel

    run = trained(f"roshambo-{THROWER}", "roshambo/population", THROWER)
    entrants = [f"our {name}=bot:roshambo/{name}" for name in OURS] + [f"ippo {THROWER}={run}"]
    entrants += [f"{name}=pyspiel:{name}" for name in openspiel.names()]
    hold("roshambo", "Roshambo", ["roshambo/repeated", *entrants, "--games", str(MATCHES), "--sampled"])


def trained(name: str, scenario: str, steps: str, *words: str) -> Path:
    """A run of IPPO with seed 0: trained to its end now, or before."""
    run = RUNS / name
    if run.exists():
        do(["resume", str(run)])
    else:
        do(["train", "ippo", scenario, "--total-steps", steps, "--seed", "0", *words, "--run-dir", str(run)])
    return run


def hold(name: str, title: str, words: list[str]) -> None:
    """Play, and write the table to its file and to the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{name}.json"
    do(["tournament", *words, "--workers", "2", "--dir", str(RUNS / name), "--json", str(file)])
    begin, end = f"<!-- tournament:{name} -->\n", "<!-- end -->"
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    block = f"\n## {title}\n\n    python results/tournaments.py {name}\n\n{table(json.loads(file.read_text()))}"
    PAGE.write_text((before if rest else before.rstrip("\n") + "\n\n") + begin + block + end + (after or "\n"))


def table(found: dict[str, Any]) -> str:
    """The standings as a Markdown table."""
    lines = ["| | player | Elo | 95 % | points | games | return | exploited |", "|---|---|---|---|---|---|---|---|"]
    for place, row in enumerate(found["players"], start=1):
        interval, among = f"[{row['low']:+.0f}, {row['high']:+.0f}]", row["population"]
        own = f"{among['population_return']:+.2f} | {among['exploitability']:+.2f}" if among else "|"
        lines.append(
            f"| {place} | {row['name']} | {row['elo']:+.0f} | {interval} | {row['points']:g} | {row['games']} | {own} |"
        )
    circular = f" {found['non_transitivity']:.1%} of the table is circular." if found["non_transitivity"] else ""
    each = f"{found['games']} games of every pairing, {'greedy' if found['greedy'] else 'sampled'} play."
    return "\n".join(lines) + f"\n\n{each}{circular}\n"


def do(words: list[str]) -> None:
    """Run a command of ours; end where it fails."""
    print("marl", *words, flush=True)
    code = main(words)
    if code:
        sys.exit(code)


TOURNAMENTS: dict[str, Callable[[], None]] = {"connect_four": connect_four, "roshambo": roshambo}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TOURNAMENTS:
        sys.exit(f"usage: python results/tournaments.py {'|'.join(TOURNAMENTS)}")
    TOURNAMENTS[sys.argv[1]]()
