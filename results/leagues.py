"""The documented leagues, each by one command and within a quarter of an hour on two cores.

    python results/leagues.py             all that are missing, one after the other, then the tables in docs/league.md
    python results/leagues.py psro-rps    one of them
    python results/leagues.py --check     exit 1 where the page is out of step with the results

A league that was interrupted goes on. `results/leagues/<name>.json` holds what came of it; one that is there is not
played again. Leagues lie in `runs/leagues/`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from league import psro, ratings
from league.store import Store
from marl import files, runs
from marl.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "leagues"
LEAGUES = ROOT / "runs" / "leagues"
PAGE = ROOT / "docs" / "league.md"
GAMES = "1000"
DEPTH_4 = "bot:board/connect_four/depth-4"


def psro_rps() -> dict[str, Any]:
    """Rock, paper, scissors: best responses alone are beaten by the next, their mixture by nobody."""
    words = ["roshambo/repeated", "--env.throws", "1", "--plan", "psro", "--games", "2000", "--num-envs", "256"]
    steps = ["--rollout-length", "10", "--slice-steps", "40k", "--snapshot-steps", "40k", "--total-steps", "320k"]
    return generations("psro-rps", [*words, *steps], ("player", "player"))


def psro_pennies() -> dict[str, Any]:
    """Matching pennies: two kinds of team that want different things, an oracle each."""
    words = ["matrix/matching_pennies", "--plan", "psro", "--games", "1000", "--num-envs", "64"]
    steps = ["--rollout-length", "25", "--slice-steps", "32k", "--snapshot-steps", "32k", "--total-steps", "512k"]
    return generations("psro-pennies", [*words, *steps], ("even", "odd"))


def alphastar_skirmish() -> dict[str, Any]:
    """Three marines a side: a main, its exploiter and an exploiter of all."""
    words = ["skirmish/3m", "--env.opponent", "self", "--plan", "alphastar", "--algorithm", "mappo", "--games", "40"]
    steps = ["--slice-steps", "100k", "--snapshot-steps", "300k", "--total-steps", "6M"]
    return rated("alphastar-skirmish", [*words, *steps])


def connect_four() -> dict[str, Any]:
    """Connect Four: self-play from random openings, rated against one another and against search."""
    words = ["board/connect_four", "--plan", "self-play", "--latest", "1", "--player", f"depth-4={DEPTH_4}"]
    learning = ["--rollout-length", "64", "--minibatches", "8", "--hidden", "128", "128", "--gamma", "1"]
    games = ["--entropy", "0.01", "--env.random-opening", "8", "--games", "200"]
    steps = ["--slice-steps", "250k", "--snapshot-steps", "1M", "--total-steps", "12M"]
    found = rated("connect-four", [*words, *learning, *games, *steps])
    points = {name: row["points against"]["depth-4"] for name, row in found["mains"].items()}
    first, *_, last = points.values()
    return {**found, "against depth-4": {"first": first, "last": last}}


def exploiter() -> dict[str, Any]:
    """A main that has played nobody but itself, and only for a while, and an exploiter that was told to beat it."""
    folder = LEAGUES / "weak-main"
    weak = ["board/connect_four", "--plan", "self-play", "--latest", "1", "--total-steps", "400k", "--games", "0"]
    held(folder, weak)
    exploit = LEAGUES / "exploiter"
    if not (exploit / "exploit.json").exists():
        words = ["exploit", f"league:{folder}/main", "--budget", "2M", "--games", GAMES, "--dir", str(exploit)]
        do(["league", "resume", str(exploit)] if (exploit / runs.CONFIG).exists() else ["league", *words])
    return {**json.loads((exploit / "exploit.json").read_text()), "player": "league:runs/leagues/weak-main/main"}


EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    "psro-rps": psro_rps,
    "psro-pennies": psro_pennies,
    "exploiter": exploiter,
    "connect-four": connect_four,
    "alphastar-skirmish": alphastar_skirmish,
}


def held(folder: Path, words: list[str]) -> None:
    """A league from its beginning, or from where it was stopped, to its end."""
    there = (folder / runs.CONFIG).exists()
    do(["league", "resume", str(folder)] if there else ["league", "run", *words, "--dir", str(folder)])


def generations(name: str, words: list[str], kinds: tuple[str, str]) -> dict[str, Any]:
    """PSRO: how exploitable the mixture was, generation after generation."""
    folder = LEAGUES / name
    held(folder, words)
    with Store(folder) as store:
        snapshots: dict[str, list[int]] = {kind: [] for kind in kinds}
        for number, player in store.players().items():
            if player.kind == "historical":
                snapshots[player.roles[0]].append(number)
        found = psro.game(store, kinds, snapshots)
        return {"matches": store.count(), "generations": psro.history(found, "nash")}


def rated(name: str, words: list[str]) -> dict[str, Any]:
    """Ratings of all snapshots, and the mains' points against every given player."""
    folder = LEAGUES / name
    held(folder, words)
    with Store(folder) as store:
        players, results = store.players(), store.results()
        fitted = ratings.bradley_terry(results.score)
        place = {number: k for k, number in enumerate(results.players)}
        given = {number: p.name for number, p in players.items() if p.kind == "bot"}
        rows: dict[str, dict[str, Any]] = {}
        for number, player in players.items():
            k = place[number]
            if player.kind != "historical":
                continue
            against = {
                bot: float(results.score[k, place[other]] / results.games[k, place[other]])
                for other, bot in given.items()
            }
            low, high = fitted.interval[k]
            rows[player.name] = {
                "steps": player.steps,
                "elo": float(fitted.elo[k]),
                "interval": [float(low), float(high)],
                "points against": against,
            }
        mains = {who: row for who, row in rows.items() if who.startswith("main-")}
        others = {who: row for who, row in rows.items() if who not in mains}
        return {"matches": store.count(), "mains": mains, "others": others}


def table(name: str, found: Mapping[str, Any]) -> str:
    """What came of an example, as Markdown."""
    if "generations" in found:
        lines = ["| generation | snapshots in the mixture | exploitability |", "|---|---|---|"]
        for row in found["generations"]:
            mixed = " / ".join(str(int((np.array(mixture) > 0.005).sum())) for mixture in row["mixtures"])
            lines.append(f"| {row['generation']} | {mixed} | {row['exploitability']:.3f} |")
    elif "gain" in found:
        lines = ["| budget | against it | it against itself | gain, 95 % |", "|---|---|---|---|"]
        gain = found["gain"]
        told = f"{gain[0]:.3f} [{gain[1]:.3f}, {gain[2]:.3f}]"
        lines.append(f"| {found['budget']:,} steps | {found['value'][0]:.3f} | {found['mirror'][0]:.3f} | {told} |")
    else:
        given = list(next(iter(found["mains"].values()))["points against"])
        lines = [
            "| snapshot | its learner's steps | Elo, 95 % |" + "".join(f" points against {bot} |" for bot in given)
        ]
        lines.append("|---|---|---|" + "---|" * len(given))
        for who, row in {**found["mains"], **found["others"]}.items():
            elo = f"{row['elo']:+.0f} [{row['interval'][0]:+.0f}, {row['interval'][1]:+.0f}]"
            points = "".join(f" {row['points against'][bot]:.3f} |" for bot in given)
            lines.append(f"| {who} | {row['steps']:,} | {elo} |{points}")
    return "\n".join([*lines, "", f"{found['matches']:,} matches." if "matches" in found else ""]).rstrip() + "\n"


def page(text: str) -> str:
    """The page with the tables of all results that are there."""
    for name in EXAMPLES:
        file = FOLDER / f"{name}.json"
        begin, end = f"<!-- league:{name} -->\n", "<!-- end -->"
        if file.exists() and begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = before + begin + table(name, json.loads(file.read_text())) + end + after
    return text


def do(words: list[str]) -> None:
    """Run a command of ours; end where it fails."""
    print("marl", *words, flush=True)
    code = main(words)
    if code:
        sys.exit(code)


def run(name: str) -> None:
    """One example, unless its result is there."""
    file, clock = FOLDER / f"{name}.json", LEAGUES / f"{name}.seconds.json"
    if not file.exists():
        started, before = time.time(), float(files.read_json(clock)) if clock.exists() else 0.0
        try:
            found = EXAMPLES[name]()
        finally:  # also where it was interrupted: the next part adds its own
            files.write_json(clock, before + time.time() - started)
        where = {"machine": runs.machine()["cpu"], "cores": runs.machine()["cores"]}
        files.write_json(file, {"name": name, "seconds": round(files.read_json(clock)), **where, **found})


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(page(PAGE.read_text()) != PAGE.read_text())
    for wanted in sys.argv[1:] or list(EXAMPLES):
        run(wanted)
    PAGE.write_text(page(PAGE.read_text()))
