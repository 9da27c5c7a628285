"""The greedy forager: a row depends on itself alone, it loads what can be loaded, and far more than chance would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.vector import Array

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
GONE = [-1, -1, 0]


def returns(name: str, bot: str | None, episodes: int = 300) -> float:
    """Mean return of a team of bots, or of random players."""
    env = environments.make(name, 100, seed=1)
    rng = np.random.default_rng(0)
    done: list[float] = []
    while len(done) < episodes:
        group = env.buffers.groups[0]
        copies, players = group.reward.shape
        noise = rng.random(copies * players, dtype=np.float32)
        actions = rng.integers(0, 6, copies * players).astype(np.int32)
        if bot is not None:
            actions = environments.bot(bot)(
                group.obs.reshape(copies * players, -1), group.action_mask.reshape(-1, 6), noise
            )
        env.step({"agent": actions.reshape(copies, players)})
        done += env.buffers.outcome[env.buffers.episode_over, 0].tolist()
    return float(np.mean(done))


@pytest.mark.parametrize(
    ("name", "food", "least"),
    [
        ("foraging/8x8-2p-2f", 2, 0.99),
        ("foraging/8x8-2p-2f-coop", 2, 0.99),
        ("foraging/2s-8x8-2p-2f-coop", 2, 0.4),
        ("foraging/5x5-4p-2f", 2, 0.9),
        ("foraging/15x15-3p-5f", 5, 0.5),
    ],
)
def test_it_forages(name: str, food: int, least: float) -> None:
    assert returns(name, f"foraging/greedy-{food}f") >= least
    if "8x8-2p-2f" in name:
        assert returns(name, None) < least / 2


def one(*triples: list[int], mask: Array | None = None, noise: float = 0.0, food: int = 2) -> int:
    """What the bot does where it sees this, food first."""
    obs = np.array([[number for triple in triples for number in triple]], np.float32)
    bot = environments.bot(f"foraging/greedy-{food}f")
    (action,) = bot(obs, mask, np.array([noise], np.float32))
    assert action.dtype == np.int32
    return int(action)


def test_it_loads_only_with_those_who_are_there() -> None:
    assert one([2, 2, 3], GONE, [2, 1, 1], [3, 2, 2]) == LOAD
    assert one([2, 2, 3], GONE, [2, 1, 1], [5, 2, 2]) == NONE  # the other is on its way
    assert one([2, 2, 1], GONE, [2, 1, 1], [5, 2, 2]) == LOAD


def test_it_leaves_what_is_too_heavy_for_all() -> None:
    assert one([2, 2, 4], [2, 7, 3], [2, 1, 1], [3, 3, 2], noise=0.99) == EAST  # towards the second, if by a detour


def test_it_walks_around_others_and_food() -> None:
    assert one([0, 4, 1], GONE, [0, 0, 1], [0, 6, 1]) == EAST
    assert one([0, 4, 2], GONE, [0, 0, 1], [0, 1, 1]) in (NORTH, SOUTH, WEST)  # somebody is in the way
    blocked = np.array([[True, False, True, False, False, False]])
    assert one([0, 4, 1], GONE, [0, 0, 1], [0, 6, 1], mask=blocked) == SOUTH
    nowhere = np.array([[True, False, False, False, False, False]])
    assert one([0, 4, 1], GONE, [0, 0, 1], [0, 6, 1], mask=nowhere) == NONE


def test_alone_it_wanders() -> None:
    seen = {one(GONE, GONE, [3, 3, 1], GONE, noise=noise) for noise in (0.0, 0.3, 0.6, 0.9)}
    assert seen == {NORTH, SOUTH, WEST, EAST}


def test_a_row_depends_on_itself_alone() -> None:
    env = environments.make("foraging/8x8-2p-2f", 64, seed=4)
    group = env.buffers.groups[0]
    obs, mask = group.obs.reshape(128, -1), group.action_mask.reshape(128, -1)
    noise = np.random.default_rng(0).random(128, dtype=np.float32)
    bot = environments.bot("foraging/greedy-2f")
    together = bot(obs, mask, noise)
    assert together.tolist() == [int(bot(obs[i : i + 1], mask[i : i + 1], noise[i : i + 1])[0]) for i in range(128)]
    order = np.random.default_rng(1).permutation(128)
    assert bot(obs[order], mask[order], noise[order]).tolist() == together[order].tolist()


@pytest.mark.parametrize("options", [{"observe_agent_levels": False}, {"grid_observation": True, "sight": 3}])
def test_what_it_cannot_read_is_refused(options: dict[str, Any]) -> None:
    obs = environments.make("foraging/8x8-2p-2f", **options).buffers.groups[0].obs[0]
    with pytest.raises(UsageError, match="this bot reads lists of 2 pieces of food and of players, 3 numbers each"):
        environments.bot("foraging/greedy-2f")(obs, None, np.zeros(2, np.float32))
