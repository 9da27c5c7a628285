"""The bot that goes to the nearest right block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import UsageError

NAME = "colorgrid/leader_follower"


def episode(num_envs: int = 64, **options: Any) -> dict[str, float]:
    """Mean metrics of one episode in which leader and follower are the bot."""
    env = environments.make(NAME, num_envs, **options)
    bot = environments.bot("colorgrid/nearest")
    rng = np.random.default_rng(0)
    while not env.buffers.episode_over.any():
        groups = zip(("leader", "follower"), env.buffers.groups, strict=True)
        noise = rng.random((2, num_envs), np.float32)
        env.step({name: bot(g.obs[:, 0], None, noise[i])[:, None] for i, (name, g) in enumerate(groups)})
    return dict(zip([name for name, _ in env.spec.metrics], env.buffers.metrics.mean(0).tolist(), strict=True))


def test_who_knows_the_goal_takes_right_blocks() -> None:
    metrics = episode(knows_goal="both")
    for agent in ("leader", "follower"):
        assert metrics[f"{agent}_right"] > 35 and metrics[f"{agent}_wrong"] < 0.2 * metrics[f"{agent}_right"]


def test_a_follower_reads_the_goal_off_what_the_leader_takes() -> None:
    blind, seeing = episode(), episode(last_taken=True)
    assert blind["follower_right"] < 10
    assert seeing["follower_right"] > 25
    assert seeing["follower_wrong"] < 0.5 * seeing["follower_right"]


def test_it_goes_straight_and_round_wrong_blocks() -> None:
    env = environments.make(NAME, random_goal=False)
    bot = environments.bot("colorgrid/nearest")

    def moves(**blocks: tuple[int, int]) -> set[int]:
        grid = np.zeros((8, 8), np.uint8)
        for color, (x, y) in blocks.items():
            grid[y, x] = ("none", "red", "green", "blue").index(color)
        env.restore(0, {"grid": grid, "place": np.array([[4, 4], [0, 0]]), "goal": np.array(0)})
        seen = np.repeat(env.buffers.groups[0].obs[:, 0], 40, axis=0)
        return set(bot(seen, None, np.linspace(0, 0.999, 40, dtype=np.float32)).tolist())

    up, down, left, right = range(4)
    assert moves(red=(4, 6)) == {up} and moves(red=(4, 2)) == {down}
    assert moves(red=(2, 4)) == {left} and moves(red=(6, 4)) == {right}
    assert moves(red=(6, 6)) == {up, right} and moves(red=(6, 6), blue=(5, 4)) == {up}
    assert moves(red=(6, 4), blue=(5, 4)) == {right}  # a detour would take two steps more
    assert moves(blue=(5, 4), green=(4, 5)) == {down, left}  # nothing to gain: not onto a block


def test_foreign_views_are_refused() -> None:
    with pytest.raises(UsageError, match="reads square windows of 3 colours, not 10 columns"):
        environments.bot("colorgrid/nearest")(np.zeros((2, 10), np.float32), None, np.zeros(2, np.float32))
