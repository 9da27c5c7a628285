"""Learning curves as pictures: interquartile mean over seeds, with a band for its 95 % interval.

matplotlib draws, without any window system; it is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from viz.files import replaced

FORMATS = (".png", ".svg", ".pdf")
COLOURS = ("#3069b0", "#d1662a", "#3d8f4e", "#a8427a", "#7a6bb5", "#8a6d3b", "#2a9d9d", "#6b6b6b")
"""Told apart also in print and by people who see few colours."""
DASHES = ("-", "--", ":", "-.")
LETTER = 0.085
"""Inches that a letter of a name is wide."""


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    label: str
    x: NDArray[np.float64]  # [points]
    y: NDArray[np.float64]  # [points]
    low: NDArray[np.float64]  # [points], -inf where nothing is known
    high: NDArray[np.float64]  # [points], inf where nothing is known


def draw_curves(curves: Sequence[Curve], out: Path, title: str, x_label: str, y_label: str) -> None:
    """Write a picture of all curves; its format is the file name's (`FORMATS`). StorageFailure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7.2, 4.5), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for k, curve in enumerate(curves):
        colour, dash = COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)]
        axes.plot(curve.x, curve.y, dash, color=colour, linewidth=1.6, label=curve.label)
        known = np.isfinite(curve.low) & np.isfinite(curve.high)
        if known.any():
            axes.fill_between(curve.x, curve.low, curve.high, where=known, color=colour, alpha=0.2, linewidth=0)
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if curves:
        axes.legend(frameon=False)
    replaced(out, lambda temporary: figure.savefig(temporary, format=out.suffix[1:]))


def draw_table(
    names: Sequence[str],
    values: NDArray[np.float64],
    out: Path,
    title: str,
    low: float,
    high: float,
    columns: Sequence[str] | None = None,
) -> None:
    """Write a heat map of `values [P, Q]` in [low, high], the row's player's with or against the column's; NaN stays
    white. `columns`: their names, by default those of the rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, below = len(names), list(columns or names)
    left, under = (LETTER * max(map(len, labels)) for labels in (names, below))  # names beside and below the map
    width = max(0.55 * len(below) + left + 2.0, 1.2 * LETTER * len(title) + 0.4)
    figure = Figure(figsize=(min(28.0, width), min(28.0, 0.55 * count + under + 1.0)), dpi=110)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="RdBu", vmin=low, vmax=high)
    axes.set_xticks(range(len(below)), below, rotation=90)
    axes.set_yticks(range(count), names)
    if count <= 20:
        for row, column in np.argwhere(np.isfinite(values)).tolist():
            value = values[row, column]
            far = abs(value - (low + high) / 2) > 0.3 * (high - low)
            colour = "white" if far else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    figure.suptitle(title)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.8)
    replaced(out, lambda temporary: figure.savefig(temporary, format="png"))
