"""Asks every probe of every learner, with its controls, and writes what came of it to `probes.json` and docs/probes.md.

    python results/probes.py            half an hour of a core and more
    python results/probes.py --page     the page anew from the file

Exit code 1 where a probe failed, or was asked of nobody that it should be asked of.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from marl.cli.bench import machine_name  # noqa: E402
from tests.probes.table import LEARNERS, ROWS, reason  # noqa: E402

FILE = ROOT / "results" / "probes.json"
PAGE = ROOT / "docs" / "probes.md"
BEGIN, END = "<!-- probes -->\n", "<!-- end -->"

Cell = dict[str, Any]


def ask(report: Path, workers: str) -> None:
    """Run all probes; pytest's report of them."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/probes", f"--junitxml={report}"]
    command += ["-n", workers, "--dist", "worksteal"] if workers != "1" else []
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PROBES": "all", "OMP_WAIT_POLICY": "passive"}, check=False)


def read(report: Path) -> dict[str, dict[str, Cell]]:
    """Row -> learner -> {"probes", "controls": how many, "failed": names, "seconds"} or {"never": why}."""
    found: dict[str, dict[str, Cell]] = {row: {} for row in ROWS}
    for core, learners in LEARNERS.items():
        for learner in learners:
            for row in ROWS:
                why = reason(row, core, learner)
                if why is not None:
                    found[row][learner] = {"never": why}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        said = {each.get("name"): each.get("value") for each in case.iter("property")}
        rows, learner = said.get("row"), said.get("learner")
        if rows is None or learner is None or case.find("skipped") is not None:
            continue
        for row in rows.split():
            note(found[row].setdefault(learner, {}), case, said.get("role") == "control")
    return found


def note(cell: Cell, case: ElementTree.Element, control: bool) -> None:
    """Add what came of a test to its cell."""
    if "never" in cell:
        cell.clear()
    cell.setdefault("probes", 0)
    cell.setdefault("controls", 0)
    cell["seconds"] = round(cell.get("seconds", 0.0) + float(case.get("time", "0")), 1)
    if case.find("failure") is not None or case.find("error") is not None:
        cell.setdefault("failed", []).append(case.get("name"))
    else:
        cell["controls" if control else "probes"] += 1


def sign(cell: Mapping[str, Any] | None) -> str:
    """A cell of the page's table."""
    if cell is None:
        return "**missing**"
    if "never" in cell:
        return "–"
    if "failed" in cell:
        return "**fails**"
    return "yes" + (f" ({cell['controls']})" if cell["controls"] else "")


def table(result: Mapping[str, Any]) -> str:
    """Markdown: a table of each core, and why some questions are never asked."""
    parts = []
    cells = result["rows"]
    for learners in LEARNERS.values():
        parts.append("| | | " + " | ".join(learners) + " |\n" + "|---" * (2 + len(learners)) + "|\n")
        for row, title in ROWS.items():
            signs = " | ".join(sign(cells[row].get(learner)) for learner in learners)
            parts.append(f"| {row} | {title} | {signs} |\n")
        parts.append("\n")
    parts.append("Not asked:\n\n")
    for row in ROWS:
        why: dict[str, list[str]] = {}
        for learner, cell in cells[row].items():
            if "never" in cell:
                why.setdefault(cell["never"], []).append(learner)
        for each, learners in why.items():
            parts.append(f"- {row}, {', '.join(learners)}: {each}\n")
    return "".join(parts) + f"\nMachine: {result['machine']}.\n"


def render(result: Mapping[str, Any]) -> str:
    """The page with its table."""
    page = PAGE.read_text()
    return page[: page.index(BEGIN) + len(BEGIN)] + table(result) + page[page.index(END) :]


def wanting(result: Mapping[str, Any]) -> list[str]:
    """Questions that failed, or were not asked."""
    every = [(row, learner) for row in ROWS for learners in LEARNERS.values() for learner in learners]
    signs = {(row, learner): sign(result["rows"][row].get(learner)) for row, learner in every}
    return [f"{row} {learner}: {found.strip('*')}" for (row, learner), found in signs.items() if found.startswith("**")]


def main() -> None:
    """Ask, write, render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the page anew from the file")
    parser.add_argument("--workers", default="2", help="processes of pytest")
    arguments = parser.parse_args()
    if not arguments.page:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            ask(report, arguments.workers)
            result = {"probes": len(ROWS), "machine": machine_name(), "rows": read(report)}
        FILE.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    result = json.loads(FILE.read_text())
    PAGE.write_text(render(result))
    found = wanting(result)
    print("\n".join(found) or f"all {len(ROWS)} probes as they should be")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
