"""Training on probes: small networks, few steps, values read off the critic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from environments.vector import VectorEnv
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.config_rollout import A2CConfig
from marl.seats import Seats
from tests.probes.environment import FunctionEnv, Rules

torch.set_num_threads(1)  # as a run does: small networks gain nothing from more

COPIES = 128
ENGINE = "fused"
"""How learners compute. Bugs planted in the torch functions are found with "torch"; that both agree is tested apart."""
SMALL: dict[str, Any] = {
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
LEARNER: str | None = None
"""Which learner from rollouts is looked at; none: PPO with the critic that is asked for."""
CHANGES: dict[str, Any] = {}
"""Settings of its own."""


def settings_of(config: Any, critic: str, settings: dict[str, Any]) -> Any:
    """A learner's settings for probes, of those that it has."""
    wanted = SMALL | CHANGES | settings | {"critic": critic}
    if isinstance(config, A2CConfig):
        wanted["epochs"] = 1
    return replace(config, **{name: value for name, value in wanted.items() if hasattr(config, name)})


class Probe:
    """Learners of every kind of team in a probe's game, and what they have come to think."""

    def __init__(
        self, game: Rules | VectorEnv, critic: str, reward: str = "agent", seed: int = 0, **settings: Any
    ) -> None:
        self.env = FunctionEnv(game, COPIES, seed) if isinstance(game, Rules) else game
        known = ALGORITHMS[LEARNER or "mappo"]
        self.config = settings_of(known.config, critic, settings)
        spec = self.env.spec
        self.learners = {
            kind.name: known.load()(spec, kind.name, self.config, reward, seed, engine=ENGINE) for kind in spec.kinds
        }
        seats = {name: Seats.all(learner.policy, self.env.num_envs) for name, learner in self.learners.items()}
        spans = {name: learner.span for name, learner in self.learners.items() if learner.policy.memory}
        self.collector = Collector(self.env, seats, self.config.rollout_length, seed, spans)

    def train(self, iterations: int) -> None:
        """Train (who makes one step per rollout, on more of them); then collect once more, to look at the outcome."""
        for _ in range(iterations * SMALL["epochs"] // self.config.epochs):
            rollouts = self.collector.collect()
            for name, learner in self.learners.items():
                learner.update(rollouts[name], 0.0)
        self.rollouts = self.collector.collect()

    def seen(self, kind: str = "team") -> np.ndarray:
        """Observations `[T+1, S, n, features]` of the last look."""
        return self.rollouts[kind].groups[kind].obs.numpy()

    def acting(self, kind: str = "team") -> np.ndarray:
        """Who acted, `[T+1, S, n]`, in the last look."""
        return self.rollouts[kind].groups[kind].acting.numpy()

    @torch.no_grad()
    def values(self, kind: str = "team") -> np.ndarray:
        """Values in reward units `[T+1, S, R or 1]` of the views of the last look."""
        rollout, value = self.rollouts[kind], self.learners[kind].value
        obs = {name: group.obs.flatten(0, 1) for name, group in rollout.groups.items()}
        seats = torch.arange(rollout.seats).repeat(rollout.steps + 1)
        raw = value.to_raw(value(obs, rollout.state.flatten(0, 1), seats))
        return raw.view(rollout.steps + 1, rollout.seats, -1).numpy()

    def reward(self, kind: str = "team") -> float:
        """Mean reward per agent and step of the last look."""
        return float(self.rollouts[kind].groups[kind].reward.mean())

    def share(self, action: int, rows: np.ndarray, kind: str = "team") -> float:
        """Share of that action among the decisions at `rows [T, S, n]` of the last look."""
        return float((self.rollouts[kind].groups[kind].action.numpy()[rows] == action).mean())
