"""What the learners from a replay buffer have in common: remembering, steps of optimisers, and what is due when. An
algorithm says what it predicts and how it steps (`_targets`, `_learn`)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from environments.errors import NumericalFailure
from environments.spec import EnvSpec
from marl import losses
from marl.acting import Actor, Hidden, PolicyStep, RecurrentActor, View, remembers
from marl.adam import Adam, clip_norm
from marl.buffers import Rollout
from marl.config_replay import OffPolicyConfig
from marl.engine.perceptrons import Perceptrons
from marl.networks import compute_by
from marl.policy import Policy
from marl.policy_spec import PolicySpec, check_bounded, network_of
from marl.random_policy import RandomPolicy
from marl.replay_buffer import ReplayBuffer, Sample
from marl.seats import ask
from marl.seeding import torch_generator
from marl.values import ValueNorm

FORGET = 0.99
"""Weight that each update of the running moments of targets keeps of the past."""


class Explorer:
    """Who sits in the seats while a learner trains: uniformly random at first, then `actor`."""

    def __init__(self, actor: Actor | RecurrentActor, random: RandomPolicy) -> None:
        self.actor, self.random = actor, random
        self.exploring = True

    @property
    def memory(self) -> Mapping[str, int]:
        """The actor's; it remembers what it has seen, also while others' actions are random."""
        return self.actor.memory if remembers(self.actor) else {}

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False, hidden: Hidden | None = None
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents."""
        own = ask(self.actor, views, noise, greedy, hidden or {}) if not self.exploring or self.memory else {}
        if not self.exploring:
            return own
        steps = self.random.step(views, noise, greedy)
        return steps | {name: steps[name]._replace(hidden=step.hidden) for name, step in own.items()}


def spec_of(env: EnvSpec, kind: str, config: OffPolicyConfig) -> PolicySpec:
    """Spec of a learner's policy. UsageError where an action has no bounds."""
    spec = PolicySpec.of(env, kind, **network_of(config))
    check_bounded(spec)
    return spec


class OffPolicy(ABC):
    """Learner of one kind of team, off-policy."""

    MODULES: ClassVar[tuple[str, ...]]
    """Attributes that are part of the state, or None."""

    def __init__(
        self,
        env: EnvSpec,
        spec: PolicySpec,
        config: OffPolicyConfig,
        reward: str,
        seed: int,
        threads: int,
        engine: str = "torch",
    ) -> None:
        """`reward`: "agent" (each its own), "team_sum" or "team_mean" (one clock for the whole seat).

        `engine`: perceptrons and their gradients are computed by compiled functions ("fused") or by torch; they differ
        by rounding alone.
        """
        self.threads, self.spec, self.config, self.reward = threads, spec, config, reward
        kind = spec.kind
        self.policy = Policy(spec, torch_generator(seed, kind, "policy"))
        self.engine = Perceptrons(threads) if engine == "fused" else None
        compute_by(self.engine, self.policy)
        self.policy.compiled = False  # compiled acting would take the parameters elsewhere, under the optimisers' feet
        self.actor = Explorer(self._player(), RandomPolicy(spec))
        self.agents = [(group, i) for group in spec.groups for i in range(spec.members(group))]
        self.norm = ValueNorm(FORGET) if config.value_norm else None
        self.span = config.span
        """Steps of a seat that are sampled together: of a recurrent policy, a chunk's."""
        room = config.buffer_size, env.max_wait, config.span, config.lead
        self.buffer = ReplayBuffer(spec, reward == "agent", *room)
        self.wait = 1.0 if env.turn_based else config.gamma
        self.generators = {"replay": torch_generator(seed, kind, "replay")}
        self.optimisers: dict[str, Adam] = {}
        self.steps = self.updates = 0
        self.due = 0.0

    @abstractmethod
    def _learn(self) -> dict[str, float]:
        """One update, on one sample; metrics."""

    @abstractmethod
    def _targets(self, sample: Sample) -> Tensor:
        """What is to be predicted, `[B, K]` in reward units."""

    def _player(self) -> Actor | RecurrentActor:
        """Who plays after the warm-up."""
        return self.policy

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Remember a rollout and make the updates that are due; metrics are means over those that tell them.

        NumericalFailure where the rollout, a loss or a gradient is not finite, with the rollout or the sample as
        `batch`; that step is not taken then.
        """
        self.buffer.add(rollout, self._paid(rollout))
        steps = rollout.steps * rollout.seats // self.spec.teams
        self.steps += steps
        self._schedule()
        told: dict[str, list[float]] = {}
        count = 0
        if not self.actor.exploring and self.buffer.ready:
            self.due += self.config.updates_per_step * steps
            count = int(self.due)
            self.due -= count
        for _ in range(count):
            for name, value in self._learn().items():
                told.setdefault(name, []).append(float(value))
        means = {name: sum(values) / len(values) for name, values in told.items()}
        return means | {"updates": float(count), "remembered": float(self.buffer.size * rollout.seats)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, scale of values, replay buffer, generators and counters."""
        modules = {name: getattr(self, name) for name in self.MODULES}
        return {
            **{name: {} if module is None else module.state_dict() for name, module in modules.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "counters": {"steps": self.steps, "updates": self.updates, "due": self.due},
            "buffer": self.buffer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        for name in self.MODULES:
            module = getattr(self, name)
            if module is not None:
                module.load_state_dict(state[name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        counters = state["counters"]
        self.steps, self.updates, self.due = int(counters["steps"]), int(counters["updates"]), float(counters["due"])
        self.buffer.load_state_dict(state["buffer"])
        self._schedule()

    def _schedule(self) -> None:
        """Explore as is due after as many steps."""
        self.actor.exploring = self.steps < self.config.warmup_steps

    def _paid(self, rollout: Rollout) -> Tensor:
        """Reward `[T, S, K]` of the rows of the clock."""
        reward = torch.cat([rollout.groups[group.name].reward for group in self.spec.groups], 2)
        if self.reward == "agent":
            return reward
        return reward.sum(2, keepdim=True) if self.reward == "team_sum" else reward.mean(2, keepdim=True)

    def _draw(self) -> Sample:
        """What an update learns from."""
        config = self.config
        return self.buffer.sample(config.batch_size, config.n_step, config.gamma, self.wait, self.generators["replay"])

    def _regress(
        self, name: str, q: Tensor, target: Tensor, use: Tensor, parameters: list[Tensor], sample: Sample
    ) -> tuple[float, float]:
        """One step of an optimiser that brings `q [.., B, K]` to targets in reward units; the loss, and the gradient's
        norm. Entries of `use [B, K]` count, alone."""
        config = self.config
        if self.norm is not None:
            self.norm.update(target, use)
            mean, deviation = self.norm.moments
            target = (target - mean) / deviation
        huber = config.huber_delta if config.value_loss == "huber" else None
        error = losses.value_error(q, target.expand_as(q), huber)
        loss = losses.masked_sum(error, use.expand_as(error)) / use.sum().clamp(min=1)
        norm = self._step(name, loss, parameters, sample)
        return float(loss.detach()), norm

    def _discounted(self, sample: Sample, value: Tensor) -> Tensor:
        """Targets `[B, K]` from the values `[U, K or R]` of the views `sample.then`."""
        if self.reward == "agent" or value.shape[1] == 1:
            return sample.reward + sample.discount * value.gather(0, sample.which.expand(-1, value.shape[1]))
        acts = sample.then.acting
        mean = torch.where(acts, value, 0.0).sum(1, keepdim=True) / acts.sum(1, keepdim=True).clamp(min=1)
        value = torch.where(acts, value, mean)  # a team's reward goes on when a member does not
        return sample.reward + sample.discount * value[sample.which[:, 0]]

    def _raw(self, q: Tensor) -> Tensor:
        """Q in reward units."""
        if self.norm is None:
            return q
        mean, deviation = self.norm.moments
        return q * deviation + mean

    @torch.no_grad()
    def _follow(self, slow: list[Tensor], fast: list[Tensor]) -> None:
        """slow <- (1 - polyak) slow + polyak fast."""
        torch._foreach_lerp_(slow, fast, self.config.polyak)

    def _step(self, name: str, loss: Tensor, parameters: list[Tensor], sample: Sample, clip: bool = True) -> float:
        """One step of an optimiser down the loss's gradient; the gradient's norm."""
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        limit = self.config.max_grad_norm if clip and self.config.max_grad_norm is not None else math.inf
        norm = float(clip_norm(gradients, limit))
        if not math.isfinite(norm) or not math.isfinite(float(loss.detach())):
            raise NumericalFailure(f"loss or gradient of {name.split('_')[0]} is not finite", sample)
        self.optimisers[name].step()
        return norm
