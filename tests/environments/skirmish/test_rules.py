"""Known answers: strikes, shields, healing, splash, moves, discs, ends, rewards, and the built-in opponents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from environments.errors import UsageError
from environments.games.skirmish.units import UNITS, Roster
from environments.vector import Array
from tests.environments.skirmish import battles
from tests.environments.skirmish.battles import AIM, BACK, DOWN, FORWARD, STOP, UP, Lab


def test_a_marine_strikes_every_other_step() -> None:
    lab = Lab("1 marine", "1 marine", x=[-2, 2], y=[0, 0])
    assert [lab.step([AIM])["health"][1] for _ in range(5)] == [39, 39, 33, 33, 27]


def test_range_is_from_rim_to_rim() -> None:
    lab = Lab("1 marine", "1 marine")
    for gap, hurt in ((5.74, 6), (5.76, 0)):  # 5 and two radii of 0.375
        lab.put(x=[0, gap], y=[0, 0], cooldown=[0, 0], health=[45, 45])
        assert lab.legal(0)[AIM] == (hurt > 0)
        assert 45 - lab.step([AIM])["health"][1] == hurt


def test_shields_go_first() -> None:
    lab = Lab("1 zealot", "1 stalker", x=[0, 1], y=[0, 0], shield=[50, 20])
    after = lab.step([AIM])
    assert (after["shield"][1], after["health"][1], after["hurt"][1]) == (4, 80, 16)
    lab.step([AIM])
    after = lab.step([AIM])
    assert (after["shield"][1], after["health"][1]) == (0, 68)


def test_a_colossus_hits_those_beside_its_target_and_not_its_own() -> None:
    lab = Lab("1 colossus, 1 marine", "3 marine", x=[-4, 1, 2, 3, 4], y=[0, 0, 0, 0, 0])
    assert lab.step([AIM])["health"].tolist()[1:] == [45, 29, 29, 45]  # 1.0 and 2.0 from the target


def test_healing_ends_at_full_health_and_raises_nobody() -> None:
    lab = Lab("1 medivac, 2 marine", "1 marine", x=[0, 2, 2, 5], y=[0, -2, 2, -2], health=[150, 43, 45, 45])
    assert lab.legal(0) == [True] * 5 + [True, False, False]
    after = lab.step([AIM])
    assert after["health"].tolist() == [150, 45, 45, 45] and after["mended"].tolist() == [0, 4, 0, 0]
    lab.put(health=[150, 5, 45, 45])
    assert lab.step([AIM], [AIM + 1])["health"].tolist() == [150, 0, 45, 45]
    assert lab.env.buffers.groups[0].terminated[0].tolist() == [False, True, False]
    assert lab.env.buffers.groups[0].acting[0].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("move", "dx", "dy"), [(FORWARD, 1, 0), (BACK, -1, 0), (UP, 0, 1), (DOWN, 0, -1), (STOP, 0, 0)]
)
def test_moves(move: int, dx: int, dy: int) -> None:
    lab = Lab("1 marine", "1 zealot", x=[-5, 5], y=[0, 0])
    after = lab.step([move], [move])  # each forward is towards the other
    assert after["x"].tolist() == [-5 + 1.25 * dx, 5 - 1.5 * dx] and after["y"].tolist() == [1.25 * dy, 1.5 * dy]


def test_the_edge_stops_and_is_masked() -> None:
    lab = Lab("1 marine", "1 marine", x=[-11.5, 5], y=[8.5, 0])
    assert lab.step([BACK])["x"][0] == -12
    assert lab.legal(0)[:5] == [True, True, False, True, True]
    assert lab.step([UP])["y"][0] == 9
    assert lab.legal(0)[:5] == [True, True, False, False, True]


def test_illegal_aims_do_nothing() -> None:
    lab = Lab("2 marine", "2 marine", x=[-2, -2, 2, 11], y=[0, 2, 0, 0])
    before = lab.state()
    for aim in (AIM + 1, AIM + 2, AIM + 3, -1, 99, 2**31 - 1):  # out of range, not there, impossible
        after = lab.step([aim])
        for name in ("x", "y", "health", "cooldown"):
            assert np.array_equal(after[name], before[name]), (aim, name)


def test_overlapping_discs_part() -> None:
    lab = Lab("2 marine", "1 marine", x=[0, 0.5, 6], y=[0, 0, 0])
    np.testing.assert_allclose(lab.step([STOP])["x"], [-0.125, 0.625, 6], atol=1e-6)


def test_a_crowd_keeps_apart() -> None:
    """Twenty-seven a side: some overlap may last for a step or two."""
    env = battles.make("zerg-27v27", 4, start="lines")
    rng = np.random.default_rng(0)
    closest = []
    for _ in range(40):
        env.step(battles.approaching(env, rng))
        for copy in range(4):
            s = env.capture(copy).arrays
            up = np.flatnonzero(s["health"] > 0)
            gaps = np.hypot(*(s[axis][up][:, None] - s[axis][up] for axis in ("x", "y"))) + 9 * np.eye(len(up))
            closest.append(gaps.min())
    assert np.mean(np.array(closest) > 0.3) > 0.9


def played(name: str, steps: int = 120, **options: Any) -> list[tuple[Array, Any, Any, Any]]:
    """(rewards per side, state before, state after, buffers' copies) of every step in which copy 0 did not end."""
    env = battles.make(name, 1, opponent="team", **options)
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(steps):
        before = env.capture(0).arrays
        out = env.step(battles.approaching(env, rng))
        pay = np.array([group.reward[0, 0] for group in out.groups])
        assert all((group.reward[0] == group.reward[0, 0]).all() for group in out.groups)  # to the fallen too
        rows.append((pay, before, None if out.episode_over[0] else env.capture(0).arrays, out.outcome[0].copy()))
    return rows


@pytest.mark.parametrize("name", ["2s3z", "MMM"])
def test_shaped_reward_is_what_the_other_side_lost(name: str) -> None:
    side = {"2s3z": 5, "MMM": 10}[name]
    total, returns = np.zeros(2), []
    for pay, before, after, outcome in played(name):
        total += pay
        if after is not None:
            points = [(s["health"] + s["shield"]).reshape(2, side).sum(1) for s in (before, after)]
            fallen = ((before["health"] > 0) & (after["health"] <= 0)).reshape(2, side).sum(1)
            prize = 20 / (200 + 10 * side + _whole(name))
            np.testing.assert_allclose(pay, prize * (points[0] - points[1] + 10 * fallen)[::-1], atol=1e-5)
        else:
            returns.append((total, outcome))
            total = np.zeros(2)
    assert returns
    for paid, outcome in returns:
        assert (paid <= 20 + 1e-4).all()
        assert all(value == pytest.approx(20, abs=1e-4) for value in paid[outcome == 1])


def _whole(name: str) -> float:
    types = Roster.of(battles.make(name).spec.options).allies
    return sum(UNITS[kind].health + UNITS[kind].shield for kind in types)


def test_sparse_reward_is_victory_and_defeat() -> None:
    for pay, _, after, outcome in played("3m", reward="sparse"):
        assert pay.tolist() == ([0, 0] if after is not None else (2 * outcome - 1).tolist())


def test_a_battle_without_an_end_is_a_draw() -> None:
    env = battles.make("3m", max_cycles=4, opponent="team")
    for _ in range(4):
        env.step({name: np.zeros((1, 3), np.int32) for name in ("ally", "enemy")})
    assert env.buffers.groups[0].truncated.all() and not env.buffers.groups[0].terminated.any()
    assert env.buffers.outcome[0].tolist() == [0.5, 0.5] and env.buffers.metrics[0].tolist() == [0, 0, 0]


def order_of(opponent: str, enemies: str, allies: str = "2 marine", **arrays: Any) -> int:
    """What the built-in opponent tells its first unit."""
    lab = Lab(allies, enemies, opponent, **arrays)
    first = sum(row < lab.SIDE for row in lab.rows)
    return int(lab.step([STOP])["order"][first])


def test_the_weak_opponent_strikes_the_nearest_and_the_strong_one_the_weakest() -> None:
    near = {"x": [0, -1, 3], "y": [0, 0, 0], "health": [45, 7, 45]}
    assert order_of("weak", "1 marine", **near) == AIM and order_of("strong", "1 marine", **near) == AIM + 1


@pytest.mark.parametrize(
    ("x", "y", "order"),
    [([-10, -11, 10], [0, 0, 0], FORWARD), ([10, 11, 0], [0, 0, 0], BACK), ([0, 0, 0.5], [8, 9, -2], UP)],
)
def test_opponents_walk_to_the_nearest_wherever_it_is(x: list[float], y: list[float], order: int) -> None:
    assert order_of("weak", "1 marine", x=x, y=y) == order == order_of("strong", "1 marine", x=x, y=y)


def test_the_strong_opponent_steps_back_from_who_must_come_close() -> None:
    close = {"x": [0, 3], "y": [0, 0], "cooldown": [0, 3]}
    assert order_of("strong", "1 stalker", "1 zealot", **close) == BACK
    assert order_of("weak", "1 stalker", "1 zealot", **close) == AIM
    assert order_of("strong", "1 stalker", "1 zealot", **{**close, "cooldown": [0, 0]}) == AIM
    assert order_of("strong", "1 stalker", "1 marauder", **close) == AIM  # who reaches as far is not run from


def test_healers_of_the_opponent_heal() -> None:
    wounded = {"x": [-9, 3, 4, 4], "y": [0, 0, 1, -2], "health": [45, 150, 45, 20]}
    for opponent in ("weak", "strong"):
        assert order_of(opponent, "1 medivac, 2 marine", "1 marine", **wounded) == AIM + 1


def test_lines_start_in_the_plane_and_apart() -> None:
    for name, side in (("3m", 3), ("zerg-27v27", 27)):
        s = battles.make(name, 300, start="lines").capture(range(300)).arrays
        assert np.abs(s["x"]).max() < 12 and np.abs(s["y"]).max() < 9
        assert (s["x"][:, :side] < -3.9).all() and (s["x"][:, side:] > 3.9).all()
        gaps = np.hypot(*(s[axis][:, :, None] - s[axis][:, None] for axis in ("x", "y"))) + 9 * np.eye(2 * side)
        assert gaps.min() > 0.75


def test_scattered_starts_are_around_or_in_the_mirror() -> None:
    s = battles.make("random-5v5", 600, opponent="team").capture(range(600)).arrays
    reflected = (s["x"][:, :5] == -s["x"][:, 5:]).all(1)
    assert 0.42 < reflected.mean() < 0.58
    assert (s["y"][reflected, :5] == s["y"][reflected, 5:]).all() and (s["x"][reflected, :5] <= -3).all()
    around = s["x"][~reflected, :5], s["x"][~reflected, 5:]
    assert np.abs(around[0]).max() <= 2.5 and np.abs(around[1]).min() >= 7.5 and np.abs(around[1]).max() <= 10.5
    assert 0.4 < (around[1] > 0).mean() < 0.6


def drawn(balls: dict[str, int], enemies: str = "3 random") -> Array:
    """`[2000, 6]` types of units drawn from an urn with so many balls, 1 of each other type."""
    urn = ", ".join(f"{balls.get(kind, 1)} {kind}" for kind in UNITS)
    env = battles.make("battle", 2000, allies="3 random", enemies=enemies, urn=urn)
    kinds: Array = np.array(list(UNITS))[env.capture(range(2000)).arrays["kind"]]
    return kinds


def test_units_are_drawn_from_the_urn_and_alike_for_both_sides() -> None:
    kinds = drawn({"marine": 9, "zergling": 4})
    for kind, balls in (("marine", 9), ("zergling", 4), ("colossus", 1)):
        assert (kinds[:, :3] == kind).mean() == pytest.approx(balls / 19, abs=0.025)
    assert (kinds[:, :3] == kinds[:, 3:]).all()


def test_no_side_is_of_healers_alone() -> None:
    kinds = drawn({"medivac": 57}, "2 medivac, 1 random")
    assert (kinds[:, :5] == "medivac").mean() > 0.75
    assert not (kinds[:, :3] == "medivac").all(1).any() and not (kinds[:, 5] == "medivac").any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allies": "3 marin"}, "allies has no unit 'marin'; did you mean 'marine'?"),
        ({"enemies": "marine"}, "enemies must be counts and types, as in '2 stalker, 3 zealot', not 'marine'"),
        ({"enemies": ""}, "enemies must be counts and types"),
        ({"allies": "0 marine"}, "allies must have 1 to 64 of each unit, not 0 marine"),
        ({"allies": "40 marine, 40 zealot"}, "allies must have 1 to 64 units, not 80"),
        ({"allies": "3 medivac"}, "allies must have a unit that strikes, not only '3 medivac'"),
        ({"allies": "3 random", "urn": "1 medivac"}, "urn must hold a unit that strikes, not only '1 medivac'"),
        ({"urn": "1 random"}, "urn has no unit 'random'"),
        ({"enemies": "4 marine", "opponent": "self"}, "opponent 'self' needs as many enemies as allies, not 3 and 4"),
        ({"max_cycles": 0}, "max_cycles must be 1 to 1,000,000, not 0"),
    ],
)
def test_impossible_battles_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        battles.make("battle", **options)
    assert message in str(refused.value)
