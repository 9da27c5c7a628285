"""Tournaments: who has to play whom, in which order, and what the games say.

A format is a pure function: from the number of entrants and the rounds already played to the pairings of the next
one, or None where it is over. Nothing is drawn: entrants are listed in the order of their seeding. A pairing is played
over a fixed number of games, so nobody gains by finishing early or late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Pairing = tuple[int, int]
"""Places of two entrants in the list."""


class Score(NamedTuple):
    """What a pairing came to."""

    first: float
    """Points of the first entrant: wins, draws counting half."""
    second: float


@dataclass(frozen=True)
class Round:
    """One round that was played."""

    pairings: tuple[Pairing, ...]
    scores: tuple[Score, ...]


Next = Callable[[int, Sequence[Round]], list[Pairing] | None]


def round_robin(entrants: int, played: Sequence[Round]) -> list[Pairing] | None:
    """Everybody against everybody."""
    if played:
        return None
    return [(a, b) for a in range(entrants) for b in range(a + 1, entrants)]


def gauntlet(entrants: int, played: Sequence[Round]) -> list[Pairing] | None:
    """The first against each of the others."""
    return None if played else [(0, b) for b in range(1, entrants)]


def swiss(entrants: int, played: Sequence[Round]) -> list[Pairing] | None:
    """As many rounds as it takes to single one out, each between those with equal points who have not met.

    With an odd number the last who has not rested rests, for a full point.
    """
    if len(played) >= max(1, math.ceil(math.log2(max(entrants, 2)))):
        return None
    points, met, rested = standings(entrants, played)
    order = sorted(range(entrants), key=lambda e: (-points[e], e))
    if entrants % 2:
        order.remove(next(e for e in reversed(order) if e not in rested))
    return _pair_up(order, met)


def standings(entrants: int, played: Sequence[Round]) -> tuple[list[float], set[Pairing], set[int]]:
    """After some rounds: match points of each (a won pairing 1, a drawn one 1/2, a rest 1), who met, who rested."""
    points, met, rested = [0.0] * entrants, set(), set()
    for each in played:
        for (a, b), score in zip(each.pairings, each.scores, strict=True):
            met |= {(a, b), (b, a)}
            won = 0.5 if score.first == score.second else float(score.first > score.second)
            points[a] += won
            points[b] += 1.0 - won
        for rest in set(range(entrants)) - {entrant for pairing in each.pairings for entrant in pairing}:
            points[rest] += 1.0
            rested.add(rest)
    return points, met, rested


def _pair_up(order: list[int], met: set[Pairing]) -> list[Pairing]:
    """The highest with the next whom he has not met, and so on; where that leaves two who have met, they meet again."""
    left, pairings = list(order), []
    while left:
        first = left.pop(0)
        second = next((e for e in left if (first, e) not in met), left[0])
        left.remove(second)
        pairings.append((first, second))
    return pairings


def single_elimination(entrants: int, played: Sequence[Round]) -> list[Pairing] | None:
    """Who loses a pairing is out; of a drawn one the higher seed goes on. The highest seeds meet last, and rest first
    where the number is no power of two.
    """
    alive = list(range(entrants))
    for each in played:
        out = {
            max(pair) if score.first == score.second else pair[score.first > score.second]
            for pair, score in zip(each.pairings, each.scores, strict=True)
        }
        alive = [e for e in alive if e not in out]
    if len(alive) < 2:
        return None
    size = 2 ** math.ceil(math.log2(len(alive)))
    resting = size - len(alive)
    playing = alive[resting:]
    return [(playing[k], playing[-1 - k]) for k in range(len(playing) // 2)]


FORMATS: dict[str, Next] = {
    "round-robin": round_robin,
    "swiss": swiss,
    "gauntlet": gauntlet,
    "single-elimination": single_elimination,
}
