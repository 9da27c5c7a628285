"""Bots that read the last throw off what they see: the same play as the simulator's opponents of the same rule."""

from __future__ import annotations

import numpy as np
import pytest

import environments
from environments.errors import UsageError

MIRRORED = ["rock", "paper", "scissors", "rotate", "copy-last", "beat-last"]


@pytest.mark.parametrize("recall", [1, 3])
@pytest.mark.parametrize("name", MIRRORED)
def test_a_bot_throws_what_the_opponent_of_its_name_throws(name: str, recall: int) -> None:
    bot = environments.bot(f"roshambo/{name}")
    team = environments.make("roshambo/repeated", recall=recall)
    against = environments.make("roshambo/repeated", recall=recall, opponent=name)
    rng = np.random.default_rng(2)
    noise = np.zeros(1, np.float32)
    for _ in range(60):
        mine = int(rng.integers(3))
        reply = int(bot(team.buffers.groups[0].obs[:, 1], None, noise)[0])
        team.step({"player": np.array([[mine, reply]], np.int32)})
        against.step({"player": np.array([[mine]], np.int32)})
        assert against.capture(0).arrays["recent"][0].tolist() == [mine, reply]


def test_chance_is_the_noise() -> None:
    obs = np.zeros((3000, 6), np.float32)
    obs[:, 1] = 1  # oneself threw paper
    noise = np.random.default_rng(0).random(3000, np.float32)
    thrown = np.bincount(environments.bot("roshambo/random")(obs, None, noise), minlength=3)
    assert thrown / 3000 == pytest.approx([1 / 3] * 3, abs=0.03)
    switched = np.bincount(environments.bot("roshambo/switching")(obs, None, noise), minlength=3)
    assert switched[1] == 0 and switched[0] / 3000 == pytest.approx(0.5, abs=0.03)
    assert environments.bot("roshambo/random")(obs[:1], None, np.array([np.nextafter(np.float32(1), 0)]))[0] == 2


def test_foreign_views_are_refused() -> None:
    with pytest.raises(UsageError, match="reads rows of at least 6 columns"):
        environments.bot("roshambo/rotate")(np.zeros((2, 4), np.float32), None, np.zeros(2, np.float32))
