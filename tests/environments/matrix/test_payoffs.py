"""Tables of one's own: random ones against numpy's indexing, how they are kept, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import environments
from environments.errors import UsageError
from environments.games.matrix import payoffs
from environments.registry import check_options
from environments.vector import Array
from tests.contracts import play

SHAPES = [(2, 2), (3, 1, 2), (2, 2, 2), (2, 2, 2, 2, 2)]
"""Few, because each is compiled once. A table of (2, 2, 2) could be taken for two tables of (2, 2)."""


@pytest.mark.parametrize("per_agent", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-3, 1.0, 1e5]))
def test_rewards_are_entries_of_the_table(shape: tuple[int, ...], per_agent: bool, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    agents = len(shape)
    table = (rng.normal(size=(agents, *shape) if per_agent else shape) * scale).astype(np.float32)
    env = environments.make("matrix/game", num_envs=40, payoff=table.tolist(), per_agent=per_agent, max_cycles=3)
    for _ in range(4):
        actions = play.random_actions(env, rng)
        chosen = tuple(np.concatenate([actions[g.name] for g in env.spec.groups], axis=1).T)
        buffers = env.step(actions)
        paid = np.concatenate([group.reward for group in buffers.groups], axis=1)
        wanted = [table[i][chosen] if per_agent else table[chosen] for i in range(agents)]
        assert paid.tobytes() == np.stack(wanted, axis=1).tobytes()


def options_of(**options: Any) -> Any:
    """Checked options of `matrix/game`."""
    return check_options(environments.game("matrix/game"), options)


@given(st.floats(-1e6, 1e6), st.integers(-(10**6), 10**6))
def test_a_table_is_kept_as_its_float32_and_read_back_as_it_is(x: float, k: int) -> None:
    kept = options_of(payoff=[[x, k]]).payoff
    assert np.float32(kept[0][0]) == np.float32(x) and len(json.dumps(kept[0][0])) <= 16
    assert kept[0][1] == k and type(kept[0][1]) is int
    again = options_of(payoff=json.loads(json.dumps(kept)))
    assert again.payoff == kept and hash(again) == hash(options_of(payoff=kept))


def test_the_largest_table_fits_into_a_replay() -> None:
    """Every number as long as it may be."""
    rows = 32
    payoff = options_of(payoff=[[-1.23456789012345e-38] * rows] * rows).payoff
    assert len(json.dumps(payoff)) < 60_000 and 2 * rows * rows == payoffs.MOST_NUMBERS


NESTED: Any = 1.0
for _ in range(40):
    NESTED = [NESTED]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"payoff": []}, "payoff has an empty list in it"),
    ({"payoff": [[1], []]}, "payoff has an empty list in it"),
    ({"payoff": [[1, 2], [3]]}, "payoff is ragged"),
    ({"payoff": [1, [2]]}, "payoff is ragged"),
    ({"payoff": [["1", 2]]}, "payoff must be numbers in lists, as in .*; '1' is in it"),
    ({"payoff": [[True, 2]]}, "True is in it"),
    ({"payoff": [[None, 2]]}, "None is in it"),
    ({"payoff": [[{"a": "b" * 100}]]}, "'bbb.*[.]{3} is in it"),
    ({"payoff": "[[1, 2]]"}, "payoff must be numbers in lists"),
    ({"payoff": [[math.nan]]}, "a payoff must be between -1e[+]06 and 1e[+]06, not nan"),
    ({"payoff": [[math.inf]]}, "not inf"),
    ({"payoff": [[-1_000_001]]}, "not -1000001"),
    ({"payoff": [[10**300]]}, "a payoff must be between"),
    ({"payoff": NESTED}, "payoff is nested more than 11 deep"),
    ({"payoff": np.zeros((1,) * 11).tolist()}, "11 deep, which makes 11 agents; 1 to 10 can play"),
    ({"payoff": [1, 2], "per_agent": True}, "1 deep, which makes 0 agents"),
    ({"payoff": [[[1, 2], [3, 4]]], "per_agent": True}, "payoff holds 1 tables for 2 agents"),
    ({"payoff": np.zeros((32, 33)).tolist()}, "payoff has more than 2048 numbers"),
    ({"payoff": [0] * 3000}, "payoff has more than 2048 numbers"),
    ({"payoff": np.zeros((2, 2, 32, 33)).tolist(), "per_agent": True}, "payoff holds 2 tables for 3 agents"),
    ({"payoff": 3}, "option 'payoff' of matrix/game must be Sequence, not 3"),
    ({"per_agent": 1}, "option 'per_agent' of matrix/game must be bool, not 1"),
    ({"max_cycles": 0}, "max_cycles must be a whole number from 1 to 1000000, not 0"),
    ({"steps": 3}, "matrix/game has no option 'steps'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_played_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as found:
        environments.make("matrix/game", **options)
    assert "\n" not in str(found.value) and len(str(found.value)) < 200


@pytest.mark.parametrize("k", [-1, math.nan, 2e6, math.inf])
def test_a_penalty_is_no_gain(k: float) -> None:
    with pytest.raises(UsageError, match=r"^matrix/penalty: k must be from 0 to 1e[+]06, not"):
        environments.make("matrix/penalty", k=k)


def test_a_wide_table_plays() -> None:
    """As many numbers as may be."""
    table: Array = np.arange(1024.0).reshape(32, 32)
    env = environments.make("matrix/game", payoff=table.tolist())
    assert env.step({"agent": np.array([[31, 7]], np.int32)}).groups[0].reward.tolist() == [[999, 999]]
    assert env.spec.metrics == (("optimal", "share of steps"),)
