"""Nobody is first: what happens to a battle's mirror image is the mirror image of what happens to it, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from environments.vector import Array, VectorEnv
from tests.environments.skirmish import battles
from tests.environments.skirmish.battles import Lab

SIDES = {"2s3z": 5, "MMM": 10, "random-5v5": 5}


def mirrored(arrays: Mapping[str, Array], side: int) -> dict[str, Array]:
    """The state with sides swapped and left and right with them."""
    swapped = {name: np.concatenate([a[:, side:], a[:, :side]], 1) for name, a in arrays.items() if name != "prize"}
    return {**swapped, "x": -swapped["x"], "prize": arrays["prize"][:, ::-1]}


def assert_mirrored(one: VectorEnv, two: VectorEnv, side: int, copies: Array, when: object) -> None:
    a, b = (env.capture(range(env.num_envs)).arrays for env in (one, two))
    image = mirrored(a, side)
    for name, array in b.items():
        assert np.array_equal(image[name][copies], array[copies]), f"{name}, {when}"


@pytest.mark.parametrize(("name", "side"), SIDES.items())
def test_the_mirror_image_of_a_battle(name: str, side: int) -> None:
    one, two = (battles.make(name, 64, opponent="team", max_cycles=60) for _ in range(2))
    two.restore(range(64), mirrored(one.capture(range(64)).arrays, side))
    rng = np.random.default_rng(1)
    same = np.ones(64, bool)  # until an episode ends: the next begins elsewhere
    fallen = 0
    for t in range(59):
        actions = battles.approaching(one, rng)
        a = one.step(actions)
        b = two.step({"ally": actions["enemy"], "enemy": actions["ally"]})
        assert np.array_equal(a.episode_over[same], b.episode_over[same])
        assert np.array_equal(a.outcome[same], b.outcome[same][:, ::-1])
        for mine, theirs in zip(a.groups, b.groups[::-1], strict=True):
            for field in ("reward", "terminated"):
                assert np.array_equal(getattr(mine, field)[same], getattr(theirs, field)[same]), f"{field}, {t}"
        fallen += int(a.groups[0].terminated.sum())
        same &= ~a.episode_over
        assert_mirrored(one, two, side, same, t)
        for mine, theirs in zip(a.groups, b.groups[::-1], strict=True):  # each sees its own side on the left
            for field in ("obs", "action_mask", "acting"):
                assert np.array_equal(getattr(mine, field)[same], getattr(theirs, field)[same]), f"{field}, {t}"
    assert fallen > 20


def test_seats_are_worth_the_same() -> None:
    """Two sides that play alike win equally often."""
    env = battles.make("3m", 512, opponent="team")
    rng = np.random.default_rng(2)
    scores: list[Array] = []
    for _ in range(150):
        out = env.step(battles.approaching(env, rng))
        scores.append(out.outcome[out.episode_over])
    score = np.concatenate(scores)
    assert len(score) > 1000 and np.allclose(score.sum(1), 1)
    assert abs(score[:, 0].mean() - 0.5) < 4 * 0.5 / np.sqrt(len(score))


def test_who_strikes_at_once_falls_at_once() -> None:
    """Both last marines strike: both fall, and it is a draw."""
    lab = Lab("1 marine", "1 marine", x=[-2, 2], y=[0, 0], health=[6, 6])
    lab.step([battles.AIM], [battles.AIM])
    buffers = lab.env.buffers
    assert buffers.episode_over[0] and buffers.outcome[0].tolist() == [0.5, 0.5]
    assert buffers.groups[0].terminated[0, 0] and buffers.groups[1].terminated[0, 0]
    assert buffers.metrics[0].tolist() == [0, 1, 1]


def test_one_kind_of_two_teams_is_the_same_battle() -> None:
    """Opponent `self` is `team` with both sides' rows in one group, team by team."""
    one, two = (battles.make("3m", 32, opponent=who) for who in ("team", "self"))
    rng = np.random.default_rng(6)
    kind = two.spec.kinds[0]
    assert kind.teams == 2 and two.spec.team_of(two.spec.groups[0]) == (0, 0, 0, 1, 1, 1)
    over = 0
    for t in range(120):
        actions = battles.approaching(one, rng)
        a, b = one.step(actions), two.step({"unit": np.concatenate([actions["ally"], actions["enemy"]], 1)})
        for field in ("obs", "action_mask", "acting", "reward", "terminated", "truncated"):
            sides = [getattr(group, field) for group in a.groups]
            assert np.array_equal(np.concatenate(sides, 1), getattr(b.groups[0], field)), f"{field}, {t}"
        for field in ("state", "outcome", "metrics", "episode_over"):
            assert np.array_equal(getattr(a, field), getattr(b, field)), f"{field}, {t}"
        over += int(b.episode_over.sum())
    assert over > 10
