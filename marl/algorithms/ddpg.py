"""Deterministic policy gradients for teams: MADDPG, MATD3 (agents at once), HADDPG and HATD3 (agent by agent).

Lowe et al. 2017 (arXiv:1706.02275), Fujimoto et al. 2018 (arXiv:1802.09477), Zhong et al. 2024 (arXiv:2304.09870). The
algorithms differ by the number of Q functions, by the noise of target actions and the delay of actors, and by the order
in which a team's agents are updated (`DDPGConfig.twin`, `target_noise`, `policy_delay`, `order`).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import ClassVar

import torch
from torch import Tensor

from environments.spec import AgentGroup, EnvSpec
from marl import losses
from marl.acting import Actor, PolicyStep, View
from marl.algorithms.actor_critic import ActorCritic, outputs_of
from marl.algorithms.off_policy import spec_of
from marl.config import check_actions
from marl.config_replay import DDPGConfig
from marl.distributions import Deterministic
from marl.policy import Policy
from marl.replay_buffer import Sample, Views


class Noisy:
    """A deterministic policy whose actions are moved by normal noise and kept within their bounds."""

    def __init__(self, policy: Policy, deviation: float) -> None:
        """`deviation`: of the noise, bounds scaled to [-1, 1]."""
        self.policy, self.deviation = policy, deviation

    @torch.inference_mode()
    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents; `greedy`: without noise."""
        deviation = 0.0 if greedy else self.deviation
        steps = {}
        for group in self.policy.spec.groups:
            chosen = _chosen(self.policy, group, views[group.name].obs)
            y = (chosen.y + deviation * torch.special.ndtri(noise[group.name])).clamp(-1, 1)
            steps[group.name] = PolicyStep(chosen.scaled(y), chosen.log_prob(y))
        return steps


class DDPG(ActorCritic):
    """Learner of one kind of team, off-policy, with deterministic actors."""

    MODULES: ClassVar[tuple[str, ...]] = (*ActorCritic.MODULES, "target_policy")
    config: DDPGConfig

    def __init__(
        self,
        env: EnvSpec,
        kind: str,
        config: DDPGConfig,
        reward: str,
        seed: int,
        threads: int = 1,
        engine: str = "fused",
    ) -> None:
        """As `ActorCritic`. UsageError where actions are not continuous."""
        functions, spec = 2 if config.twin else 1, spec_of(env, kind, config)
        check_actions("a deterministic learner", ("Box",), spec.groups)
        super().__init__(env, spec, config, reward, seed, threads, engine, functions=functions)
        self.target_policy = deepcopy(self.policy).requires_grad_(False)
        self.acting: list[Tensor] = list(self.policy.parameters())
        self.target_acting: list[Tensor] = list(self.target_policy.parameters())

    def _player(self) -> Actor:
        return Noisy(self.policy, self.config.exploration_noise)

    def _learn(self) -> dict[str, float]:
        """One update of the critics, and each `policy_delay` updates of actors and targets, on one sample."""
        if self.updates == 0:  # the actors may have been given other weights to start from
            self.target_policy.load_state_dict(self.policy.state_dict())
        sample = self._draw()
        metrics = self._critic_step(sample)
        self.updates += 1
        if self.updates % self.config.policy_delay == 0:
            steps = self._all_at_once if self.config.order == "at_once" else self._one_by_one
            metrics |= {"actor_gradient": steps(sample, sample.now.acting & sample.use.unsqueeze(1))}
            self._follow(self.judged_by + self.target_acting, self.judging + self.acting)
        return metrics

    @torch.no_grad()
    def _targets(self, sample: Sample) -> Tensor:
        """y = R + discount * min(Q1', Q2')(s', a'), a'_i = mu'_i(o'_i) + clipped noise, kept within the bounds."""
        views, config = sample.then, self.config
        actions = self._actions(self.target_policy, views)
        if config.target_noise > 0.0:
            limit = config.target_noise_clip
            noises = [torch.randn(a.shape, generator=self.generators["noise"]) for a in actions]
            actions = [
                (a + (config.target_noise * z).clamp(-limit, limit)).clamp(-1, 1)
                for a, z in zip(actions, noises, strict=True)
            ]
        actions = [a * views.acting[:, i : i + 1] for i, a in enumerate(actions)]
        return self._discounted(sample, self._raw(self.target.smaller(self.target.see(views), views.acting, actions)))

    def _all_at_once(self, sample: Sample, acting: Tensor) -> float:
        """Each agent climbs the first Q at its own new action and the others' *remembered* ones (Lowe et al., eq. 6);
        the gradient's norm."""
        views, seen = sample.now, self.critic.see(sample.now)
        others = self._remembered(sample)
        own = [a * views.acting[:, i : i + 1] for i, a in enumerate(self._actions(self.policy, views))]
        share = acting / acting.sum(0).clamp(min=1)
        if self.critic.central:
            begun = self.critic.begun(seen, 1)
            hopes = [self._hope(r, seen, begun, [*others[:r], a, *others[r + 1 :]]) for r, a in enumerate(own)]
            hope = torch.stack(hopes, 1)
        else:
            hope = self._raw(self.critic.first(seen, own))
        return self._step("actor_0", -losses.masked_sum(share * hope, acting), self.parts[0], sample)

    def _one_by_one(self, sample: Sample, acting: Tensor) -> float:
        """In a fresh random order, each agent climbs the first Q at the others' *present* actions, those of the agents
        before it as they have become; the largest gradient's norm."""
        views, seen = sample.now, self.critic.see(sample.now)
        begun = self.critic.begun(seen, 1)
        with torch.no_grad():
            actions = [self._action_of(r, views) for r in range(len(self.agents))]
        norms = []
        order = torch.randperm(len(actions), generator=self.generators["order"]).tolist()
        for r in order:
            hope = self._hope(r, seen, begun, [*actions[:r], self._action_of(r, views), *actions[r + 1 :]])
            loss = -losses.masked_sum(hope, acting[:, r]) / acting[:, r].sum().clamp(min=1)
            norms.append(self._step(f"actor_{r}", loss, self.parts[r], sample))
            if r != order[-1]:
                with torch.no_grad():
                    actions[r] = self._action_of(r, views)
        return max(norms)

    def _hope(self, agent: int, seen: Mapping[str, Tensor], begun: Tensor | None, actions: list[Tensor]) -> Tensor:
        """The first Q `[B]` of an agent's own row, in reward units, of actions of which its own alone has a gradient;
        `begun` by `TwinQ.begun`."""
        q = self.critic.first(seen, actions) if begun is None else self.critic.beside(begun, agent, actions)[0]
        return self._raw(q)[:, agent if self.critic.rows > 1 else 0]

    def _actions(self, policy: Policy, views: Views) -> list[Tensor]:
        """What a policy's agents do, one `[B, d]` each in normalised units, those too that do not act."""
        return [x for group in self.spec.groups for x in _chosen(policy, group, views.obs[group.name]).y.unbind(1)]

    def _action_of(self, agent: int, views: Views) -> Tensor:
        """What one agent does `[B, d]`, from its own parameters; zeros where it does not act."""
        group, i = self.agents[agent]
        outputs = outputs_of(self.policy, group, views.obs[group.name][:, i : i + 1], self.parts[agent])
        chosen = self.policy.head(group, outputs, None)
        assert isinstance(chosen, Deterministic)
        return chosen.y[:, 0] * views.acting[:, agent : agent + 1]


def _chosen(policy: Policy, group: AgentGroup, obs: Tensor) -> Deterministic:
    """What a deterministic policy does in a group's place."""
    chosen = policy.distribution(group, obs, None)
    assert isinstance(chosen, Deterministic)
    return chosen
