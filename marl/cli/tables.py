"""What `marl tournament` prints and writes: ratings, crosstable, heat map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marl import files
from marl.cli.list import table as lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN = 12
"""Most players whose crosstable fits a terminal."""


def show(table: Mapping[str, Any], folder: Path) -> None:
    """Print ratings and crosstable."""
    rows = table["players"]
    crossed, gave = len(rows) <= SHOWN, any(row["forfeits"] for row in rows)
    scored = all(row["population"] for row in rows)
    choice = len(rows) > 2  # of two, the other one is the worst opponent, and whoever is better is picked
    shown = []
    for place, row in enumerate(rows):
        line = {
            "": str(place + 1),
            "player": row["name"],
            "elo": f"{row['elo']:+.0f}",
            "95 %": f"[{row['low']:+.0f}, {row['high']:+.0f}]",
            "points": f"{row['points']:g}/{row['games']}",
            "won": str(row["wins"]),
            "drawn": str(row["draws"]),
            "lost": str(row["losses"]),
        }
        if scored:
            line["return"] = f"{row['population']['population_return']:+.2f}"
        if scored and choice:
            line["exploited"] = f"{row['population']['exploitability']:+.2f}"
        if gave:
            line["gave away"] = ", ".join(f"{games} {kind}" for kind, games in row["forfeits"].items())
        if crossed:
            line |= {f"vs {k + 1}": _cell(table, place, k) for k in range(len(rows))}
        if not table["comparable"]:
            line["island"] = str(row["island"])
        shown.append(line)
    print(lines(shown))
    play = "the likeliest actions" if table["greedy"] else "sampled actions"
    print(f"(ratings by all games, Elo points with 95 % interval, average 0; {play}, seed {table['seed']})")
    if scored:
        count = rows[0]["population"]["matches"]
        worst = "against all others alike; exploited: the worst opponent's, picked on half of the"
        read = f"{count} matches against each and read on the other half"
        print(f"(return: mean outcome {worst}\n {read})" if choice else f"(return: mean outcome of {count} matches)")
    if gave:
        print("(games given away count as lost; `elo_played` in --json leaves them out)")
    if table["voids"]:
        print(f"({table['voids']} games are void: a player had given away three in a row)")
    if not table["comparable"]:
        print("(islands never met through anybody: their ratings are not comparable)")
    if choice and table["non_transitivity"] is not None:
        names = [row["name"] for row in rows]
        held = sorted(zip(table["nash"], names, strict=True), reverse=True)
        mixture = ", ".join(f"{name} {share:.2f}" for share, name in held if share >= 0.005)
        print(f"equilibrium of choosing a player: {mixture}; {table['non_transitivity']:.0%} of the table is circular")
    if table["interval"] is not None:
        known = max((row["high"] - row["low"]) / 2 for row in rows)
        ended = "" if known <= table["interval"] else ", and --most-games ended it"
        print(f"every rating is known to plus or minus {known:.0f} points; {table['interval']:g} were wanted{ended}")
    if "test" in table:
        test, first = table["test"], table["names"][0]
        answer = {"stronger": "is stronger", "not stronger": "is not stronger", "open": "may be either: play on"}
        pairs = f"{sum(test['pairs'])} pairs of games, log-likelihood ratio {test['log_likelihood_ratio']:+.2f}"
        print(f"sprt [{test['elo_0']:g}, {test['elo_1']:g}]: {first} {answer[test['verdict']]} ({pairs})")
    print(f"log  {folder}")


def show_together(table: Mapping[str, Any], folder: Path) -> None:
    """Print the matrix of mixed teams."""
    names = [row["name"] for row in table["players"]]
    rows = [
        {"": str(k + 1), "player": name} | {f"with {j + 1}": f"{mean:.2f}" for j, mean in enumerate(means)}
        for k, (name, means) in enumerate(zip(names, table["means"], strict=True))
    ]
    print(lines(rows))
    play = "the likeliest actions" if table["greedy"] else "sampled actions"
    print(f"(mean return of the team, every other agent played by each; {table['games']} games a cell, {play})")
    print(f"with itself less with strangers: {table['gap']:+.2f}  [{table['low']:+.2f}, {table['high']:+.2f}]")
    print(f"log  {folder}")


def _cell(table: Mapping[str, Any], row: int, column: int) -> str:
    games = table["played"][row][column]
    return f"{table['points'][row][column]:g}/{games}" if games else ""


def write(table: Mapping[str, Any], as_json: Path | None, as_csv: Path | None, as_png: Path | None) -> None:
    """Write the files that were asked for."""
    import csv
    import io

    names = [row["name"] for row in table["players"]]
    if as_json is not None:
        files.write_json(as_json, table)
    if as_csv is not None:
        text = io.StringIO()
        writer = csv.writer(text)
        known = [k for k in ("name", "elo", "focal", "low", "high", "background", "games") if k in table["players"][0]]
        writer.writerow([*known, *table.get("backgrounds", names)])
        cells_of = next(table[key] for key in ("focal_means", "means", "points") if key in table)
        for row, cells in zip(table["players"], cells_of, strict=True):
            writer.writerow([row[key] for key in known] + cells)
        files.write_atomic(as_csv, text.getvalue().encode())
    if as_png is not None:
        import numpy as np

        from viz.plots import draw_table

        if "focal_means" in table:
            means = np.array(table["focal_means"])
            title = f"{table['scenario']}: outcome of the row's player among the column's"
            draw_table(names, means, as_png, title, means.min(), means.max(), table["backgrounds"])
            return
        if "means" in table:
            means = np.array(table["means"])
            draw_table(names, means, as_png, f"{table['scenario']}: return of mixed teams", means.min(), means.max())
            return
        draw_table(
            names, win_rates(table), as_png, f"{table['scenario']}: points per game, row against column", 0.0, 1.0
        )


def win_rates(table: Mapping[str, Any]) -> NDArray[np.float64]:
    """Points per game of standings; NaN where two never met."""
    import numpy as np

    points, games = np.array(table["points"], np.float64), np.array(table["played"])
    return np.where(games > 0, points / np.maximum(games, 1), np.nan)
