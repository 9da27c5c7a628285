"""Proximal policy optimisation for teams: IPPO (local critic) and MAPPO (central critic).

Schulman et al. 2017 (arXiv:1707.06347), de Witt et al. 2020 (arXiv:2011.09533), Yu et al. 2022 (arXiv:2103.01955).
The algorithms differ by the critic's input alone (`PPOConfig.critic`).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from environments.spec import EnvSpec
from marl import losses, workers
from marl.buffers import Batch, GroupRollout, Rollout, neutral_outside
from marl.config import PPOConfig
from marl.engine.ppo import FusedPPO
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.returns import lambda_advantages
from marl.seeding import torch_generator
from marl.values import CriticShape, ValueFunction

BLOCK_SAMPLES = 2048
"""Joint samples per gradient block: enough that torch's overhead per call is small."""


class PPO:
    """Learner of one kind of team, on-policy."""

    def __init__(
        self,
        env: EnvSpec,
        kind: str,
        config: PPOConfig,
        reward: str,
        seed: int,
        threads: int = 1,
        engine: str = "fused",
    ) -> None:
        """`reward`: "agent" (each its own), "team_sum" or "team_mean" (one clock for the whole seat).

        `threads` share the work of an update; where torch itself runs on one thread, the result does not depend on
        their number. `engine`: "fused" (compiled functions) or "torch"; they differ by rounding alone.
        """
        self.threads = threads
        self.config = config
        self.reward = reward
        network = {name: getattr(config, name) for name in ("parameters", "agent_id", "hidden", "activation")}
        self.spec = PolicySpec.of(env, kind, **network)
        self.policy = Policy(self.spec, torch_generator(seed, kind, "policy"))
        shape = CriticShape(
            env.state_size, config.critic == "central", reward != "agent", config.hidden, config.value_norm
        )
        self.value = ValueFunction(self.spec, shape, torch_generator(seed, kind, "value"))
        self.policy.critic = self.value  # travels with the policy, to be shown in replays
        self.wait = 1.0 if env.turn_based else config.gamma
        self.max_wait = env.max_wait
        if config.rollout_length <= env.max_wait:
            raise UsageError(f"{env.name}: rollout_length must be above {env.max_wait}, the longest wait")
        self.shuffle = torch_generator(seed, kind, "shuffle")
        self.parts = [list(self.policy.acting_parameters()), list(self.value.parameters())]
        self.parameters = [parameter for part in self.parts for parameter in part]
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.learning_rate, eps=config.adam_eps, fused=True)
        self.policy.compiled = engine == "fused"
        self.fused = FusedPPO(self.policy, self.value, config, threads) if engine == "fused" else None

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Several epochs over a rollout; `progress` in [0, 1] is the part of training that is done.

        NumericalFailure where the rollout, a loss or a gradient is not finite, with the rollout or the minibatch as
        `batch`; no step is taken then.
        """
        if self.config.anneal:
            for group in self.optimiser.param_groups:
                group["lr"] = self.config.learning_rate * (1.0 - progress)
        batch = self._prepare(rollout)
        totals: dict[str, Tensor] = {}
        count = 0
        epochs = 0
        for _ in range(self.config.epochs):
            epochs += 1
            divergences = []
            for index in self._minibatches(batch):
                metrics = self._step(batch, index)
                totals = {name: totals.get(name, 0.0) + value for name, value in metrics.items()}
                divergences.append(float(metrics["kl"]))
            count += len(divergences)
            if self.config.target_kl is not None and sum(divergences) > self.config.target_kl * len(divergences):
                break
        means = {name: float(value) / max(count, 1) for name, value in totals.items()}
        return means | {
            "epochs": float(epochs),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "trained": float(batch.use.float().mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        """Networks (the critic and its scale are in the policy), optimiser and shuffling generator."""
        return {
            "policy": self.policy.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shuffle": self.shuffle.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.policy.load_state_dict(state["policy"])
        self.optimiser.load_state_dict(deepcopy(state["optimiser"]))  # it would go on in the tensors it is given
        self.shuffle.set_state(state["shuffle"])

    def _step(self, batch: Batch, index: Tensor) -> dict[str, Tensor]:
        """One gradient step on the samples at `index`."""
        config = self.config
        counts = batch.use[index].sum().clamp(min=1), batch.use_value[index].sum().clamp(min=1)
        if config.advantage_norm == "minibatch":
            batch = replace(batch, advantage=batch.advantage.clone())
            batch.advantage[index] = losses.normalise(batch.advantage[index], batch.use[index])
        if self.fused is None:
            gradients, metrics = self._gradients(batch, index, *counts)
        else:
            gradients, metrics = self.fused.gradients(batch, index, *counts)
        norms = [_clip(part, config.max_grad_norm) for part in gradients]
        if not bool(torch.isfinite(torch.stack([metrics["loss"], *norms])).all()):
            raise NumericalFailure("loss or gradient is not finite", batch.take(index))
        self.optimiser.step()
        return metrics | {"policy_gradient": norms[0], "value_gradient": norms[1]}

    def _gradients(
        self, batch: Batch, index: Tensor, decisions: Tensor, values: Tensor
    ) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """Set every parameter's `grad` by torch; returns them per part (actors, critic), and metrics.

        The minibatch is cut in blocks of a fixed size whose gradients are summed in order: blocks run on several
        threads without any difference in the result, and each fits a cache better than the whole.
        """
        blocks = torch.split(index, BLOCK_SAMPLES)
        results = list(
            workers.map(self.threads, lambda block: self.block_gradients(batch.take(block), decisions, values), blocks)
        )
        for parameter, *parts in zip(self.parameters, *(gradients for gradients, _ in results), strict=True):
            parameter.grad = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        metrics = {name: torch.stack([part[name] for _, part in results]).sum() for name in results[0][1]}
        return [[p.grad for p in part if p.grad is not None] for part in self.parts], metrics

    def block_gradients(
        self, batch: Batch, decisions: Tensor, values: Tensor
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Gradients and metrics of some samples of a minibatch that has that many trained decisions and values."""
        config = self.config
        log_prob, entropy = self._evaluate(batch)
        log_ratio = torch.where(batch.use, log_prob - batch.log_prob, 0.0)
        advantage = torch.where(batch.use, batch.advantage, 0.0)
        surrogate = losses.masked_sum(losses.ppo_clip_loss(log_ratio, advantage, config.clip), batch.use) / decisions
        mean_entropy = losses.masked_sum(entropy, batch.use) / decisions
        value = self.value(batch.obs, batch.state, batch.seat)
        huber = config.huber_delta if config.value_loss == "huber" else None
        error = losses.clipped_value_loss(value, batch.old_value, batch.target, config.value_clip, huber)
        value_loss = losses.masked_sum(error, batch.use_value) / values
        loss = surrogate - config.entropy * mean_entropy + config.value_coefficient * value_loss
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            ratio = log_ratio.exp()
            return gradients, {
                "loss": loss.detach(),
                "policy_loss": surrogate.detach(),
                "value_loss": value_loss.detach(),
                "entropy": mean_entropy.detach(),
                "kl": losses.masked_sum(ratio - 1 - log_ratio, batch.use) / decisions,
                "clipped": losses.masked_sum(((ratio - 1).abs() > config.clip).float(), batch.use) / decisions,
            }

    def _evaluate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies `[B, R]` of the batch's actions under the present policy."""
        log_probs, entropies = [], []
        for group in self.spec.groups:
            chosen = self.policy.distribution(group, batch.obs[group.name], batch.action_mask[group.name])
            log_probs.append(chosen.log_prob(batch.action[group.name]))
            entropies.append(chosen.entropy().expand_as(log_probs[-1]))
        return torch.cat(log_probs, 1), torch.cat(entropies, 1)

    @torch.no_grad()
    def _prepare(self, rollout: Rollout) -> Batch:
        """Targets and advantages; everything flattened to joint samples."""
        steps, seats = rollout.steps, rollout.seats
        acting = torch.cat([rollout.groups[group.name].acting for group in self.spec.groups], 2)
        groups = {name: _clean(group) for name, group in rollout.groups.items()}
        obs = {group.name: groups[group.name].obs for group in self.spec.groups}
        seat = torch.arange(seats).expand(steps + 1, seats)
        outputs = self._outputs(obs, rollout.state, seat)
        values = self.value.to_raw(outputs)
        advantage, targets, closed, use_value = self._advantages(rollout, values, acting)
        use = acting[:-1] & closed
        if rollout.mine is not None:
            use = use & rollout.mine.unsqueeze(-1)
            use_value = use_value & rollout.mine.unsqueeze(-1)
        if not bool(torch.isfinite(torch.where(use, advantage, 0.0)).all()):
            raise NumericalFailure("an observation, reward or value is not finite", rollout)
        self.value.adapt(targets, use_value)
        if self.config.advantage_norm in ("batch", "agent"):
            advantage = losses.normalise(advantage, use, (0, 1) if self.config.advantage_norm == "agent" else None)
        return Batch(
            obs={name: _flat(x[:-1]) for name, x in obs.items()},
            action_mask={
                name: None if g.action_mask is None else _flat(g.action_mask[:-1]) for name, g in groups.items()
            },
            action={name: _flat(g.action) for name, g in groups.items()},
            log_prob=_flat(torch.cat([groups[group.name].log_prob for group in self.spec.groups], 2)),
            advantage=_flat(advantage),
            use=_flat(use),
            state=_flat(rollout.state[:-1]),
            seat=_flat(seat[:-1]),
            old_value=_flat(outputs[:-1]),
            target=_flat(self.value.to_normalised(targets)),
            use_value=_flat(use_value),
        )

    def _outputs(self, obs: dict[str, Tensor], state: Tensor, seat: Tensor) -> Tensor:
        """The value function's outputs `[.., R or 1]` for views with any leading axes."""
        flat = {name: x.flatten(0, seat.dim() - 1) for name, x in obs.items()}
        value = self.value if self.fused is None else self.fused.values
        outputs: Tensor = value(flat, state.flatten(0, seat.dim() - 1), seat.flatten())
        return outputs.view(*seat.shape, -1)

    def _advantages(self, rollout: Rollout, values: Tensor, acting: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advantage `[T, S, R]`, raw value targets `[T, S, R or 1]`, closed decisions `[T, S, R]`, values to train.

        Rows of the clock are agents with their own reward, or seats with the team's: a seat decides when any member
        acts, ends only with the episode, and is paid what any member is paid, the dead included.
        """
        config = self.config
        groups = [rollout.groups[group.name] for group in self.spec.groups]
        reward = torch.cat([g.reward for g in groups], 2)
        terminated = torch.cat([g.terminated for g in groups], 2)
        truncated = torch.cat([g.truncated for g in groups], 2) & ~terminated
        final = self._final_values(rollout, truncated)
        times = (config.gamma, config.gae_lambda, self.wait, self.max_wait)
        if self.reward == "agent":
            ended = terminated | truncated
            advantage, closed = lambda_advantages(reward, values, final, acting, ended, *times)
            return advantage, advantage + values[:-1], closed, acting[:-1] & closed
        paid = reward.sum(2, keepdim=True) if self.reward == "team_sum" else reward.mean(2, keepdim=True)
        acts = acting.any(2, keepdim=True)
        row = values if values.shape[2] == 1 else _mean(values, acting)
        bootstrap = final if final.shape[2] == 1 else _mean(final, truncated)
        bootstrap = torch.where(rollout.episode_truncated.unsqueeze(-1), bootstrap, 0.0)
        ended = rollout.episode_over.unsqueeze(-1)
        advantage, closed = lambda_advantages(paid, row, bootstrap, acts, ended, *times)
        targets = (advantage + row[:-1]).expand_as(values[:-1])
        use_value = (acts[:-1] & closed) if values.shape[2] == 1 else (acting[:-1] & closed)
        members = targets - values[:-1]  # one return for the seat; each member subtracts its own value
        return members.expand_as(reward), targets, closed.expand_as(reward), use_value

    def _final_values(self, rollout: Rollout, truncated: Tensor) -> Tensor:
        """Raw values `[T, S, R or 1]` of truncated lives' final views, 0 elsewhere."""
        finals = rollout.finals
        per_seat = self.value.shape.central and self.reward != "agent"
        out = torch.zeros(*truncated.shape[:2], 1) if per_seat else torch.zeros(truncated.shape)
        if finals.step.numel():
            cut = truncated[finals.step, finals.seat]  # [F, R] rows of others were never written
            widths = [g.action.shape[2] for g in (rollout.groups[group.name] for group in self.spec.groups)]
            obs = {
                group.name: neutral_outside(finals.obs[group.name], part)
                for group, part in zip(self.spec.groups, torch.split(cut, widths, 1), strict=True)
            }
            values = self.value.to_raw(self._outputs(obs, finals.state, finals.seat))
            keep = cut.any(1, keepdim=True) if per_seat else cut
            out[finals.step, finals.seat] = torch.where(keep, values, 0.0)
        return out

    def _minibatches(self, batch: Batch) -> Iterator[Tensor]:
        """Index of each minibatch of an epoch; samples that train nothing and empty minibatches left out."""
        rows = (batch.use.any(1) | batch.use_value.any(1)).nonzero().squeeze(1)
        order = rows[torch.randperm(len(rows), generator=self.shuffle)]
        parts = np.array_split(order.numpy(), self.config.minibatches)
        # sorted, a part is read from memory in one sweep
        return (torch.from_numpy(np.sort(part)) for part in parts if len(part))


def _clip(gradients: list[Tensor], limit: float) -> Tensor:
    """Shrink gradients, in place, to a common norm of at most `limit`; returns the norm they had."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x) for x in gradients]))
    for x in gradients:
        x.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _clean(group: GroupRollout) -> GroupRollout:
    """The group with neutral inputs where nobody acts, whatever stands there."""
    if bool(group.acting.all()):
        return group
    acts = group.acting[:-1]
    mask = group.action_mask
    return replace(
        group,
        obs=neutral_outside(group.obs, group.acting),
        action_mask=None if mask is None else mask | ~group.acting.unsqueeze(-1),
        action=neutral_outside(group.action, acts),
        log_prob=neutral_outside(group.log_prob, acts),
    )


def _mean(x: Tensor, use: Tensor) -> Tensor:
    """Mean over the last axis of the entries where `use`, 0 where there are none: `[.., R] -> [.., 1]`."""
    return torch.where(use, x, 0.0).sum(-1, keepdim=True) / use.sum(-1, keepdim=True).clamp(min=1)


def _flat(x: Tensor) -> Tensor:
    """`[T, S, ..] -> [T*S, ..]`."""
    return x.flatten(0, 1)
