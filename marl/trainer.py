"""The trainer: one iteration is collect, update, record; nothing calls it back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from environments.vector import VectorEnv
from marl import heap
from marl.acting import Actor, remembers
from marl.buffers import Rollout
from marl.collector import Collector
from marl.config_self_play import SelfPlayConfig
from marl.policy import Policy
from marl.seating import Seating
from marl.seats import Seats
from marl.seeding import derive
from marl.self_play import SelfPlay


class Learner(Protocol):
    """An algorithm with its state, for one kind of team."""

    policy: Policy
    """What it learns. A learner that explores otherwise has an `actor` besides, who sits in the seats; one of a policy
    that remembers has a `span`, every how many steps a rollout keeps what that carried."""

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Learn from a rollout; returns metrics."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        ...


class Trainer:
    """Trains the learners of some kinds of team in one environment, against each other or against fixed players."""

    def __init__(
        self,
        env: VectorEnv,
        learners: Mapping[str, Learner],
        players: Mapping[str, Actor],
        total_steps: int,
        rollout_length: int,
        seed: int,
        self_play: SelfPlayConfig | None = None,
        seating: Seating | None = None,
    ) -> None:
        """`learners` and `players` (fixed) together name every kind of team once, unless a `seating` fills all seats.

        `self_play`: who else sits in the seats of kinds that are trained and have several teams; by default nobody.
        `seating`: who sits in the seats of all kinds, instead of `players` and self-play; each learner is the first
        player of its own.
        """
        kinds = sorted(kind.name for kind in env.spec.kinds)
        if seating is None and sorted([*learners, *players]) != kinds:
            raise ValueError(f"{env.spec.name} has teams {kinds}; given {sorted([*learners, *players])}")
        heap.keep_freed()
        self.env = env
        self.learners = dict(learners)
        self.total_steps = total_steps
        self.steps = 0
        self.iterations = 0
        actors: dict[str, Actor] = {
            kind: getattr(learner, "actor", learner.policy) for kind, learner in learners.items()
        }
        actors |= players
        seats = {k.name: Seats.all(actors[k.name], env.num_envs * k.teams) for k in env.spec.kinds if k.name in actors}
        self.seating: dict[str, Seating] = {} if seating is None else {"": seating}
        for kind in env.spec.kinds:
            if self_play is not None and kind.name in learners and kind.teams > 1:
                policy, key = learners[kind.name].policy, derive(seed, kind.name, "self-play")
                self.seating[kind.name] = SelfPlay(policy, actors[kind.name], env.spec, kind.name, self_play, key)
        for rule in self.seating.values():
            seats |= rule.seats(env.episode_seed)
        spans = {kind: getattr(x, "span", 1) for kind, x in learners.items() if remembers(x.policy)}
        self.collector = Collector(env, seats, rollout_length, derive(seed, "acting"), spans)
        self.collector.seating = self.seating

    @property
    def finished(self) -> bool:
        """True once `total_steps` environment steps are done."""
        return self.steps >= self.total_steps

    def iteration(self) -> dict[str, float]:
        """Collect one rollout and update every learner with it; metrics by name, learners' prefixed with their team."""
        started = time.perf_counter()
        rollouts = self.collector.collect()
        collected = time.perf_counter()
        progress = min(self.steps / self.total_steps, 1.0)
        metrics: dict[str, float] = {}
        for kind, learner in self.learners.items():
            metrics |= {f"{kind}/{name}": value for name, value in learner.update(rollouts[kind], progress).items()}
        updated = time.perf_counter()
        self.steps += self.collector.length * self.env.num_envs
        self.iterations += 1
        for name, rule in self.seating.items():
            rule.remember(self.iterations, self.collector.seats)
            metrics |= {f"{name}/{what}".lstrip("/"): value for what, value in rule.summary().items()}
        return (
            self.collector.statistics.summary()
            | metrics
            | {
                "time/collect": collected - started,
                "time/update": updated - collected,
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything: training 2k iterations equals k, save, new process, load, k, bit for bit.

        It shares its arrays with the trainer: who keeps it while training goes on, copies.
        """
        return {
            "steps": self.steps,
            "iterations": self.iterations,
            "collector": self.collector.state_dict(),
            "learners": {kind: learner.state_dict() for kind, learner in self.learners.items()},
            "self_play": {name: rule.state_dict() for name, rule in self.seating.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.steps = state["steps"]
        self.iterations = state["iterations"]
        self.collector.load_state_dict(state["collector"])
        for kind, learner in self.learners.items():
            learner.load_state_dict(state["learners"][kind])
        for name, rule in self.seating.items():
            rule.load_state_dict(state["self_play"][name])
