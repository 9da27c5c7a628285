"""Probes for the value-based learners: each asserts a number known beforehand.

Once for the core they share (as QMIX, or as IQL where each agent has its own reward); for all of the family with
`PROBES=all` in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

from environments.vector import Array
from marl.algorithms.q_learning import QLearning
from marl.collector import Collector
from marl.config_replay import QConfig
from marl.replay_buffer import ReplayBuffer, Views
from marl.seats import Seats
from tests.probes import games
from tests.probes.environment import FunctionEnv, Rules
from tests.probes.games import Played, end

torch.set_num_threads(1)

COPIES = 64
SMALL = QConfig(
    hidden=(32,),
    rollout_length=4,
    warmup_steps=1024,
    updates_per_step=16 / 256,
    batch_size=256,
    learning_rate=1e-2,
    gamma=0.9,
    n_step=1,
    polyak=0.1,
    mixer_width=8,
    mixer_hidden=(16,),
    epsilon=0.5,
    final_epsilon=0.1,
    epsilon_steps=2048,
)
MIXERS = {"iql": "none", "vdn": "sum", "qmix": "monotone"}
WHOLE = os.environ.get("PROBES") == "all"
own = pytest.mark.parametrize("name", ["iql"])
team = pytest.mark.parametrize("name", ["iql", "vdn", "qmix"] if WHOLE else ["qmix"])
TEAMED = ["iql", "vdn", "qmix"] if WHOLE else ["vdn"]
TOLERANCE = 0.05


def near(values: object, wanted: object, tolerance: float = TOLERANCE) -> None:
    worst = float(np.abs(np.asarray(values) - np.asarray(wanted)).max())
    assert worst <= tolerance, f"off by {worst}"


class Probe:
    """Learners of every kind of team in a probe's game, and what they have come to think."""

    def __init__(self, game: Rules, name: str, reward: str = "team_mean", seed: int = 0, **changed: Any) -> None:
        self.env = FunctionEnv(game, COPIES, seed)
        self.config = replace(SMALL, **{"mixer": MIXERS[name], **changed})
        spec = self.env.spec
        self.learners = {kind.name: QLearning(spec, kind.name, self.config, reward, seed) for kind in spec.kinds}
        seats = {kind: Seats.all(learner.actor, COPIES) for kind, learner in self.learners.items()}
        self.collector = Collector(self.env, seats, self.config.rollout_length, seed)

    def train(self, updates: int) -> None:
        """Train for that many updates, after the warm-up; then collect once more, at random and greedily, to look."""
        while min(learner.updates for learner in self.learners.values()) < updates:
            rollouts = self.collector.collect()
            for kind, learner in self.learners.items():
                learner.update(rollouts[kind], 0.0)
        self.rollouts = self.look(1.0)
        self.best = self.look(0.0)

    def look(self, epsilon: float) -> dict:
        """Rollouts in fresh copies of the game."""
        for learner in self.learners.values():
            learner.curious.epsilon = epsilon
        seats = {kind: Seats.all(learner.curious, COPIES) for kind, learner in self.learners.items()}
        return Collector(FunctionEnv(self.env.rules, COPIES, 1), seats, self.config.rollout_length, 1).collect()

    def views(self, kind: str = "team") -> Views:
        """The views of the random look, `[T*S, ..]`."""
        rollout, learner = self.rollouts[kind], self.learners[kind]
        buffer = ReplayBuffer(learner.spec, learner.reward == "agent", 10_000, 0)
        buffer.add(rollout, learner._paid(rollout))
        return buffer._views(torch.arange(rollout.steps * rollout.seats))

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        """Of the best actions, `[T*S, R or 1]`."""
        learner, views = self.learners[kind], self.views(kind)
        best = {group.name: learner._best(learner.policy, group, views) for group in learner.spec.groups}
        return learner._raw(learner._mixed(learner.mixer, learner._values(learner.policy, views, best), views)).numpy()

    @torch.no_grad()
    def actions(self, kind: str = "team") -> np.ndarray:
        """The best actions of the random look's views, `[T*S, n]`."""
        learner, views = self.learners[kind], self.views(kind)
        return learner._best(learner.policy, learner.spec.groups[0], views).numpy()

    def seen(self, kind: str = "team") -> np.ndarray:
        """Observations `[T*S, n, features]`."""
        return self.views(kind).obs[kind].numpy()

    def acting(self, kind: str = "team") -> np.ndarray:
        return self.views(kind).acting.numpy()

    def reward(self, kind: str = "team") -> float:
        """Mean reward of greedy play."""
        return float(self.best[kind].groups[kind].reward.mean())


def constant_pay(name: str) -> None:
    probe = Probe(games.ConstantPay(), name, "agent")
    probe.train(150)
    near(probe.values(), [[1.0, 0.0]])


def seen_pay(name: str) -> None:
    probe = Probe(games.SeenPay(), name)
    probe.train(200)
    near(probe.values(), probe.seen()[..., 0])


def later(name: str) -> None:
    probe = Probe(games.Later(), name)
    probe.train(300)
    near(probe.values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def bandit(name: str) -> None:
    """What is not the best is known too: 0 and 1."""
    probe = Probe(games.Bandit(), name)
    probe.train(200)
    assert (probe.actions() == 1).all()
    learner, views = probe.learners["team"], probe.views()
    worth = [
        learner._mixed(
            learner.mixer,
            learner._values(learner.policy, views, {"team": torch.full_like(views.acting, a, dtype=torch.int32)}),
            views,
        ).detach()
        for a in range(2)
    ]
    near(torch.cat(worth, 1), [[0.0, 1.0]])


def echo(name: str) -> None:
    probe = Probe(games.Echo(), name)
    probe.train(250)
    assert probe.reward() == 1.0


def endless(name: str) -> None:
    probe = Probe(games.Endless(), name)
    probe.train(500)
    near(probe.values(), 10.0, 0.5)


def eight_steps(name: str, n_step: int = 1) -> None:
    probe = Probe(games.EightSteps(), name, n_step=n_step)
    probe.train(600)
    wanted = np.array([5.695, 5.217, 4.686, 4.095, 3.439, 2.71, 1.9, 1.0])
    near(probe.values(), wanted[probe.seen().argmax(-1)], 0.1)


def n_steps(name: str) -> None:
    eight_steps(name, 5)


def rich_and_poor(name: str) -> None:
    probe = Probe(games.RichAndPoor(), name, learning_rate=2e-2, value_norm=True)
    probe.train(400)
    near(probe.values(), np.where(probe.seen()[..., 0] > 0, 100.0, 0.0), 1.5)


def both_flags(name: str) -> None:
    probe = Probe(games.BothFlags(), name)
    probe.train(150)
    near(probe.values(), 1.0)


def early_death(name: str) -> None:
    probe = Probe(games.EarlyDeath(), name, "agent")
    probe.train(500)
    near(probe.values()[probe.acting().all(-1)], [[3.439, 1.0]], 0.1)


def sacrifice(name: str, reward: str = "team_mean") -> None:
    """What the first agent's own value is depends on what the second was seen to do: that of the second is known."""
    probe = Probe(games.Sacrifice(), name, reward)
    probe.train(400)
    first = probe.seen()[:, 0, 0] == 0
    assert (probe.actions()[first, 1] == 1).all()
    near(probe.values()[first & probe.acting().all(1)][:, -1], 0.9)


def team_life(name: str) -> None:
    """Both are paid 1 a step by a team that goes on when its second member is gone: worth 3.439 while both live."""
    probe = Probe(TeamLife(), name)
    probe.train(500)
    both = probe.acting().all(-1)
    assert both.any() and not both.all()
    near(probe.values()[both], 3.439, 0.1)


class TeamLife(games.EarlyDeath):
    """As `EarlyDeath`, but each of four steps pays both 1."""

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.ones((len(step), 2)), super().play(hidden, step, actions, alive)[1]


def own_number(name: str) -> None:
    """With the one-hot of the agent both play their own number; without it nobody can."""
    probe = Probe(games.OwnNumber(), name)
    probe.train(300)
    assert probe.reward() == 1.0


def hidden_pay(name: str) -> None:
    """A mix that sees the state knows what is paid; agents' own values cannot."""
    probe = Probe(games.HiddenPay(), name)
    probe.train(300)
    near(probe.values()[:, 0], probe.views().state[:, 0])


def hidden_echo(name: str) -> None:
    """Actors do not see the state: each plays one thing whatever it is, which is right half of the time."""
    probe = Probe(games.HiddenEcho(), name, rollout_length=32)
    probe.train(300)
    near(probe.reward(), 0.5, 0.037)  # over 2,048 games


def forbidden(name: str) -> None:
    probe = Probe(games.Forbidden(), name)
    probe.train(250)
    assert not (probe.rollouts["team"].groups["team"].action == 1).any()
    assert not (probe.best["team"].groups["team"].action == 1).any()
    near(probe.values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def crowd(name: str) -> None:
    """The team's mean reward is a quarter of N * N with N present: agents that are absent are worth nothing."""
    probe = Probe(games.Crowd(), name)
    probe.train(500)
    present = probe.acting().sum(-1, keepdims=True)
    assert set(present.reshape(-1)) == {1, 2, 3, 4}
    values = probe.values()
    wanted = np.broadcast_to(present**2 / 4, values.shape)
    counted = probe.acting() if values.shape[1] > 1 else np.ones_like(values, bool)
    near(values[counted], wanted[counted], 0.15)


def wages(name: str, reward: str) -> None:
    probe = Probe(games.Wages(), name, reward)
    probe.train(200)
    near(probe.values()[0], {"agent": [[1.0, 3.0]], "team_sum": 4.0, "team_mean": 2.0}[reward])


def prisoners(name: str, reward: str) -> float:
    """Share of defection."""
    probe = Probe(games.Prisoners(), name, reward)
    probe.train(300)
    return float((probe.actions() == 1).mean())


def zero_sum(name: str) -> None:
    probe = Probe(games.ZeroSum(), name, "agent")
    probe.train(200)
    near(probe.values("one")[:, 0], probe.seen("one")[:, 0, 0])
    near(probe.values("two")[:, 0], -probe.seen("two")[:, 0, 0])


def reward_scale(name: str) -> None:
    """Rewards times 1000, values normalised: networks move, and to the same place."""
    networks = []
    for scale, updates in ((1.0, 0), (1.0, 60), (1000.0, 60)):
        probe = Probe(games.Scaled(scale), name, value_norm=True, max_grad_norm=None)
        probe.train(updates)
        parameters = probe.learners["team"].policy.acting_parameters()
        networks.append(np.concatenate([p.detach().numpy().reshape(-1) for p in parameters]))
    start, small, large = networks
    assert np.abs(small - start).max() > 0.01
    near(small, large, 1e-3)


class TwoSteps(Rules):
    """The game of Rashid et al. 2018 (arXiv:1803.11485, section 6.1): the first agent's first action leads to a table
    that pays 7 whatever is done, or to one that pays 8 where both play 1, 0 where neither does, and 1 else."""

    teams: ClassVar = {"team": 2}
    state_size: ClassVar = 3
    features: ClassVar = 3

    def place(self, hidden: Array, step: Array) -> Array:
        return np.eye(3)[np.where(step == 0, 0, 1 + hidden[:, 0].astype(int))]

    def state(self, hidden: Array, step: Array) -> Array:
        return self.place(hidden, step)

    def obs(self, hidden: Array, step: Array) -> Array:
        return self.place(hidden, step)[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step == 1
        chosen = np.array([[0.0, 1.0], [1.0, 8.0]])[actions[:, 0], actions[:, 1]]
        paid = np.where(last, np.where(hidden[:, 0] == 0, 7.0, chosen), 0.0)
        hidden[:, 0] = np.where(step == 0, actions[:, 0], hidden[:, 0])
        return np.repeat(paid[:, None], 2, 1), last[:, None]


def two_steps(name: str) -> np.ndarray:
    """The team's value at the start; discount 1 as there."""
    probe = Probe(TwoSteps(), name, gamma=0.99, epsilon=1.0, final_epsilon=1.0)
    probe.train(700)
    return probe.values()[probe.seen()[:, 0, 0] == 1]


class Choices(Rules):
    """One step; three choices of an agent, paid 1 for each that is its number: 0, 1, 2. One is never legal."""

    actions: ClassVar = spaces.MultiDiscrete([2, 3, 4])
    masked: ClassVar = True

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.array([[[True, True, True, True, True, True, True, True, False]]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == np.arange(3)).sum(-1).astype(float), end(step)


def several_choices(name: str) -> None:
    probe = Probe(Choices(), name)
    probe.train(400)
    assert (probe.actions() == np.arange(3)).all()
    near(probe.values(), 3.0, 0.1)


OWN = [constant_pay, early_death, zero_sum]
"""Of agents that earn their own reward."""
TEAM = [
    seen_pay,
    later,
    bandit,
    echo,
    endless,
    eight_steps,
    n_steps,
    rich_and_poor,
    both_flags,
    sacrifice,
    team_life,
    own_number,
    hidden_echo,
    forbidden,
    crowd,
    reward_scale,
    several_choices,
]


@pytest.mark.parametrize("probe", OWN, ids=lambda probe: probe.__name__)
@own
def test_own_rewards(probe: Callable[[str], None], name: str) -> None:
    probe(name)


@pytest.mark.parametrize("probe", TEAM, ids=lambda probe: probe.__name__)
@team
def test_probe(probe: Callable[[str], None], name: str) -> None:
    probe(name)


@pytest.mark.parametrize(("name", "reward"), [("iql", "agent"), ("qmix", "team_sum"), ("vdn", "team_mean")])
def test_reward_channel(name: str, reward: str) -> None:
    wages(name, reward)


@pytest.mark.parametrize(("name", "reward", "share"), [("iql", "agent", 1.0), *((n, "team_sum", 0.0) for n in TEAMED)])
def test_prisoners_defect_alone_and_cooperate_as_a_team(name: str, reward: str, share: float) -> None:
    assert prisoners(name, reward) == share


def test_a_mix_sees_the_state_and_a_sum_does_not() -> None:
    hidden_pay("qmix")
    with pytest.raises(AssertionError):
        hidden_pay("vdn")


def test_a_sacrifice_needs_a_team_reward() -> None:
    with pytest.raises(AssertionError):
        sacrifice("iql", "agent")


def test_a_mix_finds_what_is_two_steps_away() -> None:
    near(two_steps("qmix"), 8 * 0.99, 0.3)


def test_a_sum_does_not_find_it() -> None:
    """It cannot say 0, 1, 1, 8: it thinks that table worth less than 7 and chooses the other."""
    near(two_steps("vdn"), 7 * 0.99, 0.3)


def test_twins_need_to_know_who_they_are() -> None:
    probe = Probe(games.OwnNumber(), "qmix", agent_id=False)
    probe.train(300)
    assert probe.reward() == 0.0
