"""Training on probes: small networks, few steps; and what came of it, read the same way whoever has learnt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from environments.vector import VectorEnv
from marl.buffers import Rollout
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.config_rollout import A2CConfig
from marl.distributions import Categorical
from marl.replay_buffer import ReplayBuffer, Views
from marl.seats import Seats
from tests.probes.boxes import boxed
from tests.probes.environment import FunctionEnv, Rules
from tests.probes.table import core_of

torch.set_num_threads(1)  # as a run does: small networks gain nothing from more

SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "hatrpo": ("hatrpo", {"kl_radius": 0.05}),
    "ia2c": ("ia2c", {"advantage_norm": "batch"}),
    "maa2c": ("maa2c", {"learning_rate": 0.02}),
    "mdpo": ("ippo", {"trust_region": "mdpo", "kl_weight": 0.1}),
    "fixpo": ("ippo", {"trust_region": "fixpo"}),
    "vtrace": ("mappo", {"returns": "vtrace"}),
    "nstep": ("mappo", {"returns": "nstep", "n_step": 8}),
}
"""Learner -> the algorithm that it is, and settings of its own; the others are what they are called."""


class Probe(ABC):
    """Learners of every kind of team in a probe's game, and what they have come to think.

    What is read is of the last look, N steps of it: time and copies in one.
    """

    COPIES: ClassVar[int]
    SMALL: ClassVar[Mapping[str, Any]]
    ENGINE: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, game: Rules | VectorEnv, name: str, reward: str = "agent", seed: int = 0, **settings: Any
    ) -> None:
        self.env = FunctionEnv(game, self.COPIES, seed) if isinstance(game, Rules) else game
        algorithm, own = SPECIAL.get(name, (name, {}))
        known, spec = ALGORITHMS[algorithm], self.env.spec
        self.config = self.configured(known.config, {**self.SMALL, **own, **settings})
        self.learners = {
            kind.name: known.load()(spec, kind.name, self.config, reward, seed, **self.ENGINE) for kind in spec.kinds
        }
        self.collector = self.collecting(seed)
        self.rollouts: dict[str, Rollout] = {}

    def configured(self, config: Any, settings: Mapping[str, Any]) -> Any:
        """A learner's settings for probes."""
        return replace(config, **settings)

    @abstractmethod
    def collecting(self, seed: int) -> Collector:
        """Who plays while learners learn."""

    @abstractmethod
    def train(self, effort: int) -> None:
        """Train, and look at the outcome."""

    @abstractmethod
    def values(self, kind: str = "team") -> np.ndarray:
        """What is expected from then on, in reward units, `[N, K]`: for each agent, or one number for the team."""

    @abstractmethod
    def seen(self, kind: str = "team") -> np.ndarray:
        """Observations `[N, n, features]`."""

    @abstractmethod
    def acting(self, kind: str = "team") -> np.ndarray:
        """Who acted, `[N, n]`."""

    @abstractmethod
    def state(self, kind: str = "team") -> np.ndarray:
        """`[N, state_size]`."""

    @abstractmethod
    def share(self, action: int, rows: np.ndarray | None = None, kind: str = "team") -> float:
        """How often that action is chosen, of the decisions at `rows [N, n]`; none: of all that are made."""

    def reward(self, kind: str = "team") -> float:
        """Mean reward per agent and step."""
        return float(self.rollouts[kind].groups[kind].reward.mean())

    def parameters(self) -> np.ndarray:
        """All that acting depends on."""
        parameters = self.learners["team"].policy.acting_parameters()
        return np.concatenate([p.detach().numpy().reshape(-1) for p in parameters])


class FromRollouts(Probe):
    """Of PPO, TRPO and A2C."""

    COPIES: ClassVar = 128
    ENGINE: ClassVar[Mapping[str, str]] = {"engine": "fused"}
    """Bugs planted in the torch functions are found with "torch"; that both agree is tested apart."""
    SMALL: ClassVar = {
        "hidden": (32,),
        "rollout_length": 4,
        "epochs": 4,
        "minibatches": 1,
        "learning_rate": 1e-2,
        "anneal": False,
        "gamma": 0.9,
        "entropy": 0.0,
        "max_grad_norm": 10.0,
    }

    def configured(self, config: Any, settings: Mapping[str, Any]) -> Any:
        """Of these settings, those that the learner has."""
        wanted = {**settings, "epochs": 1} if isinstance(config, A2CConfig) else settings
        return replace(config, **{name: value for name, value in wanted.items() if hasattr(config, name)})

    def collecting(self, seed: int) -> Collector:
        seats = {name: Seats.all(learner.policy, self.env.num_envs) for name, learner in self.learners.items()}
        spans = {name: learner.span for name, learner in self.learners.items() if learner.policy.memory}
        return Collector(self.env, seats, self.config.rollout_length, seed, spans)

    def train(self, effort: int) -> None:
        """So many iterations (more for who makes one step per rollout); then collect once more."""
        for _ in range(effort * self.SMALL["epochs"] // self.config.epochs):
            rollouts = self.collector.collect()
            for name, learner in self.learners.items():
                learner.update(rollouts[name], 0.0)
        self.rollouts = self.collector.collect()

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        rollout, value = self.rollouts[kind], self.learners[kind].value
        obs = {name: group.obs.flatten(0, 1) for name, group in rollout.groups.items()}
        seats = torch.arange(rollout.seats).repeat(rollout.steps + 1)
        return value.to_raw(value(obs, rollout.state.flatten(0, 1), seats)).numpy()

    def seen(self, kind: str = "team") -> np.ndarray:
        return self.rollouts[kind].groups[kind].obs.flatten(0, 1).numpy()

    def acting(self, kind: str = "team") -> np.ndarray:
        return self.rollouts[kind].groups[kind].acting.flatten(0, 1).numpy()

    def state(self, kind: str = "team") -> np.ndarray:
        return self.rollouts[kind].state.flatten(0, 1).numpy()

    def share(self, action: int, rows: np.ndarray | None = None, kind: str = "team") -> float:
        chosen = self.rollouts[kind].groups[kind].action.flatten(0, 1).numpy()
        rows = self.acting(kind) if rows is None else rows
        return float((chosen[rows[: len(chosen)]] == action).mean())  # after the last views nobody has acted yet


class FromReplay(Probe):
    """Of learners that remember: trained for so many updates after a warm-up."""

    COPIES: ClassVar = 64
    SMALL: ClassVar = {
        "hidden": (32,),
        "rollout_length": 4,
        "warmup_steps": 1024,
        "updates_per_step": 16 / 256,
        "batch_size": 128,
        "gamma": 0.9,
        "n_step": 1,
        "polyak": 0.2,
    }

    def collecting(self, seed: int) -> Collector:
        seats = {kind: Seats.all(learner.actor, self.env.num_envs) for kind, learner in self.learners.items()}
        spans = {name: learner.span for name, learner in self.learners.items() if learner.policy.memory}
        return Collector(self.env, seats, self.config.rollout_length, seed, spans)

    def train(self, effort: int) -> None:
        while min(learner.updates for learner in self.learners.values()) < effort:
            rollouts = self.collector.collect()
            for kind, learner in self.learners.items():
                learner.update(rollouts[kind], 0.0)
        self.look()

    def look(self) -> None:
        """At what is played while learning."""
        self.rollouts = self.collector.collect()

    def views(self, kind: str = "team") -> Views:
        """The views of the last look, of N steps."""
        rollout, learner = self.rollouts[kind], self.learners[kind]
        buffer = ReplayBuffer(learner.spec, learner.reward == "agent", 10_000, 0)
        buffer.add(rollout, learner._paid(rollout))
        return buffer._views(torch.arange(rollout.steps * rollout.seats))

    def seen(self, kind: str = "team") -> np.ndarray:
        return self.views(kind).obs[kind].numpy()

    def acting(self, kind: str = "team") -> np.ndarray:
        return self.views(kind).acting.numpy()

    def state(self, kind: str = "team") -> np.ndarray:
        return self.views(kind).state.numpy()

    def among(self, chosen: np.ndarray, rows: np.ndarray | None, kind: str) -> float:
        """The mean of what is chosen at those rows."""
        return float(chosen[self.acting(kind) if rows is None else rows].mean())


class Soft(FromReplay):
    """Of soft actor-critics, with little weight on entropy."""

    SMALL: ClassVar = {
        **FromReplay.SMALL,
        "actor_learning_rate": 1e-2,
        "critic_learning_rate": 2e-2,
        "temperature_learning_rate": 0.0,
        "temperature": 0.01,
    }

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        """min Q of the present policy's actions plus its weighed entropy, `[N, K]`: the soft value."""
        learner, views = self.learners[kind], self.views(kind)
        acts = [learner._acts(group, views) for group in learner.spec.groups]
        log_prob = learner._log_probs(acts, views.acting)
        critic = learner.critic
        q = learner._raw(critic.smaller(critic.see(views), views.acting, learner._values(acts, views.acting)))
        cost = learner.log_temperature.exp() * log_prob
        return (q - (cost.sum(1, keepdim=True) if q.shape[1] < cost.shape[1] else cost)).numpy()

    @torch.no_grad()
    def probabilities(self, kind: str = "team") -> np.ndarray:
        """Of every action, `[N, n, K]`."""
        learner, views = self.learners[kind], self.views(kind)
        group = learner.spec.groups[0]
        chosen = learner.policy.distribution(group, views.obs[group.name], views.action_mask[group.name])
        assert isinstance(chosen, Categorical)
        return chosen.probs.numpy()

    def share(self, action: int, rows: np.ndarray | None = None, kind: str = "team") -> float:
        return self.among(self.probabilities(kind)[..., action], rows, kind)


class Aimed(FromReplay):
    """Of deterministic actors, in games of boxes, looked at without noise."""

    SMALL: ClassVar = {**FromReplay.SMALL, "actor_learning_rate": 1e-2, "critic_learning_rate": 2e-2}

    def __init__(self, game: Rules | VectorEnv, *rest: Any, **settings: Any) -> None:
        super().__init__(boxed(game) if isinstance(game, Rules) else game, *rest, **settings)

    def look(self) -> None:
        seats = {kind: Seats.all(learner.policy, self.env.num_envs) for kind, learner in self.learners.items()}
        self.rollouts = Collector(self.env, seats, self.config.rollout_length, 1).collect()

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        """Q of the present policy's actions, `[N, K]`."""
        learner, views = self.learners[kind], self.views(kind)
        actions = learner._actions(learner.policy, views)
        actions = [a * views.acting[:, i : i + 1] for i, a in enumerate(actions)]
        return learner._raw(learner.critic.smaller(learner.critic.see(views), views.acting, actions)).numpy()

    def actions(self, kind: str = "team") -> np.ndarray:
        """Greedy actions `[N, n, d]`."""
        return self.rollouts[kind].groups[kind].action.flatten(0, 1).numpy()

    def share(self, action: int, rows: np.ndarray | None = None, kind: str = "team") -> float:
        """The game says which actions are that one."""
        found = self.among(self.env.rules.chosen(self.actions(kind)[..., 0]), rows, kind)
        return found if action else 1 - found


class Valued(FromReplay):
    """Of values of actions; looked at while all is tried, greedy play beside it."""

    SMALL: ClassVar = {
        **FromReplay.SMALL,
        "learning_rate": 2e-2,
        "mixer_width": 8,
        "mixer_hidden": (16,),
        "epsilon": 0.5,
        "final_epsilon": 0.1,
        "epsilon_steps": 1024,
    }

    def look(self) -> None:
        self.rollouts, self.best = self.played(1.0), self.played(0.0)

    def played(self, epsilon: float) -> dict[str, Rollout]:
        """Rollouts in fresh copies of the game."""
        for learner in self.learners.values():
            learner.curious.epsilon = epsilon
        seats = {kind: Seats.all(learner.curious, self.env.num_envs) for kind, learner in self.learners.items()}
        fresh = FunctionEnv(self.env.rules, self.env.num_envs, 1)
        return Collector(fresh, seats, self.config.rollout_length, 1).collect()

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        """Of the best actions, `[N, R or 1]`."""
        learner, views = self.learners[kind], self.views(kind)
        best = {group.name: learner._best(learner.policy, group, views) for group in learner.spec.groups}
        return self.worth(best, kind)

    @torch.no_grad()
    def worth(self, actions: Mapping[str, Tensor], kind: str = "team") -> np.ndarray:
        """Of any actions, `[N, R or 1]`."""
        learner, views = self.learners[kind], self.views(kind)
        mixed = learner._mixed(learner.mixer, learner._values(learner.policy, views, actions), views)
        return learner._raw(mixed).numpy()

    @torch.no_grad()
    def actions(self, kind: str = "team") -> np.ndarray:
        """The best actions of the random look's views, `[N, n]`, of several choices `[N, n, choices]`."""
        learner, views = self.learners[kind], self.views(kind)
        return learner._best(learner.policy, learner.spec.groups[0], views).numpy()

    def share(self, action: int, rows: np.ndarray | None = None, kind: str = "team") -> float:
        return self.among(self.actions(kind) == action, rows, kind)

    def reward(self, kind: str = "team") -> float:
        """Mean reward of greedy play."""
        return float(self.best[kind].groups[kind].reward.mean())


PROBES: dict[str, type[Probe]] = {
    **dict.fromkeys(("ppo", "trpo", "a2c"), FromRollouts),
    "sac": Soft,
    "ddpg": Aimed,
    "q": Valued,
}


def probe_of(game: Rules | VectorEnv, name: str, *rest: Any, **settings: Any) -> Any:
    """A probe of that learner."""
    return PROBES[core_of(name)](game, name, *rest, **settings)
