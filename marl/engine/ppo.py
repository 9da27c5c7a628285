"""PPO's values and gradients by the engine: the same loss as `PPO.block_gradients`, computed chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from environments.spec import AgentGroup
from marl.buffers import Batch
from marl.config import PPOConfig
from marl.engine.fused import Passes, every
from marl.engine.heads import ChooseLoss, Keep, PointLoss, Surrogate, ValueLoss
from marl.engine.layout import FlatNetwork
from marl.policy import Policy
from marl.values import ValueFunction

F = np.float32


class FusedPPO:
    """Values and gradients of a policy and a value function."""

    def __init__(self, policy: Policy, value: ValueFunction, config: PPOConfig, threads: int) -> None:
        self.policy, self.value, self.config = policy, value, config
        self.actors = {group.name: policy.passes(group, threads) for group in policy.spec.groups}
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
        self, batch: Batch, index: Tensor, decisions: Tensor, values: Tensor
    ) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """Sets every parameter's `grad` for the samples `index`, which have that many trained `decisions` and `values`;
        returns flat gradients per part (actors, critic), and metrics."""
        self._load(batch)
        rows, arrays, config = index.numpy(), self._arrays, self.config
        share = F(1.0 / float(decisions))
        told = Surrogate(
            arrays["log_prob"], batch.advantage.numpy(), arrays["use"], 0, F(config.clip), F(config.entropy), share
        )
        acted = np.zeros(4)
        actors, first = [], 0
        for group in self.policy.spec.groups:
            passes = self.actors[group.name]
            task = self._loss(batch, group, passes, told._replace(first=first))
            whole, totals = passes.differentiate(task, self._inputs[group.name], rows)
            actors.append(whole)
            acted += totals
            first += passes.shape.agents
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
        error, critic, first = 0.0, [], 0
        for name, passes in self.heads.items():
            whole, totals = passes.differentiate(judged._replace(first=first), self._seen[name], rows)
            critic.append(whole)
            error += float(totals[0])
            first += passes.shape.agents
        policy_loss, entropy, kl, clipped = (float(x) / float(decisions) for x in acted)
        value_loss = error / float(values)
        loss = policy_loss - config.entropy * entropy + config.value_coefficient * value_loss
        metrics = {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "kl": kl,
            "clipped": clipped,
        }
        return [actors, critic], {name: torch.tensor(x, dtype=torch.float64) for name, x in metrics.items()}

    def _loss(self, batch: Batch, group: AgentGroup, passes: Passes, told: Surrogate) -> Any:
        action = batch.action[group.name].contiguous()
        space = group.action_space
        if isinstance(space, spaces.Box):
            return PointLoss(*self.policy.box_place(group, passes), action.numpy(), told)
        mask = batch.action_mask[group.name]
        return ChooseLoss(*self.policy.choice_place(group, mask), action.view(*action.shape[:2], -1).numpy(), told)


def rows_of(inputs: Tensor) -> Tensor:
    """`[B, D]` as `[B, 1, D]`; others as they are."""
    return inputs.unsqueeze(1) if inputs.dim() == 2 else inputs
