"""`marl plot`: learning curves of runs, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from environments.errors import UsageError


@dataclass(frozen=True)
class Plot:
    """Draw the interquartile mean over seeds with its 95 % stratified bootstrap band.

    Runs that differ by their seed alone are one curve.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or folders with runs below them."""
    out: Path = Path("curves.png")
    """The picture: .png, .svg or .pdf."""
    metric: str = "return"
    """What is drawn: a name in metrics.jsonl."""


def run(options: Plot) -> int:
    """Draw; returns the exit code."""
    from marl.cli import curves
    from viz import plots

    if not options.runs:
        raise UsageError("plot needs the folders of runs")
    if options.out.suffix not in plots.FORMATS:
        raise UsageError(f"--out ends with {', '.join(plots.FORMATS)}, not {options.out.suffix or 'nothing'!r}")
    groups = curves.grouped(curves.find_runs(options.runs))
    scenarios = sorted({group.scenario for group in groups})
    drawn = []
    for group in groups:
        of = f"{len(group.runs)} seed{'s' if len(group.runs) > 1 else ''}"
        label = f"{group.label}, {of}" if len(scenarios) == 1 else f"{group.scenario} {group.label}, {of}"
        drawn.append(plots.Curve(label, *curves.curve(group, options.metric)))
    what = "return, summed over agents" if options.metric == "return" else options.metric
    several = any(len(group.runs) > 1 for group in groups)
    title = ", ".join(scenarios) + (": interquartile mean over seeds, 95 % interval" if several else "")
    plots.draw_curves(drawn, options.out, title, "environment steps", what)
    print(options.out)
    return 0
