"""Probes of memory for the learners from rollouts: what was seen is remembered within an episode, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from environments.vector import Array
from marl import collector
from marl.recurrent import AgentGRU
from tests.probes.environment import Rules
from tests.probes.games import Played, bit
from tests.probes.table import WHOLE
from tests.probes.train import FromRollouts

LEARNERS = ("ippo", "mappo", "happo", "hatrpo", "ia2c", "maa2c", "dpo")
ONE_PER_CORE = ("mappo", "hatrpo")
TRAINED = LEARNERS if WHOLE else ONE_PER_CORE


class Recall(Rules):
    """A sign is seen at the first step; 1 for naming it at the last, when nothing else is seen than that it is time."""

    features = 2
    wait = 5

    def start(self, u: Array) -> Array:
        return bit(u)

    def obs(self, hidden: Array, step: Array) -> Array:
        seen = np.where(step[:, None] == 0, hidden, 0.0)
        return np.stack([seen, (step == self.wait).astype(float)[:, None]], -1)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step[:, None] == self.wait
        return (last & (actions == (hidden > 0))).astype(float), last


class Before(Recall):
    """The same with one step between, but it is the last episode's sign that is asked for. All copies begin at once."""

    wait = 1
    memory = 2

    def start(self, u: Array) -> Array:
        asked = getattr(self, "shown", bit(u))
        self.shown = bit(u)
        return np.concatenate([self.shown, asked], 1)

    def obs(self, hidden: Array, step: Array) -> Array:
        return super().obs(hidden[:, :1], step)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return super().play(hidden[:, 1:], step, actions, alive)


def right(game: Recall, iterations: int, learner: str = "mappo", recurrent: str = "gru") -> float:
    """Share of right answers after training, of a thousand."""
    steps = game.wait + 1
    probe = FromRollouts(game, learner, rollout_length=steps, chunk_length=steps, recurrent=recurrent)
    looks = []
    for more in (iterations, *[0] * 7):
        probe.train(more)
        looks.append(steps * probe.reward())
    return float(np.mean(looks))


@pytest.mark.parametrize("learner", TRAINED)
def test_what_was_seen_is_remembered(learner: str) -> None:
    assert right(Recall(), 25, learner) > 0.97


def test_who_remembers_nothing_can_only_guess() -> None:
    assert abs(right(Recall(), 10, recurrent="none") - 0.5) < 0.07


def test_nothing_is_remembered_from_one_episode_to_the_next() -> None:
    assert abs(right(Before(), 15) - 0.5) < 0.07


def test_a_memory_that_leaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the last test: with what is carried, and trained, across the ends of episodes."""
    plain: Callable[..., tuple[torch.Tensor, torch.Tensor]] = AgentGRU.forward

    def goes_on(self: AgentGRU, x: torch.Tensor, hidden: torch.Tensor, start: torch.Tensor, *rest: object) -> object:
        return plain(self, x, hidden, torch.zeros_like(start), *rest)

    monkeypatch.setattr(AgentGRU, "forward", goes_on)
    monkeypatch.setattr(collector, "forgotten", lambda hidden, kind, over: dict(hidden))
    game = Before()
    game_steps = 2 * (game.wait + 1)
    probe = FromRollouts(game, "ippo", rollout_length=game_steps, chunk_length=game_steps, recurrent="gru")
    probe.train(25)
    assert 2 * probe.reward() > 0.7  # what the rollout's first episode is asked for, gradients do not reach
