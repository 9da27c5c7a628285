"""Probes for the deterministic learners: each asserts a number known beforehand.

Once for the core they share (as HATD3); for all of the family with `PROBES=all` in the environment.
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
from marl.algorithms.ddpg import DDPG
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.config_replay import DDPGConfig
from marl.replay_buffer import ReplayBuffer, Views
from marl.seats import Seats
from tests.probes import games
from tests.probes.environment import FunctionEnv, Rules
from tests.probes.games import Played, end

torch.set_num_threads(1)

COPIES = 64
SMALL = DDPGConfig(
    hidden=(32,),
    rollout_length=4,
    warmup_steps=1024,
    updates_per_step=16 / 256,
    batch_size=256,
    actor_learning_rate=5e-3,
    critic_learning_rate=1e-2,
    gamma=0.9,
    n_step=1,
    polyak=0.1,
)
NAMES = ["maddpg", "matd3", "haddpg", "hatd3"] if os.environ.get("PROBES") == "all" else ["hatd3"]
PLACE = ("order", "parameters", "twin", "target_noise", "policy_delay")
LOPSIDED = spaces.Box(-1.0, 0.5, (1,), np.float32)
TOLERANCE = 0.05
every = pytest.mark.parametrize("name", NAMES)


def near(values: object, wanted: object, tolerance: float = TOLERANCE) -> None:
    worst = float(np.abs(np.asarray(values) - np.asarray(wanted)).max())
    assert worst <= tolerance, f"off by {worst}"


def boxed(game: Rules) -> Rules:
    """A game that does not look at what agents do, of boxes."""
    game.actions = LOPSIDED  # type: ignore[misc]
    return game


class Probe:
    """Learners of every kind of team in a probe's game, and what they have come to think."""

    def __init__(self, game: Rules, name: str, reward: str = "agent", seed: int = 0, **changed: Any) -> None:
        self.env = FunctionEnv(game, COPIES, seed)
        known = ALGORITHMS[name].config
        place = {each: getattr(known, each) for each in PLACE}
        self.config = replace(SMALL, **{**place, **changed})
        spec = self.env.spec
        self.learners = {kind.name: DDPG(spec, kind.name, self.config, reward, seed) for kind in spec.kinds}
        seats = {kind: Seats.all(learner.actor, COPIES) for kind, learner in self.learners.items()}
        self.collector = Collector(self.env, seats, self.config.rollout_length, seed)

    def train(self, updates: int) -> None:
        """Train for that many updates, after the warm-up; then collect once more, greedily, to look at the outcome."""
        while min(learner.updates for learner in self.learners.values()) < updates:
            rollouts = self.collector.collect()
            for kind, learner in self.learners.items():
                learner.update(rollouts[kind], 0.0)
        seats = {kind: Seats.all(learner.policy, COPIES) for kind, learner in self.learners.items()}
        self.rollouts = Collector(self.env, seats, self.config.rollout_length, 1).collect()

    def views(self, kind: str = "team") -> Views:
        """The views of the last look, `[T*S, ..]`."""
        rollout, learner = self.rollouts[kind], self.learners[kind]
        buffer = ReplayBuffer(learner.spec, learner.reward == "agent", 10_000, 0)
        buffer.add(rollout, learner._paid(rollout))
        return buffer._views(torch.arange(rollout.steps * rollout.seats))

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        """Q of the present policy's actions, `[T*S, K]`."""
        learner, views = self.learners[kind], self.views(kind)
        actions = learner._actions(learner.policy, views)
        actions = [a * views.acting[:, i : i + 1] for i, a in enumerate(actions)]
        return learner._raw(learner.critic.smaller(learner.critic.see(views), views.acting, actions)).numpy()

    def seen(self, kind: str = "team") -> np.ndarray:
        """Observations `[T*S, n, features]`."""
        return self.views(kind).obs[kind].numpy()

    def actions(self, kind: str = "team") -> np.ndarray:
        """Greedy actions `[T*S, n, d]`."""
        return self.rollouts[kind].groups[kind].action.flatten(0, 1).numpy()

    def acting(self, kind: str = "team") -> np.ndarray:
        return self.views(kind).acting.numpy()


class Chase(Rules):
    """One step; the agent sees a number x of [-1, .5] and is paid -(a - x)^2."""

    actions: ClassVar = LOPSIDED

    def start(self, u: Array) -> Array:
        return 1.5 * u[:, :1] - 1.0

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return -((actions[..., 0] - hidden) ** 2), end(step)


class Drift(Rules):
    """Two steps; what is played in the first moves what is to be met in the second, which alone is paid."""

    actions: ClassVar = LOPSIDED
    features: ClassVar = 2

    def start(self, u: Array) -> Array:
        return 0.5 * u[:, :1] - 0.5

    def obs(self, hidden: Array, step: Array) -> Array:
        return np.stack([hidden, np.repeat(step[:, None].astype(float), 1, 1)], 2)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        first = step[:, None] == 0
        paid = np.where(first, 0.0, 1 - hidden**2)
        hidden[:] = np.where(first, hidden + actions[..., 0], hidden)
        return paid, ~first


class Prisoners(Rules):
    """One step, boxes [0, 1]: what one gives (the rest of its 1) costs it 1 and pays the other 2."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = spaces.Box(0.0, 1.0, (1,), np.float32)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        gifts = actions[..., 0]
        return 2 * gifts[:, ::-1] - gifts, end(step)


class HiddenChase(Chase):
    """One step; the number to be met, -1 or .5, stands in the state alone."""

    state_size: ClassVar = 1

    def start(self, u: Array) -> Array:
        return np.where(u[:, :1] < 0.5, -1.0, 0.5)

    def obs(self, hidden: Array, step: Array) -> Array:
        return np.ones((len(step), 1, 1))

    def state(self, hidden: Array, step: Array) -> Array:
        return hidden


class Sacrifice(games.Sacrifice):
    """The second agent dies where its number is above -.25: each is then paid 1 one step later, else .5."""

    actions: ClassVar = LOPSIDED

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return super().play(hidden, step, (actions[..., 0] > -0.25).astype(int), alive)


class Dial(Rules):
    """One step; two agents see x and y and are paid alike, -(a + b - x)^2 - (a - b - y)^2."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = LOPSIDED
    features: ClassVar = 2
    memory: ClassVar = 2

    def start(self, u: Array) -> Array:
        a, b = 1.2 * u[:, 0] - 0.8, 1.2 * u[:, 1] - 0.8
        return np.stack([a + b, a - b], 1)

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        a, b = actions[:, 0, 0], actions[:, 1, 0]
        paid = -((a + b - hidden[:, 0]) ** 2) - (a - b - hidden[:, 1]) ** 2
        return paid[:, None], end(step)


def constant_pay(name: str) -> None:
    probe = Probe(boxed(games.ConstantPay()), name)
    probe.train(150)
    near(probe.values(), [[1.0, 0.0]])


def seen_pay(name: str) -> None:
    probe = Probe(boxed(games.SeenPay()), name)
    probe.train(200)
    near(probe.values(), probe.seen()[..., 0])


def later(name: str) -> None:
    probe = Probe(boxed(games.Later()), name)
    probe.train(250)
    near(probe.values(), np.where(probe.seen()[..., 0] == 0, 0.9, 1.0))


def chase(name: str) -> None:
    """The policy is the identity, its value 0 everywhere: all of the lopsided bounds are reached, and not more."""
    probe = Probe(Chase(), name)
    probe.train(600)
    error = np.abs(probe.actions() - probe.seen())
    near(error.mean(), 0.0, 0.08)
    near(error.max(), 0.0, 0.16)
    near(probe.values(), 0.0)
    assert probe.actions().min() < -0.85 and probe.actions().max() > 0.35


def chase_far(name: str) -> None:
    """What lies outside of the bounds is met on them."""
    probe = Probe(Far(), name)
    probe.train(400)
    near(probe.actions(), np.where(probe.seen() > 0, 0.5, -1.0), 0.05)


class Far(Chase):
    """As `Chase`, x = -2 or 2."""

    def start(self, u: Array) -> Array:
        return np.where(u[:, :1] < 0.5, -2.0, 2.0)


def drift(name: str) -> None:
    """Credit for the first action comes through the value of the second step: a = -x, V = (.9, 1)."""
    probe = Probe(Drift(), name, exploration_noise=0.3)
    probe.train(800)
    first = probe.seen()[:, 0, 1] == 0
    near(probe.actions()[first, 0, 0], np.minimum(-probe.seen()[first, 0, 0], 0.5), 0.15)
    near(probe.values()[first], 0.9, 0.06)


def dial(name: str) -> None:
    """Two agents find the one joint action together, whatever they see."""
    probe = Probe(Dial(), name, "team_mean", exploration_noise=0.3)
    probe.train(1000)
    x, y = probe.seen()[:, 0, 0], probe.seen()[:, 0, 1]
    near(probe.actions()[:, 0, 0], (x + y) / 2, 0.2)
    near(probe.actions()[:, 1, 0], (x - y) / 2, 0.2)


def endless(name: str) -> None:
    probe = Probe(boxed(games.Endless()), name)
    probe.train(900)
    near(probe.values(), 10.0, 0.5)


def eight_steps(name: str, n_step: int = 1) -> None:
    probe = Probe(boxed(games.EightSteps()), name, n_step=n_step)
    probe.train(600)
    wanted = np.array([5.695, 5.217, 4.686, 4.095, 3.439, 2.71, 1.9, 1.0])
    near(probe.values(), wanted[probe.seen().argmax(-1)], 0.1)


def n_steps(name: str) -> None:
    eight_steps(name, 5)


def rich_and_poor(name: str) -> None:
    probe = Probe(boxed(games.RichAndPoor()), name, critic_learning_rate=3e-2, value_norm=True)
    probe.train(400)
    near(probe.values(), np.where(probe.seen()[..., 0] > 0, 100.0, 0.0), 1.5)


def both_flags(name: str) -> None:
    probe = Probe(boxed(games.BothFlags()), name)
    probe.train(150)
    near(probe.values(), 1.0)


def early_death(name: str) -> None:
    probe = Probe(boxed(games.EarlyDeath()), name)
    probe.train(400)
    near(probe.values()[probe.acting().all(-1)], [[3.439, 1.0]], 0.1)


def sacrifice(name: str, reward: str = "team_mean") -> None:
    """A death is worth .9, to stay .45; the step is smoothed by the critic, so noise finds it."""
    probe = Probe(Sacrifice(), name, reward, exploration_noise=0.3)
    probe.train(400)
    first = probe.seen()[:, 0, 0] == 0
    assert probe.actions()[first, 1, 0].min() > -0.25
    near(probe.values()[first & probe.acting().all(1)], 0.9, 0.08)


def hidden_chase(name: str) -> None:
    """The actor does not see the state: the mean of both is the best that it can do, and not one of them."""
    probe = Probe(HiddenChase(), name)
    probe.train(400)
    near(probe.actions(), -0.25, 0.12)


def crowd(name: str) -> None:
    probe = Probe(boxed(games.Crowd()), name)
    probe.train(400)
    acting = probe.acting()
    present = acting.sum(-1, keepdims=True).repeat(4, -1)
    assert set(present.reshape(-1)) == {1, 2, 3, 4}
    near(probe.values()[acting], present[acting], 0.12)


def wages(name: str, reward: str = "agent") -> None:
    probe = Probe(boxed(games.Wages()), name, reward)
    probe.train(200)
    near(probe.values()[0], {"agent": [[1.0, 3.0]], "team_sum": 4.0, "team_mean": 2.0}[reward])


def prisoners(name: str, reward: str) -> float:
    """What is given, of at most 1."""
    probe = Probe(Prisoners(), name, reward)
    probe.train(300)
    return float(probe.actions().mean())


def zero_sum(name: str) -> None:
    probe = Probe(boxed(games.ZeroSum()), name)
    probe.train(200)
    near(probe.values("one")[:, 0], probe.seen("one")[:, 0, 0])
    near(probe.values("two")[:, 0], -probe.seen("two")[:, 0, 0])


def reward_scale(name: str) -> None:
    """Rewards times 1000, values normalised, gradients as they are: the policy moves, and to the same place."""
    policies = []
    for scale, updates in ((1.0, 0), (1.0, 60), (1000.0, 60)):
        probe = Probe(Scaled(scale), name, value_norm=True, max_grad_norm=None, adam_eps=1e-12)
        probe.train(updates)
        parameters = probe.learners["team"].policy.acting_parameters()
        policies.append(np.concatenate([p.detach().numpy().reshape(-1) for p in parameters]))
    start, small, large = policies
    assert np.abs(small - start).max() > 0.01
    near(small, large, 1e-3)


class Scaled(Chase):
    """`Chase`, paid in another coin."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        paid, over = super().play(hidden, step, actions, alive)
        return self.scale * paid, over


PROBES = [
    constant_pay,
    seen_pay,
    later,
    chase,
    chase_far,
    drift,
    dial,
    endless,
    eight_steps,
    n_steps,
    rich_and_poor,
    both_flags,
    early_death,
    sacrifice,
    hidden_chase,
    crowd,
    zero_sum,
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
def test_prisoners_keep_alone_and_give_as_a_team(name: str) -> None:
    assert prisoners(name, "agent") < 0.05
    assert prisoners(name, "team_sum") > 0.95
