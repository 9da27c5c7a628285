"""Probes for the soft actor-critics: each asserts a number known beforehand.

Once for the core they share (as HASAC); for all of the family with `PROBES=all` in the environment.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

from environments.vector import Array
from marl.algorithms.sac import SAC
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.config_replay import SACConfig
from marl.distributions import Categorical, SquashedGaussian
from marl.replay_buffer import ReplayBuffer, Views
from marl.seats import Seats
from tests.probes import games
from tests.probes.environment import FunctionEnv, Rules
from tests.probes.games import Played, end

torch.set_num_threads(1)

COPIES = 64
SMALL = SACConfig(
    hidden=(32,),
    rollout_length=4,
    warmup_steps=1024,
    updates_per_step=16 / 256,
    batch_size=256,
    actor_learning_rate=5e-3,
    critic_learning_rate=1e-2,
    temperature_learning_rate=0.0,
    temperature=0.01,
    gamma=0.9,
    polyak=0.1,
    n_step=1,
)
NAMES = ["isac", "masac", "hasac"] if os.environ.get("PROBES") == "all" else ["hasac"]
TOLERANCE = 0.05
every = pytest.mark.parametrize("name", NAMES)
central = pytest.mark.parametrize("name", NAMES[-2:])


def near(values: object, wanted: object, tolerance: float = TOLERANCE) -> None:
    worst = float(np.abs(np.asarray(values) - np.asarray(wanted)).max())
    assert worst <= tolerance, f"off by {worst}"


class Probe:
    """Learners of every kind of team in a probe's game, and what they have come to think."""

    def __init__(self, game: Rules, name: str, reward: str = "agent", seed: int = 0, **changed: Any) -> None:
        self.env = FunctionEnv(game, COPIES, seed)
        known = ALGORITHMS[name].config
        place = {each: getattr(known, each) for each in ("critic", "order", "parameters")}
        self.config = replace(SMALL, **{**place, **changed})
        spec = self.env.spec
        self.learners = {kind.name: SAC(spec, kind.name, self.config, reward, seed) for kind in spec.kinds}
        seats = {kind: Seats.all(learner.actor, COPIES) for kind, learner in self.learners.items()}
        self.collector = Collector(self.env, seats, self.config.rollout_length, seed)

    def train(self, updates: int) -> None:
        """Train for that many updates, after the warm-up; then collect once more, for a look at the outcome."""
        while min(learner.updates for learner in self.learners.values()) < updates:
            rollouts = self.collector.collect()
            for kind, learner in self.learners.items():
                self.metrics = learner.update(rollouts[kind], 0.0)
        self.rollouts = self.collector.collect()

    def views(self, kind: str = "team") -> Views:
        """The views of the last look, `[T*S, ..]`."""
        rollout, learner = self.rollouts[kind], self.learners[kind]
        buffer = ReplayBuffer(learner.spec, learner.reward == "agent", 10_000, 0)
        buffer.add(rollout, learner._paid(rollout))
        return buffer._views(torch.arange(rollout.steps * rollout.seats))

    @torch.no_grad()
    def soft_values(self, kind: str = "team") -> np.ndarray:
        """min Q of the present policy's actions plus its weighed entropy, `[T*S, K]`: the soft value."""
        learner, views = self.learners[kind], self.views(kind)
        acts = [learner._acts(group, views) for group in learner.spec.groups]
        log_prob = learner._log_probs(acts, views.acting)
        critic = learner.critic
        q = learner._raw(critic.smaller(critic.see(views), views.acting, learner._values(acts, views.acting)))
        cost = learner.log_temperature.exp() * log_prob
        return (q - (cost.sum(1, keepdim=True) if q.shape[1] < cost.shape[1] else cost)).numpy()

    @torch.no_grad()
    def probabilities(self, kind: str = "team") -> np.ndarray:
        """Of every action, `[T*S, n, K]`."""
        learner, views = self.learners[kind], self.views(kind)
        group = learner.spec.groups[0]
        chosen = learner.policy.distribution(group, views.obs[group.name], views.action_mask[group.name])
        assert isinstance(chosen, Categorical)
        return chosen.probs.numpy()

    def seen(self, kind: str = "team") -> np.ndarray:
        """Observations `[T*S, n, features]`."""
        return self.views(kind).obs[kind].numpy()

    def acting(self, kind: str = "team") -> np.ndarray:
        return self.views(kind).acting.numpy()

    def reward(self, kind: str = "team") -> float:
        return float(self.rollouts[kind].groups[kind].reward.mean())


def constant_pay(name: str) -> None:
    probe = Probe(games.ConstantPay(), name)
    probe.train(150)
    near(probe.soft_values(), [[1.0, 0.0]])


def seen_pay(name: str) -> None:
    probe = Probe(games.SeenPay(), name)
    probe.train(200)
    near(probe.soft_values(), probe.seen()[..., 0])


def later(name: str) -> None:
    probe = Probe(games.Later(), name)
    probe.train(250)
    near(probe.soft_values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def bandit(name: str, expectation: str = "auto") -> None:
    probe = Probe(games.Bandit(), name, temperature=0.5, expectation=expectation)
    probe.train(400)
    near(probe.probabilities()[..., 1], 0.8808, 0.03)
    near(probe.soft_values().mean(), 1.0635)


def echo(name: str) -> None:
    probe = Probe(games.Echo(), name)
    probe.train(250)
    assert probe.reward() > 0.97


def endless(name: str) -> None:
    probe = Probe(games.Endless(), name)
    probe.train(400)
    near(probe.soft_values(), 10.0, 0.5)


def eight_steps(name: str) -> None:
    probe = Probe(games.EightSteps(), name)
    probe.train(600)
    wanted = np.array([5.695, 5.217, 4.686, 4.095, 3.439, 2.71, 1.9, 1.0])
    near(probe.soft_values(), wanted[probe.seen().argmax(-1)], 0.1)


def n_steps(name: str) -> None:
    probe = Probe(games.EightSteps(), name, n_step=5)
    probe.train(400)
    wanted = np.array([5.695, 5.217, 4.686, 4.095, 3.439, 2.71, 1.9, 1.0])
    near(probe.soft_values(), wanted[probe.seen().argmax(-1)], 0.1)


def rich_and_poor(name: str) -> None:
    probe = Probe(games.RichAndPoor(), name, critic_learning_rate=3e-2, value_norm=True)
    probe.train(400)
    near(probe.soft_values(), np.where(probe.seen()[..., 0] > 0, 100.0, 0.0), 1.5)


def both_flags(name: str) -> None:
    probe = Probe(games.BothFlags(), name)
    probe.train(150)
    near(probe.soft_values(), 1.0)


def early_death(name: str) -> None:
    probe = Probe(games.EarlyDeath(), name)
    probe.train(400)
    near(probe.soft_values()[probe.acting().all(-1)], [[3.439, 1.0]], 0.1)


def sacrifice(name: str, reward: str = "team_mean") -> None:
    probe = Probe(games.Sacrifice(), name, reward)
    probe.train(400)
    first = probe.seen()[:, 0, 0] == 0
    assert probe.probabilities()[first, 1, 1].min() > 0.9
    near(probe.soft_values()[first & probe.acting().all(1)].mean(), 0.9)


def hidden_echo(name: str) -> None:
    probe = Probe(games.HiddenEcho(), name, rollout_length=32)
    probe.train(100)
    near(probe.reward(), 0.5, 0.037)  # over 2,048 games


def forbidden(name: str) -> None:
    probe = Probe(games.Forbidden(), name, expectation="drawn" if name == "masac" else "auto")
    probe.train(250)
    assert not (probe.rollouts["team"].groups["team"].action == 1).any()
    near(probe.soft_values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def crowd(name: str) -> None:
    probe = Probe(games.Crowd(), name)
    probe.train(400)
    acting = probe.acting()
    present = acting.sum(-1, keepdims=True).repeat(4, -1)
    assert set(present.reshape(-1)) == {1, 2, 3, 4}
    near(probe.soft_values()[acting], present[acting], 0.12)


def wages(name: str, reward: str = "agent") -> None:
    probe = Probe(games.Wages(), name, reward)
    probe.train(200)
    near(probe.soft_values()[0], {"agent": [[1.0, 3.0]], "team_sum": 4.0, "team_mean": 2.0}[reward])


def prisoners(name: str, reward: str) -> float:
    """Probability of defection."""
    probe = Probe(games.Prisoners(), name, reward)
    probe.train(300)
    return float(probe.probabilities()[..., 1].mean())


def zero_sum(name: str) -> None:
    probe = Probe(games.ZeroSum(), name)
    probe.train(200)
    near(probe.soft_values("one")[:, 0], probe.seen("one")[:, 0, 0])
    near(probe.soft_values("two")[:, 0], -probe.seen("two")[:, 0, 0])


class Payoff(Rules):
    """One step of a game with a common payoff [[2, 0], [0, 1]]."""

    teams: ClassVar = {"team": 2}
    table: ClassVar = np.array([[2.0, 0.0], [0.0, 1.0]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return self.table[actions[:, :1], actions[:, 1:]].repeat(2, 1), end(step)


def quantal(name: str, temperature: float, wanted: float, **changed: Any) -> None:
    """P12: both agents' probability of the first action at the unique quantal response equilibrium."""
    probe = Probe(Payoff(), name, "team_mean", temperature=temperature, **changed)
    probe.train(500)
    near(probe.probabilities()[..., 0], wanted, 0.03)


class Idle(Rules):
    """One step, no pay; a box of two dimensions, [-c, c]."""

    def __init__(self, reach: float) -> None:
        self.actions = spaces.Box(-reach, reach, (2,), np.float32)  # type: ignore[misc]


def idle(name: str, reach: float = 3.0) -> None:
    """P23: without pay a squashed normal becomes as wide as its kind allows: .6836 + ln c nats in each dimension."""
    probe = Probe(Idle(reach), name, temperature=1.0)
    probe.train(600)
    learner, views = probe.learners["team"], probe.views()
    chosen = learner.policy.distribution(learner.spec.groups[0], views.obs["team"], None)
    assert isinstance(chosen, SquashedGaussian)
    near(chosen.entropy().detach() / 2, 0.6836 + math.log(reach), 0.01)
    near(chosen.log_std.detach().exp(), 0.8745, 0.06)


class Target(Rules):
    """One step, a lopsided box [-1, 3] x [0, 10]; the pay falls with the square of the distance to (2.5, 1)."""

    actions: ClassVar = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))
    goal: ClassVar = np.array([2.5, 1.0])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return -((actions - self.goal) ** 2).sum(-1), end(step)


def target(name: str) -> None:
    probe = Probe(Target(), name, temperature=0.3, actor_learning_rate=2e-3)
    probe.train(800)
    actions = probe.rollouts["team"].groups["team"].action.numpy()
    near((actions.mean((0, 1, 2)) - Target.goal) / [2, 5], 0.0, 0.15)  # in half widths of the box
    assert probe.reward() > -1.0  # random: -34


def led(name: str) -> None:
    """P36: with nothing to earn, temperatures fall and entropies come to their targets, of the *legal* actions."""
    probe = Probe(
        Narrow(),
        name,
        temperature=0.5,
        temperature_learning_rate=2e-2,
        actor_learning_rate=1e-2,
        entropy_per_choice=0.6,
        batch_size=64,
    )
    probe.train(700)
    p = probe.probabilities()[0]
    entropy = -np.where(p > 0, p * np.log(np.maximum(p, 1e-30)), 0.0).sum(-1)
    near(entropy / np.log([2, 4]), 0.6, 0.05)
    assert probe.learners["team"].log_temperature.max() < math.log(0.5)


class Narrow(Rules):
    """One step; two agents who may play the first 2, or all, of 4 actions. The first action pays a little."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = spaces.Discrete(4)
    masked: ClassVar = True

    def mask(self, hidden: Array, step: Array) -> Array:
        return (np.arange(4) < np.array([2, 4])[:, None])[None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return 0.1 * (actions == 0), end(step)


def mirror_descent(name: str, iterations: int) -> None:
    """With the divergence from an earlier policy as drift, each iteration ends where mirror descent is known to.

    pi_{k+1} ~ pi_k^{c / (alpha + c)} exp(Q / (alpha + c)): log-odds x_{k+1} = (c x_k + 1) / (alpha + c).
    """
    drift = {"drift": "kl", "drift_weight": 2.0, "drift_updates": 320}
    probe = Probe(games.Bandit(), name, temperature=0.5, actor_learning_rate=1e-2, batch_size=64, **drift)
    probe.train(320 * iterations)
    odds = 0.0
    for _ in range(iterations):
        odds = (2.0 * odds + 1.0) / 2.5
    p = probe.probabilities()[..., 1]
    near(np.log(p / (1 - p)), odds, 0.06)


def reward_scale(name: str) -> None:
    """Rewards and temperature times 1000, values normalised: the policy moves, and to the same place."""
    policies = []
    for scale, updates in ((1.0, 0), (1.0, 60), (1000.0, 60)):
        probe = Probe(games.Scaled(scale), name, value_norm=True, temperature=0.1 * scale, max_grad_norm=None)
        probe.train(updates)
        parameters = probe.learners["team"].policy.acting_parameters()
        policies.append(np.concatenate([p.detach().numpy().reshape(-1) for p in parameters]))
    start, small, large = policies
    assert np.abs(small - start).max() > 0.01
    near(small, large, 1e-3)


PROBES = [
    constant_pay,
    seen_pay,
    later,
    bandit,
    echo,
    endless,
    eight_steps,
    n_steps,
    rich_and_poor,
    both_flags,
    early_death,
    sacrifice,
    hidden_echo,
    forbidden,
    crowd,
    zero_sum,
    idle,
    target,
    led,
    reward_scale,
]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
@every
def test_probe(probe: Callable[[str], None], name: str) -> None:
    probe(name)


@every
@pytest.mark.parametrize("reward", ["agent", "team_sum", "team_mean"])
def test_reward_channel(name: str, reward: str) -> None:
    wages(name, reward)


@every
def test_prisoners_defect_alone_and_cooperate_as_a_team(name: str) -> None:
    assert prisoners(name, "agent") > 0.95
    assert prisoners(name, "team_sum") < 0.05


@every
@pytest.mark.parametrize("expectation", ["joint", "own"])
def test_bandit_however_it_is_summed(name: str, expectation: str) -> None:
    bandit(name, expectation)


@central
@pytest.mark.parametrize("expectation", ["joint", "own"])
@pytest.mark.parametrize(("temperature", "wanted"), [(1.0, 0.8042), (0.5, 0.9797)])
def test_quantal_equilibria(name: str, expectation: str, temperature: float, wanted: float) -> None:
    quantal(name, temperature, wanted, expectation=expectation)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_mirror_descent(iterations: int) -> None:
    mirror_descent("hasac", iterations)


def test_a_sacrifice_needs_a_team_reward() -> None:
    with pytest.raises(AssertionError):
        sacrifice("hasac", "agent")
