"""`marl league show`: the population of a league, from its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from environments.errors import UsageError
from marl import files
from marl.cli.list import table
from marl.cli.tables import win_rates


@dataclass(frozen=True)
class Show:
    """Show who is in a league, who came from whom, how strong each is, and how the learners did.

    Everything is computed from the log, also while the league is being trained.
    """

    dir: tyro.conf.Positional[Path]
    """The league's folder; a tournament's will do."""
    json: Path | None = None
    """Write all of it to this file, as JSON."""
    png: Path | None = None
    """Draw what players earn against one another as a heat map."""
    rates: Path | None = None
    """Draw the learners' win rates over time: .png, .svg or .pdf."""


def run(options: Show) -> int:
    """Print and write; returns the exit code."""
    from league import show
    from league.store import Store
    from viz import plots

    if options.png is not None and options.png.suffix.lower() != ".png":
        raise UsageError(f"--png takes a name that ends in .png, not {options.png}")
    if options.rates is not None and options.rates.suffix not in plots.FORMATS:
        raise UsageError(f"--rates ends with {', '.join(plots.FORMATS)}, not {options.rates.suffix or 'nothing'!r}")
    with Store(options.dir, create=False) as store:
        if store.mended:
            print(f"note: {store.mended}")
        found, curves, matches = show.population(store), show.rates(store), store.count()
    print(text(found, matches, options.dir))
    if options.json is not None:
        told = [{name: x if isinstance(x, str) else x.tolist() for name, x in c._asdict().items()} for c in curves]
        files.write_json(options.json, {**found, "matches": matches, "win_rates": told})
    if options.png is not None:
        draw_payoffs(found, options.png)
    if options.rates is not None:
        if curves:
            drawn = [plots.Curve(c.label, c.matches, c.rate, c.low, c.high) for c in curves]
            plots.draw_curves(drawn, options.rates, "win rates of learners, 95 % interval", "matches", "points a match")
            print(options.rates)
        else:
            print(f"no win rates are drawn: nobody has learned from a match of whole teams in {options.dir}")
    return 0


def draw_payoffs(found: Mapping[str, Any], out: Path) -> None:
    """The heat map of those who can be rated."""
    from viz.plots import draw_table

    if not found["rated"]:
        print("no heat map is drawn: nobody can be rated yet")
        return
    draw_table(found["rated"], win_rates(found), out, "points a game, row against column", 0.0, 1.0)
    print(out)


def text(found: Mapping[str, Any], matches: int, folder: Path) -> str:
    """Everybody in a table, and what it leaves out."""
    rows = found["players"]
    if not rows:
        return f"nobody has entered {folder} yet"
    lines = [table([_line(row, found) for row in rows])]
    lines.append(f"({matches} matches; ratings by all games between players that do not learn, Elo points with 95 %")
    lines[-1] += " interval, average 0)"
    if not found["comparable"]:
        lines.append("(islands never met through anybody: their ratings are not comparable)")
    if found["non_transitivity"] is not None and len(found["rated"]) > 2:  # of two, whoever is better
        held = sorted(zip(found["nash"], found["rated"], strict=True), reverse=True)
        mixture = ", ".join(f"{name} {share:.2f}" for share, name in held if share >= 0.005)
        lines.append(f"equilibrium: {mixture}; {found['non_transitivity']:.0%} of the payoffs are circular")
    return "\n".join(lines)


def _line(row: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    rated, learns = row.get("games", 0) > 0, row["learned_from"] > 0
    line = {
        "player": "  " * row["depth"] + row["name"],
        "part": row["part"].replace("_", " "),
        "plays": ", ".join(row["roles"]),
        "steps": f"{row['steps']}" if row["steps"] else None,
        "elo": f"{row['elo']:+.0f}" if rated else None,
        "95 %": f"[{row['low']:+.0f}, {row['high']:+.0f}]" if rated else None,
        "points": f"{row['points']:g}/{row['games']}" if rated else None,
        "while learning": f"{row['learning_points']:.2f} of {row['learned_from']}" if learns else None,
    }
    if any(each.get("skill") for each in found["players"]):
        skill = row.get("skill")
        line["skill"] = f"{skill['mean']:.1f} ± {skill['deviation']:.1f}" if skill else None
    if not found["comparable"]:
        line["island"] = row["island"] if rated else None
    return line
