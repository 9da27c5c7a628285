"""The assignment of agents to places against scipy's."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from environments.games.particle.places import assign


@numba.njit(error_model="numpy")
def solve(records: Any, costs: Any, owner: Any) -> None:
    """Calls the kernel as a game does: with an array of a record."""
    for e in range(records.shape[0]):
        assign(records[e].agents, costs[e], owner[e])


def assigned(costs: np.ndarray) -> np.ndarray:
    """Agent at each place, for every table of `[E, N, N]`."""
    tables, count = costs.shape[:2]
    records = np.zeros(tables, np.dtype([("agents", np.float32, (count, 2))], align=True))
    framed = np.full((tables, count + 1, count + 1), np.nan, np.float32)
    framed[:, 1:, 1:] = costs
    owner = np.zeros((tables, count + 1), np.int64)
    solve(records, framed, owner)
    return owner[:, 1:] - 1


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_least_total_distance(count: int) -> None:
    generator = np.random.default_rng(count)
    tables = [generator.random((60, count, count)), generator.integers(0, 3, (60, count, count))]
    points = generator.uniform(-1, 1, (2, 60, count, 2))
    tables.append(np.linalg.norm(points[0][:, :, None] - points[1][:, None], axis=-1))
    costs = np.concatenate(tables).astype(np.float32)
    owners = assigned(costs)
    for table, owner in zip(costs, owners, strict=True):
        assert sorted(owner.tolist()) == list(range(count))
        rows, columns = linear_sum_assignment(table)
        assert table[owner, range(count)].sum() == pytest.approx(table[rows, columns].sum(), abs=1e-5)


def test_equal_and_huge_costs_come_to_an_end() -> None:
    for value in (0.0, 1e9):
        owner = assigned(np.full((1, 9, 9), value, np.float32))[0]
        assert sorted(owner.tolist()) == list(range(9))
