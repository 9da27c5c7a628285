"""Formats: who meets whom, for any number of entrants and any results."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from league.tournament import FORMATS, Pairing, Round, Score, standings


def play(name: str, entrants: int, strength: list[float], draws: bool = False, seed: int = 0) -> list[Round]:
    """A whole tournament in which the stronger wins, or draws happen."""
    rng, played = random.Random(seed), []
    while (pairings := FORMATS[name](entrants, played)) is not None:
        scores = []
        for a, b in pairings:
            if draws and rng.random() < 0.4:
                scores.append(Score(1.0, 1.0))
            else:
                scores.append(Score(2.0, 0.0) if strength[a] > strength[b] else Score(0.0, 2.0))
        played.append(Round(tuple(pairings), tuple(scores)))
        assert len(played) < 100
    return played


def met(played: list[Round]) -> Counter[frozenset[int]]:
    return Counter(frozenset(pair) for each in played for pair in each.pairings)


@given(st.sampled_from(sorted(FORMATS)), st.integers(2, 17), st.booleans(), st.integers(0, 999))
def test_nobody_plays_himself_or_twice_in_a_round(name: str, entrants: int, draws: bool, seed: int) -> None:
    rng = random.Random(seed)
    strength = [rng.random() for _ in range(entrants)]
    for each in play(name, entrants, strength, draws, seed):
        assert all(a != b and 0 <= a < entrants and 0 <= b < entrants for a, b in each.pairings)
        if name in ("swiss", "single-elimination"):
            busy = [entrant for pair in each.pairings for entrant in pair]
            assert len(busy) == len(set(busy))


@pytest.mark.parametrize("entrants", [2, 3, 8])
def test_round_robin_and_gauntlet(entrants: int) -> None:
    everybody = met(play("round-robin", entrants, list(range(entrants))))
    assert len(everybody) == entrants * (entrants - 1) // 2 and set(everybody.values()) == {1}
    assert met(play("gauntlet", entrants, list(range(entrants)))) == {frozenset((0, k)): 1 for k in range(1, entrants)}


@given(st.integers(2, 17), st.integers(0, 99))
def test_swiss_finds_the_best_and_lets_nobody_meet_twice_early(entrants: int, seed: int) -> None:
    strength = [float(k) for k in range(entrants)]
    random.Random(seed).shuffle(strength)
    played = play("swiss", entrants, strength)
    assert len(played) == math.ceil(math.log2(entrants))
    points, _, rested = standings(entrants, played)
    assert points[strength.index(max(strength))] == max(points) == len(played)
    assert sum(points) == len(played) * math.ceil(entrants / 2)
    assert len(rested) == (len(played) if entrants % 2 else 0)
    if entrants > 4:
        assert max(met(played[:2]).values()) == 1


@given(st.integers(2, 33), st.booleans(), st.integers(0, 99))
def test_elimination_leaves_one(entrants: int, draws: bool, seed: int) -> None:
    strength = [float(k) for k in range(entrants)]
    random.Random(seed).shuffle(strength)
    played = play("single-elimination", entrants, strength, draws, seed)
    assert sum(len(each.pairings) for each in played) == entrants - 1
    assert len(played) == math.ceil(math.log2(entrants))
    if not draws:
        final: Pairing = played[-1].pairings[0]
        assert strength.index(max(strength)) in final


def test_the_highest_seeds_meet_last_and_a_draw_is_theirs() -> None:
    first = FORMATS["single-elimination"](6, [])
    assert first == [(2, 5), (3, 4)]
    drawn = Round(tuple(first), (Score(1.0, 1.0), Score(0.0, 2.0)))
    assert FORMATS["single-elimination"](6, [drawn]) == [(0, 4), (1, 2)]
