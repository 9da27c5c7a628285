"""PPO's values and gradient steps by the engine: the same loss as `PPO.block_gradients`, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from environments.spec import AgentGroup
from marl.adam import Adam
from marl.buffers import Batch
from marl.config_rollout import PPOConfig
from marl.engine.fused import Descent, Moments, Passes, Room, descend, every
from marl.engine.heads import COUNT, ChooseLoss, Keep, PointLoss, Surrogate, ValueLoss
from marl.engine.layout import AgentOfFlatNetwork, FlatNetwork
from marl.policy import Policy
from marl.values import ValueFunction

F = np.float32


class FusedPPO:
    """Values and gradient steps of a policy and a value function."""

    def __init__(
        self,
        policy: Policy,
        value: ValueFunction,
        config: PPOConfig,
        threads: int,
        optimiser: Adam,
        alone: Sequence[Sequence[Tensor]] = (),
    ) -> None:
        """`optimiser`: of these networks' parameters; what it remembers stays its own. `alone`: each agent's own
        parameters, views of the stacked ones, where agents are updated one by one."""
        self.policy, self.value, self.config, self.optimiser = policy, value, config, optimiser
        self._moments: dict[Passes, Moments] = {}
        self.actors = {group.name: policy.passes(group, threads) for group in policy.spec.groups}
        members = [(group, i) for group in policy.spec.groups for i in range(policy.spec.members(group))]
        self.alone: list[tuple[AgentGroup, int, Passes]] = []
        rooms = {group.name: Room() for group in policy.spec.groups}
        for (group, i), parameters in zip(members, alone, strict=False):
            whole = self.actors[group.name].network
            assert isinstance(whole, FlatNetwork)
            own = AgentOfFlatNetwork(whole, i, parameters)
            self.alone.append((group, i, Passes(own, False, threads, rooms[group.name])))
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

    def descend(
        self, batch: Batch, minibatches: Sequence[Tensor], agent: int | None = None, critic: bool = True
    ) -> dict[str, NDArray[np.float64]]:
        """Step the actors (of one `agent` alone) and the critic on one minibatch of samples after the other; returns
        metrics of each.

        Where a loss or norm is not finite that step is not made, nor any after it. Every parameter's `grad` is what it
        was last stepped down.
        """
        self._load(batch)
        work = [*self._acting(batch, agent), *(self._judging() if critic else [])]
        told = descend(work, minibatches, self.optimiser, self.config.max_grad_norm)
        acted = told.totals[:, [not each.critic for each in work]].sum(1)
        decisions = np.maximum(acted[:, COUNT], 1.0)
        policy_loss, entropy, kl, clipped = (acted[:, k] / decisions for k in range(COUNT))
        loss = policy_loss - self.config.entropy * entropy
        metrics = {"policy_loss": policy_loss, "entropy": entropy, "kl": kl, "clipped": clipped}
        metrics["policy_gradient"] = told.norms[:, 0]
        if critic:
            judged = told.totals[:, [each.critic for each in work]].sum(1)
            metrics["value_loss"] = judged[:, 0] / np.maximum(judged[:, COUNT], 1.0)
            metrics["value_gradient"] = told.norms[:, 1]
            loss = loss + self.config.value_coefficient * metrics["value_loss"]
        return {"loss": np.where(told.finite, loss, np.nan), **metrics}

    def _acting(self, batch: Batch, agent: int | None) -> list[Descent]:
        """The actors' part of the loss, or that of one agent."""
        numbers = F(self.config.clip), F(self.config.entropy)
        advantage = batch.advantage.contiguous().numpy()
        told = Surrogate(self._arrays["log_prob"], advantage, self._arrays["use"], 0, *numbers)
        if agent is not None:
            group, i, passes = self.alone[agent]
            return [self._descent(passes, self._loss(group, passes, told._replace(first=agent), i), self._of(group, i))]
        work, first = [], 0
        for group in self.policy.spec.groups:
            passes = self.actors[group.name]
            loss = self._loss(group, passes, told._replace(first=first))
            work.append(self._descent(passes, loss, self._inputs[group.name]))
            first += passes.shape.agents
        return work

    def _judging(self) -> list[Descent]:
        """The critic's part of the loss."""
        config, arrays = self.config, self._arrays
        judged = ValueLoss(
            old=arrays["old_value"],
            target=arrays["target"],
            use=arrays["use_value"],
            first=0,
            clip=F(np.inf if config.value_clip is None else config.value_clip),
            huber=F(config.huber_delta if config.value_loss == "huber" else np.inf),
            weight=F(config.value_coefficient),
        )
        work, first = [], 0
        for name, passes in self.heads.items():
            work.append(self._descent(passes, judged._replace(first=first), self._seen[name], critic=True))
            first += passes.shape.agents
        return work

    def _descent(self, passes: Passes, task: Any, inputs: Tensor, critic: bool = False) -> Descent:
        if passes not in self._moments:
            self._moments[passes] = Moments(passes.network, self.optimiser)
        return Descent(passes, task, inputs, critic, self._moments[passes])

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
