"""Skill where more than two teams meet, by openskill's Plackett-Luce model (Weng and Lin 2011, "A Bayesian
Approximation Method for Online Ranking", JMLR 12).

Unlike the ratings of two sides it reads the log once, in its order, so that the order matters a little; what counts is
who came before whom in every match, not by how much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from openskill.models import PlackettLuce

from league.records import Match


class Skill(NamedTuple):
    """What is believed of a player: a normal distribution, at first of mean 25 and deviation 25/3."""

    mean: float
    deviation: float


def skills(matches: Iterable[Match]) -> dict[int, Skill]:
    """Skills by player's number; who never met anybody is left out.

    Void matches say nothing, nor do those that somebody learned from. Who plays several teams of a match counts once,
    by the mean of what they scored.
    """
    model = PlackettLuce()
    known: dict[int, Skill] = {}
    for match in matches:
        if match.status == "void" or match.learner is not None:
            continue
        sides = _sides(match)
        if len(sides) < 2:
            continue
        before = [
            [model.rating(*known.get(player, _beginner(model))) for player in players] for players in sides.values()
        ]
        scores = [score for _, score in sides]
        for players, rated in zip(sides.values(), model.rate(before, scores=scores), strict=True):
            known |= {player: Skill(x.mu, x.sigma) for player, x in zip(players, rated, strict=True)}
    return known


def _beginner(model: PlackettLuce) -> Skill:
    return Skill(model.mu, model.sigma)


def _sides(match: Match) -> dict[tuple[int, float], tuple[int, ...]]:
    """(a number, score) -> the players of a side, each player in one side only."""
    teams: dict[int, set[int]] = {}
    for seat in match.seats:
        teams.setdefault(seat.team, set()).add(seat.player)
    met: dict[tuple[int, ...], list[float]] = {}
    for team, players in teams.items():
        met.setdefault(tuple(sorted(players)), []).append(match.outcome[team])
    every = [player for players in met for player in players]
    if len(every) != len(set(every)):  # somebody plays with and against himself
        return {}
    return {(k, sum(scores) / len(scores)): players for k, (players, scores) in enumerate(met.items())}
