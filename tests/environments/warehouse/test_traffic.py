"""Who drives: one step on crowded floors beside rware, and CPython's sets beside the walk through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx
import numpy as np

from environments.compile import kernel
from environments.games.warehouse import traffic
from environments.native import NativeEnv
from environments.vector import Array
from tests.environments.warehouse.reference import Reference, make

FLOOR = "\n".join(["........g", *[".xx..xx.."] * 2, "......x..", *[".xx.xx..."] * 2, "........."])
ROBOTS = 14
COPIES = 1200
STEPS = {0: (0, -1), 1: (0, 1), 2: (-1, 0), 3: (1, 0)}


def crowds(env: NativeEnv, chance: np.random.Generator) -> dict[str, Array]:
    """Random states, a quarter each: robots that head anywhere, for one point, round in fours, or in four queues."""
    arrays = {name: array.copy() for name, array in env.capture(range(COPIES)).arrays.items()}
    _, height, width = arrays["floor"].shape
    kind = np.arange(COPIES)[:, None] % 4
    queues = [(x, 3) for x in range(9) if x != 4] + [(4, y) for y in range(7) if y != 3]  # around the cell (4, 3)
    for e in range(COPIES):
        rows, columns = chance.integers(4, height + 1), chance.integers(5, width + 1)  # from crowded to sparse
        cells = chance.choice(rows * columns, ROBOTS, replace=False)
        x, y = chance.permutation(queues).T if kind[e] == 3 else (cells % columns, cells // columns)
        arrays["position"][e] = np.stack([x, y], 1)
        arrays["carrying"][e] = (arrays["floor"][e, y, x] > 0) & (chance.random(ROBOTS) < 0.35) & (kind[e] != 3)
    x, y = arrays["position"][..., 0], arrays["position"][..., 1]
    point_x, point_y = np.where(kind == 3, 4, x[:, :1]), np.where(kind == 3, 3, y[:, :1])
    sideways = (y == point_y) | ((x != point_x) & (chance.random(x.shape) < 0.5))
    towards = np.where(sideways, np.where(x < point_x, 3, 2), np.where(y < point_y, 1, 0))
    around = np.array([[3, 1], [0, 2]])[y % 2, x % 2]
    anywhere = chance.integers(0, 4, x.shape)
    directed = np.select([kind == 0, kind == 2], [anywhere, around], towards)
    arrays["direction"] = np.where(chance.random(x.shape) < 0.05, anywhere, directed).astype(np.uint8)
    return arrays


class Kinds:
    """How often each kind of meeting was seen."""

    def __init__(self) -> None:
        self.rings = self.swaps = self.named_ties = self.set_ties = self.long_chains = 0

    def count(self, arrays: Mapping[str, Array], actions: Array, size: tuple[int, int]) -> None:
        """Look at one state; shelves that stand in the way are left out of account."""
        graph: Any = networkx.DiGraph()
        for (x, y), direction, action in zip(arrays["position"].tolist(), arrays["direction"], actions, strict=True):
            dx, dy = STEPS[int(direction)] if action == 1 else (0, 0)
            graph.add_edge((x, y), (min(max(x + dx, 0), size[1] - 1), min(max(y + dy, 0), size[0] - 1)))
        for part in networkx.weakly_connected_components(graph):
            inside = graph.subgraph(part)
            try:
                cycle = networkx.find_cycle(inside)
                self.rings += len(cycle) > 2
                self.swaps += len(cycle) == 2
            except networkx.NetworkXNoCycle:
                longest = networkx.dag_longest_path_length(inside)
                self.long_chains += longest > 3
                ends = [node for node in inside if inside.in_degree(node) == 0]
                (free,) = [node for node in inside if inside.out_degree(node) == 0]
                tied = sum(networkx.shortest_path_length(inside, node, free) == longest for node in ends) > 1
                self.named_ties += tied and 2 * len(part) >= len(graph)
                self.set_ties += tied and 2 * len(part) < len(graph)


def test_crowded_floors() -> None:
    env = make(COPIES, layout=FLOOR, n_agents=ROBOTS, request_queue_size=3)
    reference = Reference(env.spec.options)
    chance = np.random.default_rng(8)
    arrays = crowds(env, chance)
    env.restore(range(COPIES), arrays)
    actions = np.where(chance.random((COPIES, ROBOTS)) < 0.93, 1, chance.integers(0, 5, (COPIES, ROBOTS)))
    clocks = env.capture(range(COPIES)).clock
    env.step({"agent": actions.astype(np.int32)})
    after = env.capture(range(COPIES)).arrays
    kinds = Kinds()
    for e in range(COPIES):
        before = {name: array[e] for name, array in arrays.items()}
        reference.put(before)
        kinds.count(before, actions[e], reference.env.grid_size)
        reference.step(actions[e].tolist(), int(clocks["seed"][e]), int(clocks["draws"][e]))
        for name, array in reference.get().items():
            np.testing.assert_array_equal(after[name][e], array, err_msg=f"{name} of copy {e}")
    assert min(vars(kinds).values()) >= 20, vars(kinds)


def test_states_that_cannot_be_do_no_harm() -> None:
    """Robots on one cell, off the floor, in no direction: a damaged file may say so. Nothing else is touched."""
    env = make(COPIES, layout=FLOOR, n_agents=ROBOTS, request_queue_size=3)
    chance = np.random.default_rng(10)
    strange = {
        "position": chance.integers(-5, 15, (COPIES, ROBOTS, 2)),
        "direction": chance.integers(0, 256, (COPIES, ROBOTS)),
        "carrying": chance.integers(0, 256, (COPIES, ROBOTS)),
    }
    env.restore(range(COPIES), strange)
    height, width = env.capture(0).arrays["floor"].shape
    for _ in range(20):
        env.step({"agent": chance.choice([-1, 1, 1, 1, 2, 3, 4, 9], (COPIES, ROBOTS)).astype(np.int32)})
        position = env.capture(range(COPIES)).arrays["position"]
        assert (position >= 0).all() and (position < [width, height]).all()
        assert np.isfinite(env.buffers.groups[0].obs).all()


@kernel(entry=True)
def walk(x: Array, y: Array, order: Array, slots: Array, hashes: Array) -> None:
    """Fill a set with the places (x, y), in their order."""
    for k in range(len(x)):
        order[k] = k
        hashes[k] = traffic.hash_of(x[k], y[k])
    traffic.fill_set(order, slots, hashes, len(x))


def test_the_order_of_a_set_is_pythons() -> None:
    chance = np.random.default_rng(9)
    for size in [*range(1, 25), 76, 77, 100]:  # CPython's table grows at 5, 19 and 77
        for _ in range(10):
            cells = chance.choice(800, size, replace=False)
            x, y = cells % 31, cells // 31
            order = np.zeros(size, np.int64)
            walk(x, y, order, np.zeros(size, np.uint64), np.zeros(size, np.uint64))
            places = [(int(x[k]), int(y[k])) for k in range(size)]
            grown = set()
            for place in places:
                grown.add(place)
            assert [places[k] for k in order] == list(grown)
