"""Tournaments whose results are committed, each by one command.

    python results/tournaments.py connect_four    snapshots of one training run, bots that look ahead, and random play
    python results/tournaments.py roshambo        the 43 bots of the published tournament, with players of our own

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
SNAPSHOTS = {"1M": "1M", "4M": "4M", "16M": "16M"}
"""Names of the Connect Four players and the steps that they were trained for."""


def connect_four() -> None:
    """How far self-play gets against search, and what more of it gains."""
    entrants = ["random", *(f"depth-{depth}=bot:board/connect_four/depth-{depth}" for depth in range(1, 5))]
    for name, steps in SNAPSHOTS.items():
        run = RUNS / f"connect_four-{name}"
        if not (run / "policies").exists():
            train = ["train", "ippo", "board/connect_four", "--self-play", "true", "--total-steps", steps]
            do([*train, "--seed", "0", "--run-dir", str(run)])
        entrants.append(f"{name}={run}")
    hold("connect_four", ["board/connect_four", *entrants, "--games", "200", "--sampled"])


def roshambo() -> None:
    """Who outguesses whom among the published bots, an always equal chance, and a counter of the last throw."""
    from environments.games.roshambo import openspiel

    entrants = [f"{name}=pyspiel:{name}" for name in openspiel.names()]
    hold("roshambo", ["roshambo/repeated", "even-chance=random", *entrants, "--games", "2", "--sampled"])


def hold(name: str, words: list[str]) -> None:
    """Play, and write the table to its file and to the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{name}.json"
    do(["tournament", *words, "--workers", "2", "--dir", str(RUNS / name), "--json", str(file)])
    begin, end = f"<!-- tournament:{name} -->\n", "<!-- end -->"
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(before + begin + table(json.loads(file.read_text())) + end + after)


def table(found: dict[str, Any]) -> str:
    """The standings as a Markdown table."""
    lines = ["| | player | Elo | 95 % | points | games |", "|---|---|---|---|---|---|"]
    for place, row in enumerate(found["players"], start=1):
        interval = f"[{row['low']:+.0f}, {row['high']:+.0f}]"
        lines.append(
            f"| {place} | {row['name']} | {row['elo']:+.0f} | {interval} | {row['points']:g} | {row['games']} |"
        )
    circular = f"{found['non_transitivity']:.1%} of the table is circular." if found["non_transitivity"] else ""
    return "\n".join(lines) + f"\n\n{circular}\n"


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
