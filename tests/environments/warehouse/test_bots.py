"""The robots that drive a round: they hand shelves over, decide row by row, and say what they cannot read."""

from __future__ import annotations

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.games.warehouse import bots, layout, names
from tests.environments.warehouse.reference import make

COPIES = 8


@pytest.mark.parametrize(("options", "least"), [({}, 8), (names.read("warehouse/small-4ag")[1], 10)])
def test_shelves_are_handed_over(options: dict[str, int], least: int) -> None:
    env = make(COPIES, seed=1, **options)
    fetch = environments.bot("warehouse/fetch-small" if options else "warehouse/fetch-tiny")
    chance = np.random.default_rng(2)
    rows = COPIES * len(env.spec.agents)
    for _ in range(env.spec.max_steps or 0):
        noise = chance.random(rows, dtype=np.float32)
        env.step({"agent": fetch(env.buffers.groups[0].obs.reshape(rows, -1), None, noise).reshape(COPIES, -1)})
    deliveries = env.buffers.metrics[:, 0]
    assert env.buffers.episode_over.all() and deliveries.min() >= least, deliveries


def test_a_row_is_decided_by_itself() -> None:
    env = make(64, seed=3)
    chance = np.random.default_rng(3)
    obs, noise = env.buffers.groups[0].obs.reshape(128, -1).copy(), chance.random(128, dtype=np.float32)
    together = bots.fetch_tiny(obs, None, noise)
    assert together.dtype == np.int32 and together.shape == (128,)
    order = chance.permutation(128)
    assert (bots.fetch_tiny(obs[order], None, noise[order]) == together[order]).all()
    alone = [bots.fetch_tiny(obs[k : k + 1], None, noise[k : k + 1])[0] for k in range(128)]
    assert (together == alone).all()


@pytest.mark.parametrize("size", names.SIZES)
def test_the_round_leads_past_every_shelf_and_over_a_goal(size: str) -> None:
    """From any cell one comes to the round, and on it past every place for a shelf; who hands over comes to a goal."""
    rows, columns = names.SIZES[size]
    floor = layout.regular(columns, bots.COLUMN_HEIGHT, rows)
    way, handing = bots.rounds(floor)
    for start_y, start_x in np.ndindex(floor.highway.shape):
        x, y = start_x, start_y
        for _ in range(floor.cells):
            dx, dy = bots.AHEAD[handing[y, x]]
            x, y = x + dx, y + dy
            assert 0 <= x < floor.width and 0 <= y < floor.height and floor.highway[y, x]
            if (x, y) in floor.goals:
                break
        else:
            raise AssertionError(f"no way to a goal from {start_x}, {start_y}")
    passed, x, y = set(), 0, 0
    for _ in range(floor.cells):
        dx, dy = bots.AHEAD[way[y, x]]
        x, y = x + dx, y + dy
        passed |= {(x + sx, y + sy) for sx, sy in bots.AHEAD.tolist()}
    assert passed >= {(x, y) for y, x in np.argwhere(floor.highway == 0).tolist()}


def test_what_it_cannot_read_is_said() -> None:
    noise = np.zeros(3, np.float32)
    for width in (70, 8, 15):  # no square of cells, none at all, only the own one
        with pytest.raises(UsageError, match="this bot reads what robots of tiny floors see, at least one cell far"):
            bots.fetch_tiny(np.zeros((3, width), np.float32), None, noise)
    for place in ((10, 0), (0, 11), (0.5, 0)):
        obs = np.zeros((3, 71), np.float32)
        obs[1, :2] = place
        with pytest.raises(UsageError, match=r"this bot knows floors of 10 x 11 cells \(tiny\); here is another"):
            bots.fetch_tiny(obs, None, noise)
