"""Focal and background populations: how well a player does among players of another kind (Leibo et al. 2021, "Scalable
Evaluation of Multi-Agent Reinforcement Learning with Melting Pot", arXiv:2107.06857).

Slots are the teams, or, where there is one team alone, its agents. The player that is measured, the focal one, fills
some of them and a background player the rest; which ones turns from game to game, all turns on one key. What counts is
the mean outcome of the focal slots' teams; that of the background's tells at whose cost it was earned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import environments
from environments.spec import EnvSpec
from league.contest import Block, Contest, Entrant, Game, cut, match_key
from league.records import Match
from league.runner import complete
from league.store import Store

WIDTH = 1.959963984540054
"""Standard errors to either side of a 95 % interval."""


def slots(spec: EnvSpec) -> int:
    """How many there are to be filled."""
    return len(spec.agents) if spec.num_teams == 1 else spec.num_teams


def lineup(count: int, focal: int, turn: int) -> tuple[int, ...]:
    """For each of `count` slots 0, the focal player, or 1: `focal` of them side by side, beginning at slot `turn`."""
    return tuple(int((slot - turn) % count >= focal) for slot in range(count))


def blocks(contest: Contest, spec: EnvSpec, measured: Entrant, background: Entrant, focal: int) -> list[Block]:
    """All games of a focal player among a background player; the same one: every slot is its own."""
    count, games = slots(spec), []
    for number in range(contest.games):
        group, turn = divmod(number, count)
        own = measured is background
        about: list[str | int] = [spec.digest, contest.seed, "focal", focal, measured.identity, background.identity]
        key = match_key(*about, number) if own else match_key(*about, group)
        filled = (0,) * count if own else lineup(count, focal, turn)
        games.append(Game(f"{match_key(*about, number, contest.greedy):016x}", key, filled))
    return cut(contest, measured, background, games)


def run(
    contest: Contest,
    measured: Sequence[Entrant],
    background: Sequence[Entrant],
    focal: int,
    store: Store,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """Play all and return `[F, B, 2, games]`: mean outcome of the focal slots and of the others, of each game.

    Games that the store has are not played again.
    """
    spec = environments.make(contest.environment, 1, **contest.options).spec
    schedule = {
        (f, b): blocks(contest, spec, one, other, focal)
        for f, one in enumerate(measured)
        for b, other in enumerate(background)
    }
    complete(contest, [block for found in schedule.values() for block in found], store, workers, progress)
    scores = np.zeros((len(measured), len(background), 2, contest.games))
    for (f, b), found in schedule.items():
        games = [game for block in found for game in block.games]
        for k, (game, match) in enumerate(zip(games, store.find([game.id for game in games]), strict=True)):
            scores[f, b, :, k] = means(game, match)
    return scores


def means(game: Game, match: Match) -> tuple[float, float]:
    """Mean outcome of the focal slots' teams and of the others'."""
    by_slot = match.outcome * len(game.lineup) if len(match.outcome) == 1 else match.outcome
    own = [x for x, who in zip(by_slot, game.lineup, strict=True) if who == 0]
    others = [x for x, who in zip(by_slot, game.lineup, strict=True) if who == 1]
    return float(np.mean(own)), float(np.mean(others or own))


def summary(scores: NDArray[np.float64], itself: NDArray[np.bool_]) -> Mapping[str, Any]:
    """Means `[F, B]` of both sides, and for each focal player its mean over the backgrounds, each as likely, with its
    95 % interval over games.

    `itself [F, B]`: where a player is its own background; left out of that mean.
    """
    cells, games = scores.mean(3), scores.shape[3]
    noise = scores[:, :, 0].var(2, ddof=min(1, games - 1)) / games
    rows = []
    for f, own in enumerate(itself):
        among = np.flatnonzero(~own)
        mean, error = cells[f, among, 0].mean(), np.sqrt(noise[f, among].sum()) / len(among)
        rows.append({"focal": float(mean), "low": float(mean - WIDTH * error), "high": float(mean + WIDTH * error)})
        rows[-1]["background"] = float(cells[f, among, 1].mean())
    return {"focal_means": cells[:, :, 0].tolist(), "background_means": cells[:, :, 1].tolist(), "rows": rows}
