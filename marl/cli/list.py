"""`marl list`: scenarios, algorithms, bots, runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from environments.errors import UsageError
from marl import files
from scenarios import catalog, measured

if TYPE_CHECKING:
    from environments.spec import EnvSpec, TeamKind

Row = dict[str, Any]


@dataclass(frozen=True)
class List:
    """List what there is."""

    what: tyro.conf.Positional[Literal["scenarios", "algorithms", "bots", "runs"]]
    """What to list."""
    folder: Path = Path("runs")
    """Folder whose runs are listed."""
    json: Path | None = None
    """Write the list to this file, as JSON."""


def run(options: List) -> int:
    """Print the list."""
    if options.what == "runs":
        if options.folder != List.folder and not options.folder.is_dir():
            raise UsageError(f"there is no folder {options.folder}")
        rows = runs(options.folder)
    else:
        rows = {"scenarios": scenarios, "algorithms": algorithms, "bots": bots}[options.what]()
    if options.json is not None:
        known = [row | reference(row["scenario"]) for row in rows] if options.what == "scenarios" else rows
        files.write_json(options.json, known)
    print(table(rows) if rows else f"no {options.what}" + (f" in {options.folder}" if options.what == "runs" else ""))
    return 0


def scenarios() -> list[Row]:
    """Every scenario: who plays with what actions, whose reward counts, how long, how fast."""
    from environments import registry

    rows = []
    for scenario in catalog.SCENARIOS.values():
        game = registry.game(scenario.environment)
        spec = game.spec(registry.check_options(game, dict(scenario.options)))
        speed = measured.of(scenario.name).speed
        rows.append(
            {
                "scenario": scenario.name,
                "teams": ", ".join(_team(spec, kind) for kind in spec.kinds),
                "actions": " ".join(dict.fromkeys(_actions(group.action_space) for group in spec.groups)),
                "reward": scenario.reward,
                "steps": scenario.horizon,
                "steps/s": None if speed is None else f"{speed / 1e6:.1f}M",
                "about": scenario.summary,
            }
        )
    return rows


def reference(scenario: str) -> Row:
    """The rest of a scenario: what it fixes, how it is evaluated, and what random play and learners came to."""
    found = catalog.SCENARIOS[scenario]
    known = measured.of(scenario)
    return {
        "environment": found.environment,
        "options": dict(found.options),
        "evaluation": asdict(found.evaluation),
        "random": known.random,
        "learned": [asdict(row) for row in known.learned],
    }


def _team(spec: EnvSpec, kind: TeamKind) -> str:
    """`adversary 3`: its agents; `player 1 x2`: two teams of that kind in a copy."""
    agents = sum(len(spec.group(name).agents) for name in kind.groups) // kind.teams
    return f"{kind.name} {agents}" + (f" x{kind.teams}" if kind.teams > 1 else "")


def _actions(space: Any) -> str:
    """`5`: so many to choose from; `3x10`: two choices; `box 2`: that many real numbers."""
    from gymnasium import spaces

    if isinstance(space, spaces.Box):
        return f"box {int(space.shape[0])}"
    return "x".join(str(n) for n in getattr(space, "nvec", [getattr(space, "n", 0)]))


def algorithms() -> list[Row]:
    """Every algorithm: its place in the grid and the actions it can learn."""
    from marl.config import ALGORITHMS

    return [
        {
            "algorithm": known.name,
            "family": known.family,
            "critic": known.critic,
            "sharing": known.sharing,
            "order": known.order,
            "actions": " ".join(known.actions),
            "recurrent": "yes" if known.recurrent else "no",
            "about": known.summary,
        }
        for known in ALGORITHMS.values()
    ]


def bots() -> list[Row]:
    """Every bot: what it plays, and how."""
    import environments

    rows = []
    for name in environments.bots():
        bot = environments.bot(name)
        page = getattr(bot, "func", bot).__doc__ or ""  # of a partial: that of the function
        rows.append({"bot": f"bot:{name}", "about": page.strip().partition("\n")[0]})
    return rows


def runs(folder: Path) -> list[Row]:
    """Every run below a folder: how far it is and its last return."""
    from marl import runs as on_disk

    rows = []
    for found in on_disk.within(folder):
        measured = on_disk.read_metrics(found) if found.metrics.exists() else []
        last = next((row["return"] for row in reversed(measured) if row.get("return") is not None), None)
        rows.append(
            {
                "run": str(found.folder),
                "scenario": found.scenario,
                "algorithm": found.algorithm,
                "seed": found.seed,
                "steps": measured[-1]["step"] if measured else 0,
                "of": found.config["train"]["total_steps"],
                "return": None if last is None else round(last, 2),
            }
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """Rows under the names of their columns."""
    shown = [list(rows[0]), *[["-" if value is None else str(value) for value in row.values()] for row in rows]]
    widths = [max(len(row[k]) for row in shown) for k in range(len(shown[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
    )
