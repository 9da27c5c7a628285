"""Soft actor-critic for teams: ISAC (local critics), MASAC (central critic) and HASAC (central, agent by agent).

Haarnoja et al. 2018 (arXiv:1812.05905), Liu et al. 2024 (arXiv:2306.10715). The algorithms differ by the critic's
input and by the order in which a team's agents are updated (`SACConfig.critic`, `SACConfig.order`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from environments.spec import AgentGroup, EnvSpec
from marl import losses
from marl.adam import Adam
from marl.algorithms.actor_critic import ActorCritic, outputs_of
from marl.algorithms.off_policy import spec_of
from marl.config_checks import require
from marl.config_replay import SACConfig
from marl.critics import joint_weights
from marl.distributions import Categorical, MultiCategorical, SquashedGaussian, divergence, head_size, straight_through
from marl.policy import Chosen
from marl.policy_spec import choices, expectation
from marl.replay_buffer import Sample, Views

HALVINGS = 10
"""Times that a step out of the neighbourhood is halved before it is given up."""


class Act(NamedTuple):
    """What some agents of a group do, as a function of their parameters."""

    value: Tensor  # [B, n, d] as `TwinQ` takes it
    probs: Tensor | None  # [B, n, sum K] of discrete choices
    log_prob: Tensor  # [B, n] of what was drawn (Box, normalised units), or its expectation (discrete)
    drift: Tensor | None  # [B, n] divergence from the earlier policy


class SAC(ActorCritic):
    """Learner of one kind of team, off-policy, of maximum entropy."""

    MODULES: ClassVar[tuple[str, ...]] = (*ActorCritic.MODULES, "earlier")
    config: SACConfig

    def __init__(
        self,
        env: EnvSpec,
        kind: str,
        config: SACConfig,
        reward: str,
        seed: int,
        threads: int = 1,
        engine: str = "fused",
    ) -> None:
        """As `ActorCritic`."""
        spec, central = spec_of(env, kind, config), config.critic == "central"
        self.expectation = expectation(spec, central, config.expectation)
        summed = self.expectation == "joint" or (self.expectation == "own" and not central)
        super().__init__(env, spec, config, reward, seed, threads, engine, summed)
        start = math.log(config.temperature)
        self.log_temperature = nn.Parameter(torch.full((len(self.agents),), start))
        self.log_team_temperature = nn.Parameter(torch.tensor(start))
        temperatures = [self.log_temperature, self.log_team_temperature]
        self.optimisers["temperature"] = Adam(temperatures, config.temperature_learning_rate, config.adam_eps)
        held = config.drift == "kl" or config.kl_radius is not None
        self.earlier = deepcopy(self.policy).requires_grad_(False) if held else None
        answering = config.later_agents == "answering" and self.expectation != "joint"
        require(not answering, "--later-agents answering needs discrete actions and --expectation joint")

    def state_dict(self) -> dict[str, Any]:
        """As `ActorCritic.state_dict`, with the temperatures and the policy that the drift looks at."""
        temperatures = {"temperature": self.log_temperature, "team_temperature": self.log_team_temperature}
        return super().state_dict() | {name: value.detach() for name, value in temperatures.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        super().load_state_dict(state)
        with torch.no_grad():
            self.log_temperature.copy_(state["temperature"])
            self.log_team_temperature.copy_(state["team_temperature"])

    def _learn(self) -> dict[str, float]:
        """One update of critics, actors, temperatures and targets, on one sample."""
        if self.earlier is not None and self.updates % self.config.drift_updates == 0:
            self.earlier.load_state_dict(self.policy.state_dict())
        sample = self._draw()
        metrics = self._critic_step(sample)
        acting = sample.now.acting & sample.use.unsqueeze(1)
        log_probs, more = self._actor_steps(sample, acting)
        metrics |= more | self._temperature_step(sample, log_probs, acting)
        self._follow(self.judged_by, self.judging)
        self.updates += 1
        return metrics

    @torch.no_grad()
    def _targets(self, sample: Sample) -> Tensor:
        """Soft targets `[B, K]` in reward units.

        y = R + discount * (min(Q1', Q2')(s', a') - sum_i alpha_i log pi_i(a'_i | o'_i)), the sum over the team under
        team reward, an agent's own term where it has its own reward or its own critic.
        """
        then, target = sample.then, self.target
        acts = [self._acts(group, then) for group in self.spec.groups]
        log_prob = self._log_probs(acts, then.acting)
        q = self._raw(target.smaller(target.see(then), then.acting, self._values(acts, then.acting)))
        if self.config.critic_temperature == "team":
            value = q - self.log_team_temperature.exp() * log_prob.sum(1, keepdim=True)
        else:
            terms = self.log_temperature.exp() * log_prob
            value = q - (terms.sum(1, keepdim=True) if q.shape[1] < terms.shape[1] else terms)
        return self._discounted(sample, value)

    def _actor_steps(self, sample: Sample, acting: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Step every actor; log-probabilities `[B, R]` before the steps."""
        seen = self.critic.see(sample.now)
        with torch.no_grad():
            tables = self.critic.tables(seen, sample.now.acting)
        hopes = Hopes(self, sample.now, seen, tables)
        steps = self._all_at_once if self.config.order == "at_once" else self._one_by_one
        return steps(sample, acting, hopes)

    def _all_at_once(self, sample: Sample, acting: Tensor, hopes: Hopes) -> tuple[Tensor, dict[str, float]]:
        acts = [self._acts(group, sample.now) for group in self.spec.groups]
        log_prob = self._log_probs(acts, sample.now.acting)
        share = acting / acting.sum(0).clamp(min=1)
        gain = hopes.of_all(self._values(acts, sample.now.acting), self._probs(acts), share)
        cost = self._cost(acts, log_prob, self.log_temperature.detach().exp())
        loss = losses.masked_sum(cost * share, acting) - gain

        def divergences() -> Tensor:
            found = [self._acts(group, sample.now).drift for group in self.spec.groups]
            return torch.cat([x for x in found if x is not None], 1)

        norm = self._step_near("actor_0", loss, self.parts[0], sample, divergences, acting)
        return log_prob.detach(), {"actor_gradient": norm, "entropy": _entropy(log_prob.detach(), acting)}

    def _one_by_one(self, sample: Sample, acting: Tensor, hopes: Hopes) -> tuple[Tensor, dict[str, float]]:
        """In a fresh random order; each agent draws again after its step, so that the next sees what it has become."""
        views = sample.now
        temperature = self.log_temperature.detach().exp()
        noises = [self._noise(group, len(sample.use), 1) for group, _ in self.agents]
        acts = [self._act_of(r, views, noise) for r, noise in enumerate(noises)]
        owns = self._values(acts, views.acting)
        values = [x.detach() for x in owns]
        log_prob = self._log_probs(acts, views.acting).detach()
        norms = []
        fresh = torch.randperm(len(acts), generator=self.generators["order"]).tolist()
        order = list(range(len(acts))) if self.config.fixed_order else fresh
        answering = self.config.later_agents == "answering"
        for turn, r in enumerate(order):
            acts_now = views.acting[:, r : r + 1]
            mine, chosen = self._log_probs([acts[r]], acts_now), [*values[:r], owns[r], *values[r + 1 :]]
            if answering:
                hope = hopes.answered(r, chosen, order[turn + 1 :], temperature)
            else:
                hope = hopes.of_one(r, chosen, self._probs([acts[r]])[0])
            cost = self._cost([acts[r]], mine, temperature[r])[:, 0] - hope
            loss = losses.masked_sum(cost, acting[:, r]) / acting[:, r].sum().clamp(min=1)
            norms.append(
                self._step_near(f"actor_{r}", loss, self.parts[r], sample, *self._moved(r, views, noises[r], acting))
            )
            if r != order[-1]:
                with torch.no_grad():
                    again = self._act_of(r, views, noises[r])
                values[r] = self._values([again], acts_now)[0]
        return log_prob, {"actor_gradient": max(norms), "entropy": _entropy(log_prob, acting)}

    def _moved(
        self, agent: int, views: Views, noise: Tensor, acting: Tensor
    ) -> tuple[Callable[[], Tensor | None], Tensor]:
        """How to tell an agent's divergence `[B, 1]` from the earlier policy, and where it counts."""
        return lambda: self._act_of(agent, views, noise).drift, acting[:, agent : agent + 1]

    def _step_near(
        self,
        name: str,
        loss: Tensor,
        parameters: list[Tensor],
        sample: Sample,
        divergences: Callable[[], Tensor | None],
        acting: Tensor,
    ) -> float:
        """A step that stays near the earlier policy: halved until no agent's mean divergence is above `kl_radius`, or
        not made at all. The gradient's norm."""
        radius = self.config.kl_radius
        before = [x.detach().clone() for x in parameters] if radius is not None else []
        norm = self._step(name, loss, parameters, sample)
        if radius is None:
            return norm
        with torch.no_grad():
            for halving in range(HALVINGS + 1):
                found = divergences()
                assert found is not None
                mean = torch.where(acting, found, 0.0).sum(0) / acting.sum(0).clamp(min=1)
                if bool((mean <= radius).all()):
                    break
                torch._foreach_lerp_(parameters, before, 0.5 if halving < HALVINGS else 1.0)
        return norm

    def _temperature_step(self, sample: Sample, log_prob: Tensor, acting: Tensor) -> dict[str, float]:
        """Lead entropies to their targets: L(log alpha_i) = -mean log alpha_i (log pi_i + H_i), where agent i acts."""
        wanted = self._wanted(sample.now)
        told = {"temperature": float(self.log_temperature.detach().exp().mean())}
        if self.config.temperature_learning_rate == 0.0:
            return told
        excess = torch.where(acting, log_prob + wanted, 0.0)
        loss = -(self.log_temperature * excess.sum(0) / acting.sum(0).clamp(min=1)).sum()
        team = excess.sum(1).sum() / acting.any(1).sum().clamp(min=1)
        loss = loss - self.log_team_temperature * team
        self._step("temperature", loss, [self.log_temperature, self.log_team_temperature], sample, clip=False)
        return told

    def _wanted(self, views: Views) -> Tensor:
        """Entropy targets `[B, R]` in nats: per dimension (Box, normalised), or a part of log of *legal* actions."""
        config = self.config
        wanted = []
        for group in self.spec.groups:
            sizes, mask = choices(group.action_space), views.action_mask[group.name]
            n = self.spec.members(group)
            if not sizes:
                target = torch.tensor(config.entropy_per_dimension * head_size(group.action_space))
            elif mask is None:
                target = torch.tensor(config.entropy_per_choice * sum(math.log(size) for size in sizes))
            else:
                legal = [part.sum(2).clamp(min=1) for part in torch.split(mask, list(sizes), 2)]
                target = config.entropy_per_choice * torch.stack(legal).log().sum(0)
            wanted.append(target.expand(len(views.acting), n))
        return torch.cat(wanted, 1)

    def _acts(self, group: AgentGroup, views: Views) -> Act:
        """What all agents of a group do."""
        obs, mask = views.obs[group.name], views.action_mask[group.name]
        chosen = self.policy.distribution(group, obs, mask)
        earlier = None if self.earlier is None else self.earlier.distribution(group, obs, mask)
        return self._act(chosen, earlier, self._noise(group, len(obs), obs.shape[1]))

    def _act_of(self, agent: int, views: Views, noise: Tensor) -> Act:
        """What one agent does, from its own parameters; arrays `[B, 1, ..]`."""
        group, i = self.agents[agent]
        obs, mask = views.obs[group.name][:, i : i + 1], views.action_mask[group.name]
        mask = None if mask is None else mask[:, i : i + 1]
        part = self.parts[agent]
        chosen = self.policy.head(group, outputs_of(self.policy, group, obs, part), mask)
        if self.earlier is None:
            return self._act(chosen, None, noise)
        before = self.earlier.distribution(group, obs, mask, i)
        return self._act(chosen, before, noise)

    def _act(self, chosen: Chosen, earlier: Chosen | None, noise: Tensor) -> Act:
        drift = None if earlier is None else divergence(chosen, earlier)
        if isinstance(chosen, SquashedGaussian):
            value, log_prob = chosen.draw(noise)
            return Act(value, None, log_prob, drift)
        assert isinstance(chosen, Categorical | MultiCategorical)
        if self.critic.summed:
            return Act(chosen.probs, chosen.probs, -chosen.entropy(), drift)
        parts = chosen.parts if isinstance(chosen, MultiCategorical) else [chosen]
        widths = [part.log_probs.shape[-1] for part in parts]
        noises = torch.split(noise, widths, -1)
        drawn = [straight_through(part.log_probs, u) for part, u in zip(parts, noises, strict=True)]
        return Act(torch.cat(drawn, -1), chosen.probs, -chosen.entropy(), drift)

    def _noise(self, group: AgentGroup, rows: int, agents: int) -> Tensor:
        """Normal numbers `[B, n, d]` for a Box, uniform ones `[B, n, sum K]` for discrete choices that are drawn."""
        shape, generator = (rows, agents, head_size(group.action_space)), self.generators["noise"]
        if not choices(group.action_space):
            return torch.randn(shape, generator=generator)
        if self.critic.summed:
            return torch.zeros(0)
        return torch.rand(shape, generator=generator).clamp_(1e-7, 1 - 1e-7)

    def _values(self, acts: Sequence[Act], acting: Tensor) -> list[Tensor]:
        """What agents do, one `[B, d]` each: zeros where they do not act, or probabilities."""
        summed = bool(self.critic.summed)
        rows = [(x, summed and act.probs is not None) for act in acts for x in act.value.unbind(1)]
        return [x if whole else x * acting[:, i : i + 1] for i, (x, whole) in enumerate(rows)]

    def _probs(self, acts: Sequence[Act]) -> list[Tensor | None]:
        """Probabilities `[B, sum K]` of each agent whose own actions are summed over, others' being drawn."""
        own = self.expectation == "own" and self.critic.central
        found: list[Tensor | None] = []
        for act in acts:
            found += act.probs.unbind(1) if own and act.probs is not None else [None] * act.value.shape[1]
        return found

    def _log_probs(self, acts: Sequence[Act], acting: Tensor) -> Tensor:
        """`[B, R]`, 0 where agents do not act."""
        return torch.where(acting, torch.cat([act.log_prob for act in acts], 1), 0.0)

    def _cost(self, acts: Sequence[Act], log_prob: Tensor, temperature: Tensor) -> Tensor:
        """What `log_prob [B, n]` and the agents' drifts cost, weighed."""
        parts = [act.drift for act in acts if act.drift is not None] if self.config.drift == "kl" else []
        cost = temperature * log_prob
        return cost + self.config.drift_weight * torch.cat(parts, 1) if parts else cost


class Hopes:
    """What a learner's critics expect, in reward units, as a function of what its agents would do."""

    def __init__(self, made: SAC, views: Views, seen: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> None:
        self.made, self.critic, self.acting, self.seen, self.tables = made, made.critic, views.acting, seen, tables
        self.masks = views.action_mask
        alone = made.config.order == "agent_by_agent" and not tables
        self.begun = made.critic.begun(seen) if alone else None

    def of(self, values: Sequence[Tensor]) -> Tensor:
        """`[B, K]`, of all agents' values."""
        if self.tables:
            return self.made._raw(self.critic.expected(self.tables, self.seen, values))
        both: Tensor = self.critic(self.seen, values, fixed=True)
        return self.made._raw(both.amin(0))

    def of_one(self, agent: int, values: Sequence[Tensor], probs: Tensor | None) -> Tensor:
        """`[B]`, an agent's own; summed over its own actions where their probabilities are given."""
        column = agent if self.critic.rows > 1 else 0
        if probs is None and self.begun is not None:
            return self.made._raw(self.critic.beside(self.begun, agent, values).amin(0))[:, column]
        if probs is None:
            return self.of(values)[:, column]
        with torch.no_grad():
            table = self.critic.own(agent, self.seen, self.acting[:, agent], values)[..., column]
        group = self.critic.members[agent]
        weight = joint_weights(probs, self.critic.get_buffer(f"joint_{group.name}"), [group])
        return self.made._raw((weight * table).sum(1))

    def answered(self, agent: int, probs: Sequence[Tensor], later: Sequence[int], temperature: Tensor) -> Tensor:
        """`[B]`, an agent's own where those `later` answer what it does.

        For each of them, from the last on, stands the soft maximum, alpha log sum exp(Q / alpha), over its legal
        actions; for the others, and the agent, their `probs`.
        """
        made, critic = self.made, self.critic
        table = made._raw(self.tables["central"])[..., agent if critic.rows > 1 else 0]
        owns = [critic.get_buffer(f"joint_{group.name}") for group in critic.members]
        table = table.view(len(table), *map(len, owns))
        for other in reversed(later):
            alpha = temperature[other]
            table = alpha * (table / alpha + self._log_legal(other, owns[other], table)).logsumexp(
                1 + other, keepdim=True
            )
        for i, (group, joint) in enumerate(zip(critic.members, owns, strict=True)):
            if i not in later:
                weight = joint_weights(probs[i], joint, [group])
                table = (table * _along(weight, 1 + i, table.dim())).sum(1 + i, keepdim=True)
        return table.flatten()

    def _log_legal(self, agent: int, joint: Tensor, like: Tensor) -> Tensor:
        """0 at an agent's legal actions and minus infinity at others, along its axis of a table."""
        group, i = self.made.agents[agent]
        mask = self.masks[group.name]
        if mask is None:
            return like.new_zeros(())
        illegal = (joint.unsqueeze(0) > mask[:, i].unsqueeze(1).to(joint.dtype)).any(2)
        return _along(like.new_zeros(illegal.shape).masked_fill(illegal, -math.inf), 1 + agent, like.dim())

    def of_all(self, values: Sequence[Tensor], probs: Sequence[Tensor | None], share: Tensor) -> Tensor:
        """Sum over agents and samples of what each expects of its own action, the others' given, times its share."""
        critic = self.critic
        if not critic.central:
            return (share * self.of(values)).sum()
        if critic.rows == 1 and all(x is None for x in probs):
            # one Q for all: one pass has every agent's part of the gradient, each weighed by the agent's own share
            return self.of([_scale_gradient(x, share[:, i : i + 1]) for i, x in enumerate(values)]).sum()
        fixed = [x.detach() for x in values]
        hopes = [self.of_one(i, [*fixed[:i], x, *fixed[i + 1 :]], probs[i]) for i, x in enumerate(values)]
        return (share * torch.stack(hopes, 1)).sum()


def _scale_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """x, whose gradient is multiplied by the factor."""
    scaled = x * factor
    return x.detach() + (scaled - scaled.detach())


def _along(x: Tensor, axis: int, dimensions: int) -> Tensor:
    """`[B, n]` with n at that axis of so many."""
    return x.view(len(x), *[x.shape[1] if i == axis else 1 for i in range(1, dimensions)])


def _entropy(log_prob: Tensor, acting: Tensor) -> float:
    return float(-losses.masked_sum(log_prob, acting) / acting.sum().clamp(min=1))
