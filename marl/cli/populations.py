"""`marl tournament --focal`: players measured among background players, in Melting Pot's manner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environments.errors import UsageError, nearest
from marl.cli.list import table as lines
from marl.cli.progress import progress

if TYPE_CHECKING:
    from environments.spec import EnvSpec
    from league.contest import Contest, Entrant
    from league.store import Store
    from marl.cli.players import Player
    from marl.cli.tournament import Tournament


def check(options: Tournament, spec: EnvSpec, entered: Mapping[str, Mapping[str, Player]]) -> None:
    """UsageError where what is asked for cannot be played."""
    from league.focal import slots

    if options.crossplay or options.format != "round-robin" or options.sprt or options.interval is not None:
        raise UsageError("--focal goes with no other --format, no --crossplay and no stopping rule")
    if not 1 <= options.focal < slots(spec):
        what = "agents" if spec.num_teams == 1 else "teams"
        raise UsageError(f"--focal is 1 to {slots(spec) - 1} of the {slots(spec)} {what}, not {options.focal}")
    for name in options.background:
        if name not in entered:
            raise UsageError(f"--background names no player: {name!r}{nearest(name, entered)}")
    if len(set(options.background)) == len(entered):
        raise UsageError("all players are background, and nobody is measured")
    for name, roles in entered.items():
        unable = [kind.name for kind in spec.kinds if kind.name not in roles]
        if unable:
            raise UsageError(f"{name} cannot play {', '.join(unable)}, and with --focal everybody plays in every slot")


def hold(contest: Contest, entrants: Sequence[Entrant], store: Store, options: Tournament) -> dict[str, Any]:
    """Play what is not played yet; what every player earned among every background."""
    import numpy as np

    from league import focal

    name = {entrant.number: store.player(entrant.number).name for entrant in entrants}
    background = [e for e in entrants if not options.background or name[e.number] in options.background]
    measured = [e for e in entrants if name[e.number] not in options.background]
    itself = np.array([[one is other for other in background] for one in measured])
    with progress("", "games", contest.games * itself.size) as report:
        scores = focal.run(contest, measured, background, options.focal, store, options.workers, report)
    found = dict(focal.summary(scores, itself))
    rows = [{"name": name[e.number], **row} for e, row in zip(measured, found.pop("rows"), strict=True)]
    return {"players": rows, "backgrounds": [name[e.number] for e in background], **found}


def show(table: Mapping[str, Any], folder: Path) -> None:
    """Print every player's outcome among every background, best first."""
    order = sorted(range(len(table["players"])), key=lambda k: -table["players"][k]["focal"])
    shown = []
    for k in order:
        row = table["players"][k]
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        line = {"focal": row["name"], "mean": f"{row['focal']:.2f}", "95 %": interval}
        line["the others"] = f"{row['background']:.2f}"
        cells = zip(table["backgrounds"], table["focal_means"][k], strict=True)
        shown.append(line | {f"among {name}": f"{mean:.2f}" for name, mean in cells})
    play = "the likeliest actions" if table["greedy"] else "sampled actions"
    print(lines(shown))
    print(f"(outcome of the focal slots' teams, {table['focal']} of them focal; mean: over all backgrounds but itself;")
    print(f" the others: the background's own; {table['games']} games a cell, {play}, seed {table['seed']})")
    print(f"log  {folder}")
