"""Learning values of actions: IQL (each agent its own), VDN (the team's as their sum), QMIX (as a monotone mix).

Watkins and Dayan 1992, van Hasselt et al. 2016 (arXiv:1509.06461), Sunehag et al. 2018 (arXiv:1706.05296), Rashid et
al. 2018 (arXiv:1803.11485). The algorithms differ by what is predicted (`QConfig.mixer`). The policy's networks *are*
the values: of each action of each agent, or of each choice, an agent's value then being the sum over its choices.
Recurrent ones learn from chunks of episodes and what was carried there (Kapturowski et al. 2019, R2D2).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from environments.spec import AgentGroup, EnvSpec
from marl import losses
from marl.acting import Actor, Hidden, PolicyStep, RecurrentActor, View
from marl.adam import Adam
from marl.algorithms.courses import described
from marl.algorithms.off_policy import OffPolicy, spec_of
from marl.config_replay import QConfig
from marl.distributions import choose
from marl.judges import Judge, values_of
from marl.mixers import Monotone, Sum
from marl.policy import Policy
from marl.policy_spec import check_mixed
from marl.replay_buffer import Sample, Views
from marl.seeding import torch_generator


class Curious:
    """A policy of values that takes any legal action with probability `epsilon`, else the best."""

    def __init__(self, policy: Policy, epsilon: float) -> None:
        self.policy, self.epsilon = policy, epsilon

    @property
    def memory(self) -> Mapping[str, int]:
        """The policy's."""
        return self.policy.memory

    @torch.inference_mode()
    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False, hidden: Hidden | None = None
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents; `greedy`: the best."""
        steps = {}
        for group in self.policy.spec.groups:
            view = views[group.name]
            values, kept = self.policy.look(group, view, hidden)
            chosen = choose(group, values, view.action_mask, self.epsilon)
            action = chosen.mode() if greedy else chosen.sample(noise[group.name])
            steps[group.name] = PolicyStep(action, chosen.log_prob(action), kept)
        return steps


class QLearning(OffPolicy):
    """Learner of one kind of team, off-policy, of the values of discrete actions."""

    MODULES: ClassVar[tuple[str, ...]] = ("policy", "target_policy", "mixer", "target_mixer", "norm")
    config: QConfig

    def __init__(self, env: EnvSpec, kind: str, config: QConfig, reward: str, seed: int, threads: int = 1) -> None:
        """As `OffPolicy`. UsageError where actions are continuous, or a mixer has no team's reward to learn from."""
        spec = replace(spec_of(env, kind, config), epsilon=config.final_epsilon)
        check_mixed(spec, config.mixer, reward)
        super().__init__(env, spec, config, reward, seed, threads)
        self.target_policy = deepcopy(self.policy).requires_grad_(False)
        self.mixer = self._mixer(env.critic_size(kind), torch_generator(seed, kind, "mixer"))
        self.target_mixer = deepcopy(self.mixer)
        self.learnt = [*self.policy.acting_parameters(), *(self.mixer.parameters() if self.mixer else ())]
        targets = self.target_policy, self.target_mixer
        self.learnt_before: list[Tensor] = [x for each in targets if each is not None for x in each.parameters()]
        self.optimisers["values"] = Adam(self.learnt, config.learning_rate, config.adam_eps)
        self._schedule()
        shape = {
            "of": "values",
            "mixer": config.mixer,
            "state_size": env.critic_size(kind),
            "width": config.mixer_width,
            "hidden": list(config.mixer_hidden),
            "norm": config.value_norm,
        }
        parts = {"mixer": self.mixer, "norm": self.norm}
        held = {name: part for name, part in parts.items() if part is not None}
        self.policy.judge = Judge(shape, nn.ModuleDict(held))

    def _mixer(self, state_size: int, generator: torch.Generator) -> nn.Module | None:
        config = self.config
        if config.mixer == "monotone":
            return Monotone(self.spec, state_size, config.mixer_width, config.mixer_hidden, generator)
        return Sum() if config.mixer == "sum" else None

    def _player(self) -> Actor | RecurrentActor:
        self.curious = Curious(self.policy, self.config.epsilon)
        return self.curious

    def _schedule(self) -> None:
        """Random play, then epsilon from its first to its final value."""
        super()._schedule()
        config = self.config
        part = min(max(self.steps - config.warmup_steps, 0) / config.epsilon_steps, 1.0)
        self.curious.epsilon = config.epsilon + part * (config.final_epsilon - config.epsilon)

    def _learn(self) -> dict[str, float]:
        """One update of the values, and each `target_period` updates of the targets, on one sample."""
        if self.updates == 0:  # the networks may have been given other weights to start from
            self._targets_follow(1.0)
        sample = self._draw()
        now, use = sample.now, sample.use.unsqueeze(1)
        q = self._mixed(self.mixer, self._values(self.policy, now, sample.action), now)
        if self.mixer is None:
            use = use & now.acting
        loss, norm = self._regress("values", q, self._targets(sample), use, self.learnt, sample)
        self.updates += 1
        if self.updates % self.config.target_period == 0:
            self._targets_follow(self.config.polyak)
        value = losses.masked_sum(self._raw(q.detach()), use) / use.sum().clamp(min=1)
        return {"value_loss": loss, "value_gradient": norm, "q": float(value), "epsilon": self.curious.epsilon}

    @torch.no_grad()
    def _targets(self, sample: Sample) -> Tensor:
        """y = R + discount * Q'(s', a'), a'_i the legal action that the present values (the earlier ones without
        `double`) praise most."""
        then = sample.then
        judge = self.policy if self.config.double else self.target_policy
        best = {group.name: self._best(judge, group, then) for group in self.spec.groups}
        value = self._mixed(self.target_mixer, self._values(self.target_policy, then, best), then)
        return self._discounted(sample, self._raw(value))

    def _best(self, policy: Policy, group: AgentGroup, views: Views) -> Tensor:
        """The best legal action `[B, n]` or `[B, n, d]` of each of a group's agents."""
        values = described(policy, group, views)
        return choose(group, values, views.action_mask[group.name], 0.0).mode()

    def _values(self, policy: Policy, views: Views, actions: Mapping[str, Tensor]) -> Tensor:
        """What the agents' own actions are worth, `[B, R]`: 0 where they do not act."""
        values = {group.name: described(policy, group, views) for group in self.spec.groups}
        return values_of(self.spec, values, views.acting, actions)

    def _mixed(self, mixer: nn.Module | None, values: Tensor, views: Views) -> Tensor:
        """What is predicted: the agents' values `[B, R]`, or the team's `[B, 1]`."""
        mixed: Tensor = values if mixer is None else mixer(values, views)
        return mixed

    @torch.no_grad()
    def _targets_follow(self, part: float) -> None:
        """Move the target networks by that part of the way."""
        torch._foreach_lerp_(self.learnt_before, self.learnt, part)
