"""PPO's values and gradients by the engine: the same loss as `PPO.block_gradients`, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from environments.spec import AgentGroup
from marl.buffers import Batch
from marl.config_rollout import PPOConfig
from marl.engine.fused import Job, Passes, differentiate, every
from marl.engine.heads import ChooseLoss, Keep, PointLoss, Surrogate, ValueLoss
from marl.engine.layout import AgentOfFlatNetwork, FlatNetwork
from marl.policy import Policy
from marl.values import ValueFunction

F = np.float32


class FusedPPO:
    """Values and gradients of a policy and a value function."""

    def __init__(
        self,
        policy: Policy,
        value: ValueFunction,
        config: PPOConfig,
        threads: int,
        alone: Sequence[Sequence[Tensor]] = (),
    ) -> None:
        """`alone`: each agent's own parameters, views of the stacked ones, where agents are updated one by one."""
        self.policy, self.value, self.config = policy, value, config
        self.actors = {group.name: policy.passes(group, threads) for group in policy.spec.groups}
        members = [(group, i) for group in policy.spec.groups for i in range(policy.spec.members(group))]
        self.alone: list[tuple[AgentGroup, int, Passes]] = []
        for (group, i), parameters in zip(members, alone, strict=False):
            whole = self.actors[group.name].network
            assert isinstance(whole, FlatNetwork)
            self.alone.append((group, i, Passes(AgentOfFlatNetwork(whole, i, parameters), False, threads)))
        self.heads = {
            name: Passes(FlatNetwork(head), value.shape.central, threads) for name, head in value.heads.items()
        }
        self._batch: Batch | None = None

    def values(self, obs: Mapping[str, Tensor], state: Tensor, seat: Tensor) -> Tensor:
        """The value function's outputs `[B, R]`; arguments as it takes them."""
        parts = []
        for name, inputs in self.value.inputs(obs, state, seat).items():
            passes = self.heads[name]
            value = np.empty((len(inputs), passes.shape.agents), np.float32)
            passes.evaluate(Keep(value), rows_of(inputs), every(len(inputs)))
            parts.append(torch.from_numpy(value))
        return torch.cat(parts, 1)

    def _load(self, batch: Batch) -> None:
        """Get at the samples that minibatches are drawn from; they are read where they stand."""
        if self._batch is not None and self._batch.obs is batch.obs:
            return
        self._batch = batch
        self._inputs = {name: x.flatten(2).float().contiguous() for name, x in batch.obs.items()}
        self._views: dict[tuple[str, int], Tensor] = {}
        seen = self.value.inputs(batch.obs, batch.state, batch.seat)
        self._seen = {name: rows_of(x).contiguous() for name, x in seen.items()}
        columns = {"log_prob": self.actors, "advantage": self.actors, "use": self.actors}
        columns |= dict.fromkeys(("old_value", "target", "use_value"), self.heads)
        for name, networks in columns.items():  # compiled code trusts its arrays
            wanted = (len(batch.seat), sum(passes.shape.agents for passes in networks.values()))
            if getattr(batch, name).shape != wanted:
                raise ValueError(f"{name} is {tuple(getattr(batch, name).shape)}, wanted {wanted}")
        self._arrays = {name: getattr(batch, name).contiguous().numpy() for name in columns}

    def gradients(
        self,
        batch: Batch,
        index: Tensor,
        decisions: Tensor,
        values: Tensor,
        agent: int | None = None,
        critic: bool = True,
    ) -> tuple[list[list[Tensor]], dict[str, float]]:
        """Sets parameters' `grad` for the samples `index`, which have that many trained `decisions` and `values`: the
        actors' (of one `agent` alone) and the critic's; returns flat gradients per part, and metrics."""
        self._load(batch)
        acting = self._acting(batch, decisions, agent)
        judging = self._judging(values) if critic else []
        found = differentiate([*acting, *judging], index.numpy())
        acted, judged = found[: len(acting)], found[len(acting) :]
        sums = np.sum([totals for _, totals in acted], 0)
        policy_loss, entropy, kl, clipped = (float(x) / float(decisions) for x in sums)
        loss = policy_loss - self.config.entropy * entropy
        metrics = {"policy_loss": policy_loss, "entropy": entropy, "kl": kl, "clipped": clipped}
        parts = [[whole for whole, _ in acted]]
        if critic:
            metrics["value_loss"] = sum(float(totals[0]) for _, totals in judged) / float(values)
            loss += self.config.value_coefficient * metrics["value_loss"]
            parts.append([whole for whole, _ in judged])
        return parts, {"loss": loss, **metrics}

    def _acting(self, batch: Batch, decisions: Tensor, agent: int | None) -> list[Job]:
        """The actors' part of the loss, or that of one agent."""
        told = self._told(batch, decisions)
        if agent is not None:
            group, i, passes = self.alone[agent]
            return [Job(passes, self._loss(group, passes, told._replace(first=agent), i), self._of(group, i))]
        jobs, first = [], 0
        for group in self.policy.spec.groups:
            passes = self.actors[group.name]
            jobs.append(Job(passes, self._loss(group, passes, told._replace(first=first)), self._inputs[group.name]))
            first += passes.shape.agents
        return jobs

    def _told(self, batch: Batch, decisions: Tensor) -> Surrogate:
        share = F(1.0 / float(decisions))
        numbers = F(self.config.clip), F(self.config.entropy), share
        return Surrogate(self._arrays["log_prob"], batch.advantage.numpy(), self._arrays["use"], 0, *numbers)

    def _judging(self, values: Tensor) -> list[Job]:
        """The critic's part of the loss."""
        config, arrays = self.config, self._arrays
        judged = ValueLoss(
            old=arrays["old_value"],
            target=arrays["target"],
            use=arrays["use_value"],
            first=0,
            clip=F(np.inf if config.value_clip is None else config.value_clip),
            huber=F(config.huber_delta if config.value_loss == "huber" else np.inf),
            share=F(1.0 / float(values)),
            weight=F(config.value_coefficient),
        )
        jobs, first = [], 0
        for name, passes in self.heads.items():
            jobs.append(Job(passes, judged._replace(first=first), self._seen[name]))
            first += passes.shape.agents
        return jobs

    def _of(self, group: AgentGroup, agent: int) -> Tensor:
        """What one agent sees `[B, 1, D]`; copied once per batch."""
        if (group.name, agent) not in self._views:
            self._views[group.name, agent] = self._inputs[group.name][:, agent : agent + 1].contiguous()
        return self._views[group.name, agent]

    def _loss(self, group: AgentGroup, passes: Passes, told: Surrogate, agent: int | None = None) -> Any:
        """The loss of a group's actions, or of one agent's."""
        assert self._batch is not None
        own = slice(None) if agent is None else slice(agent, agent + 1)
        action = self._batch.action[group.name][:, own].contiguous()
        if isinstance(group.action_space, spaces.Box):
            return PointLoss(*self.policy.box_place(group, passes), action.numpy(), told)
        mask = self._batch.action_mask[group.name]
        place = self.policy.choice_place(group, None if mask is None else mask[:, own])
        return ChooseLoss(*place, action.view(*action.shape[:2], -1).numpy(), told)


def rows_of(inputs: Tensor) -> Tensor:
    """`[B, D]` as `[B, 1, D]`; others as they are."""
    return inputs.unsqueeze(1) if inputs.dim() == 2 else inputs
