"""Rules in small: what rware leaves to chance, rewards by hand, names, floors, what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import rware
from rware.warehouse import RewardType

import environments
from environments.errors import UsageError
from environments.games.warehouse import layout, names, robots
from environments.vector import Array
from tests.environments.warehouse.reference import make

assert rware, "registers its environments"
TINY = layout.regular(3, 8, 1)
MANY = 20_000
FORWARD, LEFT, RIGHT, LIFT = 1, 2, 3, 4


def unlikely(counts: Array) -> bool:
    """True where counts of equally likely cases differ by more than six standard deviations of chi squared allow."""
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    return bool(abs(((counts - expected) ** 2 / expected).sum() - degrees) > 6 * (2 * degrees) ** 0.5)


def test_starts_are_uniform() -> None:
    env = make(MANY, seed=1)
    arrays = env.capture(range(MANY)).arrays
    x, y = arrays["position"][..., 0].astype(int), arrays["position"][..., 1].astype(int)
    cells = y * TINY.width + x
    assert (cells[:, 0] != cells[:, 1]).all()
    pairs = np.bincount(cells[:, 0] * TINY.cells + cells[:, 1], minlength=TINY.cells**2).reshape(TINY.cells, -1)
    assert not unlikely(pairs[~np.eye(TINY.cells, dtype=bool)])
    for i in range(2):
        assert not unlikely(np.bincount(arrays["direction"][:, i], minlength=4))
    assert ((arrays["floor"] > 0) == (TINY.highway == 0)).all()
    asked = arrays["floor"] == 2
    assert (asked.sum((1, 2)) == 2).all()
    assert not unlikely(asked.sum(0)[TINY.highway == 0])
    assert not arrays["carrying"].any() and not arrays["delivered"].any() and not arrays["idle"].any()


def about_to_deliver(count: int, **options: Any) -> Any:
    """Copies in which robot 0 carries a requested shelf and is one step above the left goal, heading down."""
    env = make(count, seed=2, **options)
    floor = np.where(TINY.highway, 0, 1).astype(np.uint8)
    floor[8, 2], floor[2, 1] = 0, 2  # the shelf of (2, 8) is under way, the one at (1, 2) is also asked for
    floor[9, 4] = 2
    state = {
        "floor": floor,
        "position": np.array([[4, 9], [0, 0]]),
        "direction": np.array([1, 0]),
        "carrying": np.array([1, 0]),
        "idle": np.array(17),
    }
    env.restore(range(count), {name: np.broadcast_to(a, (count, *np.shape(a))) for name, a in state.items()})
    return env


def test_a_new_request_is_any_shelf_not_asked_for() -> None:
    env = about_to_deliver(MANY)
    env.step({"agent": np.tile(np.array([FORWARD, 0], np.int32), (MANY, 1))})
    floor = env.capture(range(MANY)).arrays["floor"]
    assert (env.buffers.groups[0].reward == [1, 0]).all()
    asked = floor == 2
    assert (asked.sum((1, 2)) == 2).all() and asked[:, 2, 1].all()
    assert not asked[:, 10, 4].any(), "what was just handed over is not asked for again at once"
    drawn = asked.sum(0)
    candidates = TINY.highway == 0
    candidates[8, 2] = candidates[2, 1] = False
    assert candidates.sum() == 30 and drawn[candidates].sum() == MANY
    assert not unlikely(drawn[candidates])


@pytest.mark.parametrize(
    ("kind", "delivery", "return_"),
    [("individual", [1, 0], [0, 0]), ("global", [1, 1], [0, 0]), ("two_stage", [0.5, 0], [0.5, 0])],
)
def test_who_is_paid_when(kind: str, delivery: list[float], return_: list[float]) -> None:
    env = about_to_deliver(1, reward_type=kind)
    group = env.buffers.groups[0]
    paid = []
    way = [RIGHT, FORWARD, RIGHT, FORWARD, FORWARD, LEFT, FORWARD]
    for action in [FORWARD, LIFT, *way, LIFT, LIFT, LIFT]:  # on an aisle nothing can be put down; lifted once more
        env.step({"agent": np.array([[action, 0]], np.int32)})
        paid.append(group.reward[0].tolist())
    now = env.capture(0)
    assert now.arrays["position"][0].tolist() == [2, 8] and not now.arrays["carrying"][0] and now.arrays["floor"][8, 2]
    assert now.arrays["idle"] == len(paid) - 1 and now.clock["metrics"].tolist() == [1, 0]
    nothing = [[0, 0]]
    assert paid == [delivery, *nothing * 8, return_, *nothing * 2]


def test_two_shelves_handed_over_in_one_step() -> None:
    """The second goal is looked at after the first one's new request: that may be the shelf that stands there."""
    env = about_to_deliver(MANY)
    floor = env.capture(0).arrays["floor"].copy()
    floor[1, 2], floor[10, 5] = 0, 1  # a shelf nobody asked for stands on the right goal
    state = {"floor": floor, "position": np.array([[4, 9], [5, 10]]), "carrying": np.array([1, 1])}
    env.restore(range(MANY), {name: np.broadcast_to(a, (MANY, *a.shape)) for name, a in state.items()})
    env.step({"agent": np.tile(np.array([FORWARD, 0], np.int32), (MANY, 1))})
    reward = env.buffers.groups[0].reward
    assert (reward[:, 0] == 1).all()
    assert abs(reward[:, 1].mean() - 1 / 30) < 6 * (1 / 30 / MANY) ** 0.5
    assert (env.capture(range(MANY)).arrays["floor"] == 2).sum() == 2 * MANY


@pytest.mark.parametrize("difficulty", names.REQUESTS)
@pytest.mark.parametrize("size", names.SIZES)
def test_names_mean_what_rware_registers(size: str, difficulty: str) -> None:
    for count in (2, 7, 15):
        said = names.read(f"warehouse/{size}-{count}ag{difficulty}")
        theirs = gymnasium.spec(f"rware-{size}-{count}ag{difficulty}-v2").kwargs
        options = robots.Options(**said[1])
        assert said[0] == "warehouse/robots"
        assert RewardType[options.reward_type.upper()] == theirs["reward_type"]
        assert options.max_cycles == theirs["max_steps"] and options.max_inactivity_steps is None
        for option in said[1].keys() - {"reward_type"}:
            assert getattr(options, option) == theirs[option], option


def test_names_in_full() -> None:
    assert names.read("warehouse/3s-small-5h-4ag-hard")[1] == {
        "shelf_rows": 2,
        "shelf_columns": 3,
        "column_height": 5,
        "n_agents": 4,
        "request_queue_size": 2,
        "sensor_range": 3,
        "reward_type": "individual",
    }
    assert names.read("warehouse/4x7-2h-9ag-5req-twostage")[1] == {
        "shelf_rows": 4,
        "shelf_columns": 7,
        "column_height": 2,
        "n_agents": 9,
        "request_queue_size": 5,
        "sensor_range": 1,
        "reward_type": "two_stage",
    }
    for strange in ("warehouse/tiny", "warehouse/tiny-ag", "warehouse/huge-2ag", "warehouse/tiny-2ag-v2"):
        with pytest.raises(UsageError, match=f"^unknown environment '{strange}'; known: warehouse/robots, "):
            environments.make(strange)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_agents": 111}, r"n_agents must be a whole number from 1 to 100 on 110 cells, not 111"),
        ({"layout": "xxg", "n_agents": 4}, r"n_agents must be a whole number from 1 to 3 on 3 cells, not 4"),
        ({"request_queue_size": 0}, r"request_queue_size must be a whole number from 1 to 31 with 32 shelves, not 0"),
        ({"request_queue_size": 32}, r"request_queue_size must be .* from 1 to 31 with 32 shelves, not 32"),
        ({"shelf_columns": 4}, r"shelf_columns must be an odd number from 1 to 31, not 4"),
        ({"shelf_columns": 33}, r"shelf_columns must be a whole number from 1 to 31, not 33"),
        ({"shelf_columns": 1}, r"shelf_columns=1, column_height=8, shelf_rows=1 must leave at least 2 shelves, not 0"),
        ({"column_height": 0}, r"column_height must be a whole number from 1 to 30, not 0"),
        ({"shelf_rows": 21}, r"shelf_rows must be a whole number from 1 to 20, not 21"),
        ({"sensor_range": 21}, r"sensor_range must be a whole number from 0 to 20, not 21"),
        ({"max_cycles": 0}, r"max_cycles must be a whole number from 1 to 1000000, not 0"),
        ({"max_inactivity_steps": 0}, r"max_inactivity_steps must be a whole number from 1 to 1000000, not 0"),
        ({"layout": "xx.\nxg"}, r"layout must be a rectangle: row 2 has 2 cells, the first 3"),
        ({"layout": "xxo"}, r"layout must be drawn with x \(shelf\), \. \(aisle\) and g \(goal\), not 'o'"),
        ({"layout": "xx."}, r"layout must have at least 1 goal \(g\), not 0"),
        ({"layout": "x.g"}, r"layout must leave at least 2 shelves, not 1"),
        ({"layout": "x" * 701}, r"layout must have 1 to 700 rows and columns, not 1 rows and 701 columns"),
        ({"layout": ""}, r"layout must have 1 to 700 rows and columns, not 1 rows and 0 columns"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^warehouse/robots: {message}$"):
        environments.make("warehouse/robots", **options)


def test_the_end_by_time_is_a_truncation_where_asked_for() -> None:
    for terminates in (True, False):
        env = make(max_cycles=1, timeout_terminates=terminates)
        env.step({"agent": np.zeros((1, 2), np.int32)})
        assert env.buffers.episode_over[0] and env.buffers.episode_truncated[0] == (not terminates)
        assert (env.buffers.groups[0].terminated == terminates).all()
