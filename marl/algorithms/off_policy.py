"""What the learners from a replay buffer have in common: critics and their targets, steps of optimisers, and what is
due when. An algorithm says what its actors do (`_targets`, `_learn`)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from environments.errors import NumericalFailure
from environments.spec import EnvSpec
from marl import losses
from marl.buffers import Rollout
from marl.config_replay import OffPolicyConfig
from marl.critics import TwinQ
from marl.networks import layered
from marl.policy import Actor, Policy, PolicyStep, RandomPolicy, View
from marl.policy_spec import PolicySpec, check_bounded, choices
from marl.replay_buffer import ReplayBuffer, Sample
from marl.seeding import torch_generator
from marl.values import ValueNorm

FORGET = 0.99
"""Weight that each update of the running moments of targets keeps of the past."""


class Explorer:
    """Who sits in the seats while a learner trains: uniformly random at first, then `actor`."""

    def __init__(self, actor: Actor, random: RandomPolicy) -> None:
        self.actor, self.random = actor, random
        self.exploring = True

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents."""
        return (self.random if self.exploring else self.actor).step(views, noise, greedy)


def spec_of(env: EnvSpec, kind: str, config: OffPolicyConfig) -> PolicySpec:
    """Spec of a learner's policy. UsageError where an action has no bounds."""
    network = {name: getattr(config, name) for name in ("parameters", "agent_id", "hidden", "activation", "box")}
    spec = PolicySpec.of(env, kind, **network)
    check_bounded(spec)
    return spec


class OffPolicy(ABC):
    """Learner of one kind of team, off-policy."""

    MODULES: ClassVar[tuple[str, ...]] = ("policy", "critic", "target", "norm")
    """Attributes that are part of the state, or None."""

    def __init__(
        self,
        env: EnvSpec,
        spec: PolicySpec,
        config: OffPolicyConfig,
        reward: str,
        seed: int,
        threads: int,
        summed: bool = False,
        functions: int = 2,
    ) -> None:
        """`reward`: "agent" (each its own), "team_sum" or "team_mean" (one clock for the whole seat).

        `summed` and `functions` as `TwinQ` takes them.
        """
        self.threads, self.spec, self.config, self.reward = threads, spec, config, reward
        kind = spec.kind
        self.policy = Policy(spec, torch_generator(seed, kind, "policy"))
        self.policy.compiled = False  # compiled acting would take the parameters elsewhere, under the optimisers' feet
        self.actor = Explorer(self._player(), RandomPolicy(spec))
        self.agents = [(group, i) for group in spec.groups for i in range(spec.members(group))]
        central = config.critic == "central"
        rows = 1 if central and reward != "agent" else len(self.agents)
        generator = torch_generator(seed, kind, "critic")
        self.critic = TwinQ(spec, env.state_size, central, rows, config.hidden, summed, generator, functions)
        self.target = deepcopy(self.critic).requires_grad_(False)
        self.norm = ValueNorm(FORGET) if config.value_norm else None
        self.buffer = ReplayBuffer(spec, reward == "agent", config.buffer_size, env.max_wait)
        self.wait = 1.0 if env.turn_based else config.gamma
        self.generators = {name: torch_generator(seed, kind, name) for name in ("replay", "noise", "order")}
        self.parts = self._parts()
        self.optimisers = {
            f"actor_{i}": adam(part, config.actor_learning_rate, config) for i, part in enumerate(self.parts)
        }
        self.optimisers["critic"] = adam(list(self.critic.parameters()), config.critic_learning_rate, config)
        self.steps = self.updates = 0
        self.due = 0.0

    @abstractmethod
    def _learn(self) -> dict[str, float]:
        """One update, on one sample; metrics."""

    @abstractmethod
    def _targets(self, sample: Sample) -> Tensor:
        """What the critics are to predict, `[B, K]` in reward units."""

    def _player(self) -> Actor:
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
        self.actor.exploring = self.steps < self.config.warmup_steps
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
            optimiser.load_state_dict(deepcopy(state["optimisers"][name]))
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        counters = state["counters"]
        self.steps, self.updates, self.due = int(counters["steps"]), int(counters["updates"]), float(counters["due"])
        self.buffer.load_state_dict(state["buffer"])
        self.actor.exploring = self.steps < self.config.warmup_steps

    def _parts(self) -> list[list[Tensor]]:
        """Parameters that are stepped together: all, or agent by agent views of the policy's own."""
        if self.config.order == "at_once":
            return [list(self.policy.acting_parameters())]
        parts: list[list[Tensor]] = []
        for group, i in self.agents:
            actor = self.policy.actors[group.name]
            parts.append([x.data[i].requires_grad_() for x in (*actor.weights, *actor.biases)])  # type: ignore[misc]
        return parts

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

    def _critic_step(self, sample: Sample) -> dict[str, float]:
        config, critic = self.config, self.critic
        use = sample.use.unsqueeze(1)
        if critic.rows == len(self.agents) and (self.reward == "agent" or not critic.central):
            use = use & sample.now.acting
        target = self._targets(sample)
        if self.norm is not None:
            self.norm.update(target, use)
            mean, deviation = self.norm.moments
            target = (target - mean) / deviation
        actions = self._remembered(sample)
        q = critic(critic.see(sample.now), actions)
        huber = config.huber_delta if config.value_loss == "huber" else None
        error = losses.value_error(q, target.expand_as(q), huber)
        loss = losses.masked_sum(error, use.expand_as(error)) / use.sum().clamp(min=1)
        norm = self._step("critic", loss, list(critic.parameters()), sample)
        value = losses.masked_sum(self._raw(q[0].detach()), use) / use.sum().clamp(min=1)
        return {"critic_loss": float(loss.detach()), "critic_gradient": norm, "q": float(value)}

    def _discounted(self, sample: Sample, value: Tensor) -> Tensor:
        """Targets `[B, K]` from the values `[U, K or R]` of the views `sample.then`."""
        if self.reward == "agent" or value.shape[1] == 1:
            return sample.reward + sample.discount * value.gather(0, sample.which.expand(-1, value.shape[1]))
        acts = sample.then.acting
        mean = torch.where(acts, value, 0.0).sum(1, keepdim=True) / acts.sum(1, keepdim=True).clamp(min=1)
        value = torch.where(acts, value, mean)  # a team's reward goes on when a member does not
        return sample.reward + sample.discount * value[sample.which[:, 0]]

    def _remembered(self, sample: Sample) -> list[Tensor]:
        """The sample's actions as `TwinQ` takes them."""
        actions, dtype = [], next(self.critic.parameters()).dtype
        for group in self.spec.groups:
            action, sizes = sample.action[group.name], choices(group.action_space)
            if sizes:
                columns = action.long().unbind(-1) if len(sizes) > 1 or action.dim() == 3 else [action.long()]
                hots = [nn.functional.one_hot(x, size) for x, size in zip(columns, sizes, strict=True)]
                value = torch.cat(hots, -1).to(dtype)
            else:
                centre, half = (self.policy.get_buffer(f"{name}_{group.name}") for name in ("centre", "half"))
                value = ((action - centre) / half).to(dtype)
            actions.append(value)
        rows = [x for value in actions for x in value.unbind(1)]
        return [x * sample.now.acting[:, i : i + 1] for i, x in enumerate(rows)]

    def _raw(self, q: Tensor) -> Tensor:
        """Q in reward units."""
        if self.norm is None:
            return q
        mean, deviation = self.norm.moments
        return q * deviation + mean

    @torch.no_grad()
    def _follow(self, slow: nn.Module, fast: nn.Module) -> None:
        """slow <- (1 - polyak) slow + polyak fast."""
        torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), self.config.polyak)

    def _step(self, name: str, loss: Tensor, parameters: list[Tensor], sample: Sample, clip: bool = True) -> float:
        """One step of an optimiser down the loss's gradient; the gradient's norm."""
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        limit = self.config.max_grad_norm if clip and self.config.max_grad_norm is not None else math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        if not math.isfinite(norm) or not math.isfinite(float(loss.detach())):
            raise NumericalFailure(f"loss or gradient of {name.split('_')[0]} is not finite", sample)
        self.optimisers[name].step()
        return norm


def adam(parameters: Sequence[Tensor], rate: float, config: OffPolicyConfig) -> torch.optim.Adam:
    """An optimiser, its epsilon as the settings say."""
    return torch.optim.Adam(parameters, lr=rate, eps=config.adam_eps, fused=True)


def outputs_of(obs: Tensor, part: Sequence[Tensor], activation: str) -> Tensor:
    """One agent's network `[B, 1, K]`, from one of `OffPolicy.parts`."""
    return layered(obs.flatten(1).to(part[0].dtype), part, activation).unsqueeze(1)
