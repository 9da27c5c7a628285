"""Starts have the distribution of lbforaging's: where players and food are, their levels, how much food finds room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

import environments
from environments.registry import meaning
from environments.vector import Array
from tests.environments.foraging.peer import Reference

STARTS = 5000
Start = Mapping[str, Array]


def apart(places: Array) -> int:
    """Steps from the first of two places to the second."""
    return int(np.abs(places[0] - places[1]).sum())


WHAT: dict[str, Callable[[Start], object]] = {
    "where the first player is": lambda start: tuple(start["player_position"][0].tolist()),
    "how far the last two players are apart": lambda start: apart(start["player_position"][-2:]),
    "levels of the players": lambda start: tuple(start["player_level"].tolist()),
    "where the first food is": lambda start: tuple(start["food_position"][0].tolist()),
    "how far the first two pieces are apart": lambda start: apart(start["food_position"]),
    "levels of the food": lambda start: tuple(sorted(start["food_level"].tolist())),
    "pieces of food": lambda start: int((start["food_level"] > 0).sum()),
    "food's levels beside the players'": lambda start: (int(start["player_level"].sum()), int(start["food_spawned"])),
}


def ours(name: str, options: dict[str, Any]) -> list[Start]:
    state = environments.make(name, STARTS, seed=11, **options).capture(range(STARTS)).arrays
    return [{field: array[e] for field, array in state.items()} for e in range(STARTS)]


def theirs(name: str, options: dict[str, Any]) -> list[Start]:
    reference = Reference({**meaning(name)[1], **options})
    first = [reference.start(seed=3)]
    for _ in range(STARTS - 1):
        for player in reference.env.players:
            player.position = None
        reference.env.reset()
        first.append(reference.get())
    return first


def likelihood(a: Sequence[object], b: Sequence[object]) -> float:
    """How likely two samples of one distribution differ at least so much; values that are rare count as one."""
    counts = Counter(a), Counter(b)
    common = [value for value in counts[0] | counts[1] if counts[0][value] + counts[1][value] >= 20]
    table = np.array([[count[value] for value in common] for count in counts])
    rest = np.array([[len(a)], [len(b)]]) - table.sum(1, keepdims=True)
    table = np.hstack([table, rest]) if rest.sum() >= 20 else table
    return 1.0 if table.shape[1] < 2 else float(stats.chi2_contingency(table).pvalue)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("foraging/5x5-4p-2f", {}),
        ("foraging/8x8-2p-2f-coop", {}),
        ("foraging/7x9-3p-5f", {"min_player_level": [1, 1, 3], "max_player_level": [1, 2, 5]}),  # short of room
        ("foraging/6x8-3p-3f", {"min_food_level": [1, 2, 3], "max_food_level": [1, 4, 3]}),
    ],
)
def test_starts_are_drawn_alike(name: str, options: dict[str, Any]) -> None:
    mine, other = ours(name, options), theirs(name, options)
    for what, of in WHAT.items():
        assert likelihood([of(start) for start in mine], [of(start) for start in other]) > 1e-3, what


def test_a_difference_would_be_noticed() -> None:
    """Where levels are dealt out otherwise, or coop is forgotten, the same comparison says so."""
    mine = ours("foraging/8x8-2p-2f", {})
    for changed in ({"max_player_level": 3}, {"coop": True}, {"rows": 9}):
        other = ours("foraging/8x8-2p-2f", changed)
        assert min(likelihood([of(s) for s in mine], [of(s) for s in other]) for of in WHAT.values()) < 1e-6


def test_food_keeps_its_distance_and_is_in_order() -> None:
    for start in ours("foraging/7x9-3p-5f", {})[:1000]:
        food = start["food_position"][start["food_level"] > 0]
        assert len(food) and (food >= 1).all() and (food <= [5, 7]).all()
        apart = np.abs(food[:, None] - food[None]).sum(-1)[~np.eye(len(food), dtype=bool)]
        assert (apart >= 3).all()
        assert sorted(food.tolist()) == food.tolist()
        cells = [tuple(place) for place in [*start["player_position"].tolist(), *food.tolist()]]
        assert len(set(cells)) == len(cells)
        assert start["food_spawned"] == start["food_level"].sum()
        assert not start["action"].any() and not start["food_position"][start["food_level"] == 0].any()
