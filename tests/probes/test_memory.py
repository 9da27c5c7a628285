"""Probes of memory: what was seen is remembered within an episode, and nowhere else."""

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
from tests.probes.table import WHOLE, core_of
from tests.probes.train import FromRollouts, Probe, Valued

LEARNERS = ("ippo", "mappo", "happo", "hatrpo", "ia2c", "maa2c", "dpo", "iql", "vdn", "qmix")
ONE_PER_CORE = ("mappo", "hatrpo", "qmix")
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


def asked(game: Recall, learner: str, recurrent: str = "gru", episodes: int = 1) -> Probe:
    """A learner that may look back at so many episodes."""
    steps = game.wait + 1
    if core_of(learner) == "q":
        looked = {"rollout_length": 12 * steps, "chunk_length": episodes * steps}
        return Valued(game, learner, recurrent=recurrent, epsilon=1.0, final_epsilon=1.0, **looked)
    return FromRollouts(
        game, learner, rollout_length=episodes * steps, chunk_length=episodes * steps, recurrent=recurrent
    )


def right(game: Recall, effort: int, learner: str, recurrent: str = "gru", episodes: int = 1) -> float:
    """Share of right answers after training, of about a thousand."""
    probe = asked(game, learner, recurrent, episodes)
    looks = []
    for more in (effort, *[0] * (0 if isinstance(probe, Valued) else 7)):
        probe.train(more)
        looks.append((game.wait + 1) * probe.reward())
    return float(np.mean(looks))


@pytest.mark.parametrize("learner", TRAINED)
def test_what_was_seen_is_remembered(learner: str) -> None:
    assert right(Recall(), 200 if core_of(learner) == "q" else 25, learner) > 0.97


@pytest.mark.parametrize(("learner", "effort"), [("mappo", 10), ("qmix", 100)])
def test_who_remembers_nothing_can_only_guess(learner: str, effort: int) -> None:
    assert abs(right(Recall(), effort, learner, "none") - 0.5) < 0.07


@pytest.mark.parametrize(("learner", "effort"), [("mappo", 15), ("qmix", 300)])
def test_nothing_is_remembered_from_one_episode_to_the_next(learner: str, effort: int) -> None:
    assert abs(right(Before(), effort, learner, episodes=2) - 0.5) < 0.07


@pytest.mark.parametrize(("learner", "effort"), [("ippo", 25), ("qmix", 300)])
def test_a_memory_that_leaks_is_found(learner: str, effort: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the last test: with what is carried, and trained, across the ends of episodes."""
    plain: Callable[..., tuple[torch.Tensor, torch.Tensor]] = AgentGRU.forward

    def goes_on(self: AgentGRU, x: torch.Tensor, hidden: torch.Tensor, start: torch.Tensor, *rest: object) -> object:
        return plain(self, x, hidden, torch.zeros_like(start), *rest)

    monkeypatch.setattr(AgentGRU, "forward", goes_on)
    monkeypatch.setattr(collector, "forgotten", lambda hidden, kind, over: dict(hidden))
    assert right(Before(), effort, learner, episodes=2) > 0.6  # what is asked first, gradients do not reach
