"""Soft actor-critic for teams: ISAC (local critics), MASAC (central critic) and HASAC (central, agent by agent).

Haarnoja et al. 2018 (arXiv:1812.05905), Liu et al. 2024 (arXiv:2306.10715). The algorithms differ by the critic's
input and by the order in which a team's agents are updated (`SACConfig.critic`, `SACConfig.order`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from environments.errors import NumericalFailure
from environments.spec import AgentGroup, EnvSpec
from marl import losses
from marl.buffers import Rollout
from marl.config import SACConfig
from marl.critics import TwinQ, joint_weights
from marl.distributions import Categorical, MultiCategorical, SquashedGaussian, divergence, head_size, straight_through
from marl.networks import ACTIVATIONS
from marl.policy import Chosen, Policy, PolicyStep, RandomPolicy, View
from marl.policy_spec import PolicySpec, check_bounded, choices, expectation
from marl.replay_buffer import ReplayBuffer, Sample, Views
from marl.seeding import torch_generator
from marl.values import ValueNorm

FORGET = 0.99
"""Weight that each update of the running moments of targets keeps of the past."""


class Explorer:
    """Who sits in the seats while a learner trains: uniformly random at first, then the learner's policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.random = policy, RandomPolicy(policy.spec)
        self.exploring = True

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """Actions of every group's agents."""
        return (self.random if self.exploring else self.policy).step(views, noise, greedy)


class Act(NamedTuple):
    """What some agents of a group do, as a function of their parameters."""

    value: Tensor  # [B, n, d] as `TwinQ` takes it
    probs: Tensor | None  # [B, n, sum K] of discrete choices
    log_prob: Tensor  # [B, n] of what was drawn (Box, normalised units), or its expectation (discrete)
    drift: Tensor | None  # [B, n] divergence from the earlier policy


class SAC:
    """Learner of one kind of team, off-policy, of maximum entropy."""

    def __init__(self, env: EnvSpec, kind: str, config: SACConfig, reward: str, seed: int, threads: int = 1) -> None:
        """`reward`: "agent" (each its own), "team_sum" or "team_mean" (one clock for the whole seat)."""
        self.threads, self.config, self.reward = threads, config, reward
        network = {name: getattr(config, name) for name in ("parameters", "agent_id", "hidden", "activation")}
        self.spec = PolicySpec.of(env, kind, box="squashed", **network)
        check_bounded(self.spec)
        self.policy = Policy(self.spec, torch_generator(seed, kind, "policy"))
        self.policy.compiled = False  # compiled acting would take the parameters elsewhere, under the optimisers' feet
        self.actor = Explorer(self.policy)
        self.agents = [(group, i) for group in self.spec.groups for i in range(self.spec.members(group))]
        central = config.critic == "central"
        rows = 1 if central and reward != "agent" else len(self.agents)
        self.expectation = expectation(self.spec, central, config.expectation)
        summed = self.expectation == "joint" or (self.expectation == "own" and not central)
        critic = torch_generator(seed, kind, "critic")
        self.critic = TwinQ(self.spec, env.state_size, central, rows, config.hidden, summed, critic)
        self.target = deepcopy(self.critic).requires_grad_(False)
        self.norm = ValueNorm(FORGET) if config.value_norm else None
        self.buffer = ReplayBuffer(self.spec, reward == "agent", config.buffer_size, env.max_wait)
        self.wait = 1.0 if env.turn_based else config.gamma
        self.generators = {name: torch_generator(seed, kind, name) for name in ("replay", "noise", "order")}
        start = math.log(config.temperature)
        self.log_temperature = nn.Parameter(torch.full((len(self.agents),), start))
        self.log_team_temperature = nn.Parameter(torch.tensor(start))
        self.parts = self._parts()
        rates = [config.actor_learning_rate] * len(self.parts)
        temperatures = [self.log_temperature, self.log_team_temperature]
        self.optimisers = {
            f"actor_{i}": _adam(part, rate, config)
            for i, (part, rate) in enumerate(zip(self.parts, rates, strict=True))
        }
        self.optimisers["critic"] = _adam(list(self.critic.parameters()), config.critic_learning_rate, config)
        self.optimisers["temperature"] = _adam(temperatures, config.temperature_learning_rate, config)
        self.earlier = deepcopy(self.policy).requires_grad_(False) if config.drift == "kl" else None
        self.steps = self.updates = 0
        self.due = 0.0

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Remember a rollout and make the updates that are due.

        NumericalFailure where the rollout, a loss or a gradient is not finite, with the rollout or the sample as
        `batch`; that step is not taken then.
        """
        self.buffer.add(rollout, self._paid(rollout))
        steps = rollout.steps * rollout.seats // self.spec.teams
        self.steps += steps
        self.actor.exploring = self.steps < self.config.warmup_steps
        totals: dict[str, float] = {}
        count = 0
        if not self.actor.exploring and self.buffer.ready:
            self.due += self.config.updates_per_step * steps
            count = int(self.due)
            self.due -= count
        for _ in range(count):
            for name, value in self._learn().items():
                totals[name] = totals.get(name, 0.0) + float(value)
        means = {name: value / count for name, value in totals.items()}
        return means | {"updates": float(count), "remembered": float(self.buffer.size * rollout.seats)}

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, temperatures, scale of values, replay buffer, generators and counters."""
        return {
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "temperature": self.log_temperature.detach(),
            "team_temperature": self.log_team_temperature.detach(),
            "norm": {} if self.norm is None else self.norm.state_dict(),
            "earlier": {} if self.earlier is None else self.earlier.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "counters": {"steps": self.steps, "updates": self.updates, "due": self.due},
            "buffer": self.buffer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        modules = ("policy", "critic", "target", "norm", "earlier")
        for name in modules:
            module = getattr(self, name)
            if module is not None:
                module.load_state_dict(state[name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(deepcopy(state["optimisers"][name]))
        with torch.no_grad():
            self.log_temperature.copy_(state["temperature"])
            self.log_team_temperature.copy_(state["team_temperature"])
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

    def _learn(self) -> dict[str, float]:
        """One update of critics, actors, temperatures and targets, on one sample."""
        config = self.config
        if self.earlier is not None and self.updates % config.drift_updates == 0:
            self.earlier.load_state_dict(self.policy.state_dict())
        sample = self.buffer.sample(
            config.batch_size, config.n_step, config.gamma, self.wait, self.generators["replay"]
        )
        metrics = self._critic_step(sample)
        acting = sample.now.acting & sample.use.unsqueeze(1)
        log_probs, more = self._actor_steps(sample, acting)
        metrics |= more | self._temperature_step(sample, log_probs, acting)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), config.polyak)
        self.updates += 1
        return metrics

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
        if self.reward == "agent" or q.shape[1] == 1:
            return sample.reward + sample.discount * value.gather(0, sample.which.expand(-1, q.shape[1]))
        mean = torch.where(then.acting, value, 0.0).sum(1, keepdim=True) / then.acting.sum(1, keepdim=True).clamp(min=1)
        value = torch.where(then.acting, value, mean)  # a team's reward goes on when a member does not
        return sample.reward + sample.discount * value[sample.which[:, 0]]

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
        cost = self.log_temperature.detach().exp() * log_prob + self._drifts(acts, log_prob)
        loss = losses.masked_sum(cost * share, acting) - gain
        norm = self._step("actor_0", loss, self.parts[0], sample)
        return log_prob.detach(), {"actor_gradient": norm, "entropy": _entropy(log_prob.detach(), acting)}

    def _one_by_one(self, sample: Sample, acting: Tensor, hopes: Hopes) -> tuple[Tensor, dict[str, float]]:
        """In a fresh random order; each agent draws again after its step, so that the next sees what it has become."""
        views = sample.now
        temperature = self.log_temperature.detach().exp()
        noises = [self._noise(group, len(sample.use), 1) for group, _ in self.agents]
        acts = [self._act_of(r, views, noise) for r, noise in enumerate(noises)]
        values = [x.detach() for x in self._values(acts, views.acting)]
        log_prob = self._log_probs(acts, views.acting).detach()
        norms = []
        order = torch.randperm(len(acts), generator=self.generators["order"]).tolist()
        for r in order:
            acts_now = views.acting[:, r : r + 1]
            own, mine = self._values([acts[r]], acts_now)[0], self._log_probs([acts[r]], acts_now)
            hope = hopes.of_one(r, [*values[:r], own, *values[r + 1 :]], self._probs([acts[r]])[0])
            cost = (temperature[r] * mine + self._drifts([acts[r]], mine))[:, 0] - hope
            loss = losses.masked_sum(cost, acting[:, r]) / acting[:, r].sum().clamp(min=1)
            norms.append(self._step(f"actor_{r}", loss, self.parts[r], sample))
            if r != order[-1]:
                with torch.no_grad():
                    again = self._act_of(r, views, noises[r])
                values[r] = self._values([again], acts_now)[0]
        return log_prob, {"actor_gradient": max(norms), "entropy": _entropy(log_prob, acting)}

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
        chosen = self.policy.head(group, _outputs(obs, part, self.config.activation), mask)
        if self.earlier is None:
            return self._act(chosen, None, noise)
        actor = self.earlier.actors[group.name]
        before = [x[i] for x in (*actor.weights, *actor.biases)]  # type: ignore[misc]
        return self._act(chosen, self.earlier.head(group, _outputs(obs, before, self.config.activation), mask), noise)

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

    def _remembered(self, sample: Sample) -> list[Tensor]:
        """The sample's actions as `TwinQ` takes them."""
        actions = []
        for group in self.spec.groups:
            action, sizes = sample.action[group.name], choices(group.action_space)
            if sizes:
                columns = action.long().unbind(-1) if len(sizes) > 1 or action.dim() == 3 else [action.long()]
                hots = [nn.functional.one_hot(x, size) for x, size in zip(columns, sizes, strict=True)]
                value = torch.cat(hots, -1).to(self.log_temperature.dtype)
            else:
                centre, half = (self.policy.get_buffer(f"{name}_{group.name}") for name in ("centre", "half"))
                value = ((action - centre) / half).to(self.log_temperature.dtype)
            actions.append(value)
        rows = [x for value in actions for x in value.unbind(1)]
        return [x * sample.now.acting[:, i : i + 1] for i, x in enumerate(rows)]

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

    def _drifts(self, acts: Sequence[Act], like: Tensor) -> Tensor:
        """Weighed drift of each agent, shaped as `like`."""
        parts = [act.drift for act in acts if act.drift is not None]
        return self.config.drift_weight * torch.cat(parts, 1) if parts else torch.zeros_like(like)

    def _raw(self, q: Tensor) -> Tensor:
        """Q in reward units."""
        if self.norm is None:
            return q
        mean, deviation = self.norm.moments
        return q * deviation + mean

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


class Hopes:
    """What a learner's critics expect, in reward units, as a function of what its agents would do."""

    def __init__(self, made: SAC, views: Views, seen: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> None:
        self.made, self.critic, self.acting, self.seen, self.tables = made, made.critic, views.acting, seen, tables

    def of(self, values: Sequence[Tensor]) -> Tensor:
        """`[B, K]`, of all agents' values."""
        if self.tables:
            return self.made._raw(self.critic.expected(self.tables, self.seen, values))
        both: Tensor = self.critic(self.seen, values)
        return self.made._raw(both.amin(0))

    def of_one(self, agent: int, values: Sequence[Tensor], probs: Tensor | None) -> Tensor:
        """`[B]`, an agent's own; summed over its own actions where their probabilities are given."""
        column = agent if self.critic.rows > 1 else 0
        if probs is None:
            return self.of(values)[:, column]
        with torch.no_grad():
            table = self.critic.own(agent, self.seen, self.acting[:, agent], values)[..., column]
        group = self.critic.members[agent]
        weight = joint_weights(probs, self.critic.get_buffer(f"joint_{group.name}"), [group])
        return self.made._raw((weight * table).sum(1))

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


def _adam(parameters: Sequence[Tensor], rate: float, config: SACConfig) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=rate, eps=config.adam_eps, fused=True)


def _outputs(obs: Tensor, part: Sequence[Tensor], activation: str) -> Tensor:
    """One agent's network `[B, 1, K]`: weights, then biases, first layer first."""
    layers = len(part) // 2
    x = obs.flatten(1).to(part[0].dtype)
    for layer in range(layers):
        x = torch.addmm(part[layers + layer], x, part[layer])
        if layer < layers - 1:
            x = ACTIVATIONS[activation](x)
    return x.unsqueeze(1)


def _scale_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """x, whose gradient is multiplied by the factor."""
    scaled = x * factor
    return x.detach() + (scaled - scaled.detach())


def _entropy(log_prob: Tensor, acting: Tensor) -> float:
    return float(-losses.masked_sum(log_prob, acting) / acting.sum().clamp(min=1))
