"""What a log of games says of its players, as plain data: ratings, crosstable, and other views of the same table.

No single ranking says all: ratings assume that strength is one number, `non_transitivity` says how wrong that is, and
the equilibrium and alpha-rank of the table show who holds out against whom.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from league import metagame, population, ratings
from league.records import Results
from league.skill import skills
from league.store import Store


def standings(store: Store, among: Collection[int] | None = None) -> dict[str, Any]:
    """Players from best to worst with ratings and 95 % intervals, and tables in that order.

    `population` is what a player earns in a match of outcomes, and what the worst opponent wins from it
    (`league.population`).
    `among`: these players alone, by number. Where a match had more than two teams, players have a skill too.
    `elo` counts games that were given away as lost, `elo_played` leaves them out. Players of different islands never
    met through anybody: their ratings are not comparable. What needs every pair to have played (equilibrium,
    alpha-rank, non-transitivity) is None otherwise.
    """
    results, players, forfeits = store.results().among(among), store.players(), store.forfeits()
    names = [players[number].name for number in results.players]
    rated = ratings.bradley_terry(results.score)
    played = ratings.bradley_terry(store.results(forfeits=False).among(among).score)
    skilled = skills(store.matches()) if store.most_teams() > 2 else {}
    scores = _populations(store, results.players)
    order = sorted(range(len(names)), key=lambda p: (rated.island[p], -rated.strength[p], names[p]))
    games = results.games
    rows = [
        {
            "name": names[p],
            "elo": float(rated.elo[p]),
            "low": float(rated.interval[p, 0]),
            "high": float(rated.interval[p, 1]),
            "elo_played": float(played.elo[p]),
            "points": float(results.score[p].sum()),
            "games": int(games[p].sum()),
            "wins": int(results.wins[p].sum()),
            "draws": int(results.draws[p].sum()),
            "losses": int(results.losses[p].sum()),
            "forfeits": forfeits.get(results.players[p], {}),
            "island": int(rated.island[p]),
            "population": scores[p]._asdict() if scores else None,
            "skill": skilled[results.players[p]]._asdict() if results.players[p] in skilled else None,
        }
        for p in order
    ]
    place = np.ix_(order, order)
    rate = win_rates(results)[place]
    return {
        "players": rows,
        "points": results.score[place].tolist(),
        "played": games[place].tolist(),
        "superiority": plain(rated.superiority()[place]),
        "voids": store.voids(),
        "comparable": len(set(rated.island.tolist())) <= 1,
        **_as_a_game(rate),
    }


def win_rates(results: Results) -> NDArray[np.float64]:
    """`[P, P]` points per game of the row's player against the column's; NaN where they never met; diagonal 1/2."""
    games = results.games
    rate = np.where(games > 0, results.score / np.maximum(games, 1), np.nan)
    np.fill_diagonal(rate, 0.5)
    return rate


def _populations(store: Store, players: Sequence[int]) -> list[population.Score]:
    """What each player earns against all the others; nothing unless all met at least twice in a zero-sum game.

    Where some pairs met more often, as many of their first matches count as all have played.
    """
    met = store.outcomes() if len(players) > 1 and store.most_teams() == 2 else {}
    pairs = [[met.get((player, other), []) for other in players if other != player] for player in players]
    matches = min((len(games) for own in pairs for games in own), default=0)
    if matches < 2 or any(own + theirs != 0 for games in met.values() for own, theirs in games):
        return []
    return [population.score(np.array([[x for x, _ in games[:matches]] for games in own])) for own in pairs]


def _as_a_game(rate: NDArray[np.float64]) -> dict[str, Any]:
    """Choosing a player as a zero-sum game, worth +1 a win and -1 a loss."""
    if np.isnan(rate).any() or len(rate) < 2:
        return {"nash": None, "alpha_rank": None, "non_transitivity": None}
    payoff = rate - rate.T  # antisymmetric, whatever rounding
    return {
        "nash": metagame.nash(payoff).row.tolist(),
        "alpha_rank": metagame.alpha_rank(payoff).tolist(),
        "non_transitivity": ratings.non_transitivity(payoff),
    }


def plain(table: NDArray[np.float64]) -> list[list[float | None]]:
    """A table for JSON, which has no NaN."""
    return [[None if np.isnan(x) else float(x) for x in row] for row in table]
