"""Does a policy ever lose at tic-tac-toe? Its greedy play, in both seats, against every line of replies.

    python -m results.tictactoe                            all that is missing
    python -m results.tictactoe RUN/policies/player.safetensors ...

In a game against a fixed way to play only the other side's moves are free, and all of them can be played: some hundred
lines for each seat. Every row is one training command; its file in `results/tictactoe/` says which.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from environments.games.board.bots import LINES
from marl.cli.bench import machine_name

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "tictactoe"
RUNS = ROOT / "runs" / "results"
CELLS = 9
Moves = Callable[[np.ndarray], np.ndarray]
"""Observations `[B, 18]` of the one to move -> cells `[B]`."""
Board = tuple[int, int]
"""Cells of the player in question and of the other, as sets: bit c is cell c."""


@dataclass(frozen=True)
class Row:
    """One way to train, for several seeds."""

    name: str
    seeds: int
    options: tuple[str, ...]


COMMON = (
    *("--rollout-length", "64", "--minibatches", "8", "--hidden", "128", "128"),
    *("--gamma", "1", "--entropy", "0.02", "--total-steps", "6M", "--threads", "1", "--self-play"),
)
PURE = (*COMMON, "--self-play-opponents", "0")
OTHERS = (
    *("--self-play-opponents", "0.75", "--self-play-random", "0.3"),
    *("--self-play-errors", "0.15"),
)
ROWS = [
    Row("openings", 3, (*PURE, "--env.random-opening", "4")),
    Row("pure", 1, PURE),
    Row("others", 1, (*COMMON, *OTHERS)),
]


def against_every_reply(moves: Moves, seat: int) -> dict[str, int]:
    """How many lines the one in `seat` (0 moves first) wins, draws and loses; ValueError on an illegal move."""
    counts = {"won": 0, "drawn": 0, "lost": 0}
    lines: list[Board] = [(0, 0)]
    for turn in range(CELLS):
        if turn % 2 == seat:
            lines = _answered(moves, lines)
        else:
            lines = [(own, other | 1 << cell) for own, other in lines for cell in _free((own, other))]
        still = [board for board in lines if not any(_has_line(side) for side in board)]
        counts["won" if turn % 2 == seat else "lost"] += len(lines) - len(still)
        lines = still
    counts["drawn"] = len(lines)
    return counts


def _answered(moves: Moves, lines: Sequence[Board]) -> list[Board]:
    answered: list[Board] = []
    if not lines:
        return answered
    seen = np.array([[side >> cell & 1 for side in board for cell in range(CELLS)] for board in lines], np.uint8)
    for (own, other), cell in zip(lines, moves(seen).tolist(), strict=True):
        if cell not in _free((own, other)):
            raise ValueError(f"cell {cell} is taken")
        answered.append((own | 1 << cell, other))
    return answered


def _free(board: Board) -> list[int]:
    return [cell for cell in range(CELLS) if not (board[0] | board[1]) >> cell & 1]


def _has_line(side: int) -> bool:
    return any(side & line == line for line in LINES)


def greedy(path: Path) -> Moves:
    """A policy's likeliest moves."""
    import torch

    from marl import policy
    from marl.acting import View

    loaded = policy.load(path)

    def moves(seen: np.ndarray) -> np.ndarray:
        obs = torch.from_numpy(seen).unsqueeze(1)
        view = View(obs, (obs[..., :CELLS] + obs[..., CELLS:]) == 0, torch.ones(len(seen), 1, dtype=torch.bool))
        step = loaded.step({"player": view}, {"player": torch.full((len(seen), 1, 1), 0.5)}, greedy=True)
        return step["player"].action[:, 0].numpy()

    return moves


def judge(path: Path) -> dict[str, dict[str, int]]:
    """A policy's results in both seats."""
    moves = greedy(path)
    return {seat: against_every_reply(moves, k) for k, seat in enumerate(("moving first", "moving second"))}


def measure(row: Row, seed: int) -> None:
    """Train and judge one run, unless its file is there."""
    path = FOLDER / f"{row.name}-{seed}.json"
    if path.exists():
        return
    folder = RUNS.relative_to(ROOT) / f"tictactoe-{row.name}-{seed}"  # relative: results name no machine's folders
    train = ["marl", "train", "ippo", "board/tictactoe", *row.options, "--seed", str(seed), "--run-dir", str(folder)]
    command = ["marl", "resume", str(folder)] if (ROOT / folder / "config.json").exists() else train
    run = [sys.executable, "-m", "marl.cli.main", *command[1:]]
    subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    metrics = [json.loads(line) for line in (ROOT / folder / "metrics.jsonl").read_text().splitlines()]
    result: dict[str, Any] = {
        "command": " ".join(train),
        "seed": seed,
        "steps": metrics[-1]["step"],
        "seconds": metrics[-1]["time/total"],
        "machine": machine_name(),
        "versions": json.loads((ROOT / folder / "manifest.json").read_text())["versions"],
        "convention": "greedy play in one seat against every line of replies, of the final policy",
        "lines": judge(ROOT / folder / "policies" / "player.safetensors"),
    }
    FOLDER.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{path.name}: {result['lines']}", flush=True)


def main(paths: Sequence[str]) -> None:
    """Judge those policies, or make every row that is missing."""
    for text in paths:
        print(f"{text}: {judge(Path(text))}")
    if not paths:
        for row in ROWS:
            for seed in range(row.seeds):
                measure(row, seed)


if __name__ == "__main__":
    main(sys.argv[1:])
