"""Random play in every scenario that ships: the return that any learner has to beat.

    python results/baselines.py            scenarios that are missing
    python results/baselines.py NAME ...   those again

Agents draw uniformly from their legal actions. One file, `results/baselines.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from marl.cli.bench import machine_name
from scenarios import catalog

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "results" / "baselines.json"
EPISODES = 2000


def measure(scenario: str) -> dict[str, Any]:
    """What `marl evaluate` finds, without the machine's folders in it."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "random.json"
        command = ["evaluate", scenario, "--episodes", str(EPISODES), "--threads", "1", "--json", str(out)]
        subprocess.run([sys.executable, "-m", "marl.cli.main", *command], cwd=ROOT, check=True, capture_output=True)
        content: dict[str, Any] = json.loads(out.read_text())
    return {"teams": content["teams"], "metrics": content.get("metrics", {}), "episodes": content["episodes"]}


def main(names: Sequence[str]) -> None:
    """Measure and write."""
    known = json.loads(FILE.read_text())["baselines"] if FILE.exists() else {}
    for name in names or [name for name in catalog.SCENARIOS if name not in known]:
        known[name] = measure(name)
        print(name, {team: round(row["mean"], 2) for team, row in known[name]["teams"].items()}, flush=True)
        ordered = {each: known[each] for each in catalog.SCENARIOS if each in known}
        FILE.write_text(json.dumps({"baselines": ordered, "machine": machine_name()}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
