"""Proximal policy optimisation for teams: IPPO (local critic), MAPPO (central critic), HAPPO (central, agent by agent).

Schulman et al. 2017 (arXiv:1707.06347), de Witt et al. 2020 (arXiv:2011.09533), Yu et al. 2022 (arXiv:2103.01955), Kuba
et al. 2022 (arXiv:2109.11251). They differ by the critic's input and by the order in which a team's agents are updated
(`PPOConfig.critic`, `PPOConfig.order`); what holds an update back is a part of its own (`marl.trust_regions`). With one
pass over the whole rollout it is the advantage actor-critic (Huang et al. 2022, arXiv:2205.09123).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from environments.errors import NumericalFailure
from environments.spec import EnvSpec
from marl import losses, workers
from marl.adam import Adam, clip_norm
from marl.algorithms.on_policy import Means, OnPolicy, Turn
from marl.buffers import Batch, Rollout
from marl.config_rollout import PPOConfig
from marl.distributions import divergence
from marl.engine.ppo import FusedPPO
from marl.trust_regions import REGIONS

NOT_FINITE = "loss or gradient is not finite"
AT_ONCE = 2**17
"""Samples, counted once for each pass over them, that are learnt from in one call at most: it cannot be interrupted."""
PULLS = 30
"""Times that a policy is pulled half the way back, before the old one is taken again."""


class PPO(OnPolicy):
    """Learner of one kind of team, on-policy, by gradient steps on minibatches."""

    config: PPOConfig

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
        """As `OnPolicy`; `engine`: "fused" (compiled functions; gradients of clipped ratios only) or "torch"."""
        super().__init__(env, kind, config, reward, seed, threads, engine)
        self.region = REGIONS[config.trust_region](config)
        self.remembers = self.region.divergence != "none"
        self.weights = self.region.start(len(self.agents))
        """Of the trust region, `[C, R]`."""
        fused = self.policy.compiled and config.trust_region == "clip"
        alone = config.order == "agent_by_agent"
        self.turns = self.turns_one_by_one() if alone else self.turns_at_once()
        self.parts: list[list[Tensor]] = [*(turn.parameters for turn in self.turns), list(self.value.parameters())]
        self.parameters = [parameter for part in self.parts for parameter in part]
        self.optimiser = Adam(self.parameters, config.learning_rate, config.adam_eps)
        own = [turn.parameters for turn in self.turns] if alone else []
        self.fused = FusedPPO(self.policy, self.value, config, threads, self.optimiser, own) if fused else None

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Several epochs over a rollout, of all agents at once or of one after the other.

        An agent's advantages are multiplied by the ratios of those that were updated before it (`log_ratio`).
        """
        if self.config.anneal:
            self.optimiser.rate = self.config.learning_rate * (1.0 - progress)
        self.weights = self.region.begin(self.weights, progress)
        batch = self.prepare(rollout)
        told = Means()
        log_factor = torch.zeros(len(batch.seat))
        turns = self.shuffled(self.turns)
        for turn in turns:
            turn.bind()
            told.add(self._learn(batch, turn, log_factor.exp(), told))
            if turn is not turns[-1]:
                log_factor = log_factor + self.log_ratio(batch, turn)
        self.carry_on(batch)
        more = {"factor": float((log_factor.exp() - 1).abs().mean())} if len(turns) > 1 else {}
        return (
            told.result()
            | more
            | {
                "learning_rate": self.optimiser.rate,
                "trained": float(batch.use.float().mean()),
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """As `OnPolicy.state_of`, with the trust region's weights where it has any."""
        return self.state_of(self.optimiser) | ({"weights": self.weights} if len(self.weights) else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.load_state_of(self.optimiser, state)
        self.weights = state["weights"].clone() if len(self.weights) else self.weights

    def values(self, obs: Mapping[str, Tensor], state: Tensor, seat: Tensor) -> Tensor:
        """The value function's outputs `[B, R or 1]`."""
        return super().values(obs, state, seat) if self.fused is None else self.fused.values(obs, state, seat)

    def _learn(self, batch: Batch, turn: Turn, factor: Tensor, told: Means) -> dict[str, float]:
        """The epochs of one turn; what became of it."""
        before = [x.detach().clone() for x in turn.parameters] if self.region.limit is not None else []
        if len(self.turns) > 1 and self.config.advantage_norm != "minibatch":
            batch = replace(batch, advantage=batch.advantage * factor.unsqueeze(1))
        steps = epochs = 0
        trained, limit = self.trained(batch, turn), self.config.target_kl
        together = 1 if limit is not None else max(1, AT_ONCE // max(1, len(trained) * self.span))
        while epochs < self.config.epochs:
            passes = min(together, self.config.epochs - epochs)
            epochs += passes
            minibatches = [index for _ in range(passes) for index in self.minibatches(trained)]
            metrics = self._steps(batch, minibatches, turn, factor)
            told.add_each(metrics)
            divergences = metrics.get("kl", ())
            steps += len(divergences)
            if limit is not None and sum(divergences) > limit * len(divergences):
                break
        return {"epochs": float(epochs)} | self._close(batch, turn, before, steps)

    def _steps(
        self, batch: Batch, minibatches: Sequence[Tensor], turn: Turn, factor: Tensor
    ) -> Mapping[str, Sequence[float]]:
        """One gradient step on each minibatch; metrics of each."""
        if not minibatches:
            return {}
        if self.fused is None or self.config.advantage_norm == "minibatch":
            steps = [self._step(batch, index, turn, factor) for index in minibatches]
            return {name: [float(told[name]) for told in steps] for name in steps[0]}
        return self._descend(batch, minibatches, turn)

    def _descend(self, batch: Batch, minibatches: Sequence[Tensor], turn: Turn) -> dict[str, list[float]]:
        """The same by the engine, all in one call."""
        assert self.fused is not None
        self.optimiser.forget_gradients()
        alone = turn.agents[0] if turn.stack is not None else None
        metrics = {
            name: told.tolist() for name, told in self.fused.descend(batch, minibatches, alone, turn.critic).items()
        }
        for loss, index in zip(metrics["loss"], minibatches, strict=True):
            if not math.isfinite(loss):
                raise NumericalFailure(NOT_FINITE, batch.take(index))
        return metrics

    def _step(
        self, batch: Batch, index: Tensor, turn: Turn | None = None, factor: Tensor | None = None
    ) -> dict[str, Any]:
        """One gradient step on the samples at `index`, of a turn's agents (all by default)."""
        config, turn = self.config, turn or self.turns[0]
        columns = turn.columns
        if config.advantage_norm == "minibatch":
            batch = replace(batch, advantage=batch.advantage.clone())
            own = losses.normalise(batch.advantage[index][:, columns], batch.use[index][:, columns])
            batch.advantage[index, columns] = own if factor is None else own * factor[index].unsqueeze(1)
        if self.fused is not None:
            return {name: told[0] for name, told in self._descend(batch, [index], turn).items()}
        counts = _count(batch.use, index, columns), _count(batch.use_value, index)
        self.optimiser.forget_gradients()  # who has no gradient is not stepped
        gradients, metrics = self._gradients(batch, index, *counts, turn)
        norms = [clip_norm(part, config.max_grad_norm) for part in gradients]
        if not all(math.isfinite(x) for x in (metrics["loss"], *norms)):
            raise NumericalFailure(NOT_FINITE, batch.take(index))
        self.optimiser.step()
        if "largest" in metrics:
            self.weights[:, columns] = self.region.stepped(self.weights[:, columns], float(metrics.pop("largest")))
        return metrics | dict(zip(("policy_gradient", "value_gradient"), norms, strict=False))

    def _gradients(
        self, batch: Batch, index: Tensor, decisions: Tensor, values: Tensor, turn: Turn, mending: bool = False
    ) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """Set every trained parameter's `grad` by torch; returns them per part (actors, critic), and metrics.

        The minibatch is cut in blocks of a fixed size whose gradients are summed in order: blocks run on several
        threads without any difference in the result, and each fits a cache better than the whole.
        """
        blocks = self.blocks(index)

        def work(block: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
            return self.block_gradients(batch.take(block), decisions, values, turn, mending)

        results = list(workers.map(self.threads, work, blocks))
        parts = [turn.parameters, self.parts[-1]] if turn.critic and not mending else [turn.parameters]
        trained = [parameter for part in parts for parameter in part]
        for parameter, *summands in zip(trained, *(gradients for gradients, _ in results), strict=True):
            parameter.grad = torch.stack(summands).sum(0) if len(summands) > 1 else summands[0].contiguous()
        metrics = {}
        for name in results[0][1]:
            column = torch.stack([part[name] for _, part in results])
            metrics[name] = column.amax() if name == "largest" else column.sum()
        return [[p.grad for p in part if p.grad is not None] for part in parts], metrics

    def block_gradients(
        self, batch: Batch, decisions: Tensor, values: Tensor, turn: Turn | None = None, mending: bool = False
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Gradients and metrics of some samples of a minibatch that has that many trained decisions and values.

        `mending`: of the weighed divergence alone.
        """
        config, turn = self.config, turn or self.turns[0]
        columns = turn.columns
        use, weights = batch.use[:, columns], self.weights[:, columns]
        log_prob, entropy = self.evaluate(batch, turn)
        log_ratio = torch.where(use, log_prob - batch.log_prob[:, columns], 0.0)
        moved = self.divergences(batch, turn) if self.remembers else log_ratio
        if mending:
            loss = losses.masked_sum(moved, use) / decisions
            return turn.own(torch.autograd.grad(loss, turn.sources)), {"largest": _largest(moved, use)}
        advantage = torch.where(use, batch.advantage[:, columns], 0.0)
        cost = self.region.loss(log_ratio, advantage, moved, weights)
        policy_loss = losses.masked_sum(cost, use) / decisions
        mean_entropy = losses.masked_sum(entropy, use) / decisions
        loss = policy_loss - config.entropy * mean_entropy
        told = {"policy_loss": policy_loss, "entropy": mean_entropy}
        if turn.critic:
            told["value_loss"] = self.value_loss(batch, values)
            loss = loss + config.value_coefficient * told["value_loss"]
        gradients = torch.autograd.grad(loss, [*turn.sources, *(self.parts[-1] if turn.critic else [])])
        actors = len(turn.sources)
        with torch.no_grad():
            ratio = log_ratio.exp()
            told["kl"] = losses.masked_sum(ratio - 1 - log_ratio, use) / decisions
            told["clipped"] = losses.masked_sum(((ratio - 1).abs() > config.clip).float(), use) / decisions
            if self.remembers:
                told["largest"] = _largest(moved, use)
        metrics = {name: x.detach() for name, x in told.items()}
        return [*turn.own(gradients[:actors]), *gradients[actors:]], {"loss": loss.detach(), **metrics}

    def divergences(self, batch: Batch, turn: Turn) -> Tensor:
        """Exact divergence `[B, r]` of the policies before and after, in the direction that the trust region asks for;
        0 where nobody decides."""
        found = []
        for group, own, chosen in self.chosen(batch, turn):
            pair = self.earlier(batch, group, own), chosen
            found.append(divergence(*(pair if self.region.divergence == "of_old" else reversed(pair))))
        return torch.where(batch.use[:, turn.columns], torch.cat(found, 1), 0.0)

    # --- after a turn's steps -----------------------------------------------------------------------------------------

    def _close(self, batch: Batch, turn: Turn, before: list[Tensor], steps: int) -> dict[str, float]:
        """Let the trust region see what the turn has led to; where it has a limit, see to it that it holds."""
        if not self.remembers:
            return {}
        more = self._mend(batch, turn, before, steps) if self.region.limit is not None else {}
        moved, columns = self.over_blocks(batch, lambda part: self.divergences(part, turn)), turn.columns
        use = batch.use[:, columns]
        self.weights[:, columns] = self.region.updated(self.weights[:, columns], moved, use)
        told = {
            "divergence": float(losses.masked_sum(moved, use) / use.sum().clamp(min=1)),
            "divergence_largest": float(_largest(moved, use)),
        }
        weights = {f"weight_{k}": float(row) for k, row in enumerate(self.weights[:, columns].mean(1))}
        return told | weights | more

    def _mend(self, batch: Batch, turn: Turn, before: list[Tensor], steps: int) -> dict[str, float]:
        """Steps on the divergence alone until it is nowhere above the limit; where as many passes as the turn made are
        not enough, halves the way from the old policy until that is so."""
        limit, turn, extra, pulls = self.region.limit, replace(turn, critic=False), 0, 0
        assert limit is not None

        def above() -> bool:
            return bool((self.over_blocks(batch, lambda part: self.divergences(part, turn)) > limit).any())

        for _ in range(self.config.epochs):
            if not above():
                break
            for index in self.minibatches(self.trained(batch, turn)):
                decisions = _count(batch.use, index, turn.columns)
                self.optimiser.forget_gradients()
                gradients, metrics = self._gradients(batch, index, decisions, decisions, turn, mending=True)
                if float(metrics["largest"]) <= limit:
                    continue
                clip_norm(gradients[0], self.config.max_grad_norm)
                self.optimiser.step()
                extra += 1
                columns = turn.columns
                self.weights[:, columns] = self.region.stepped(self.weights[:, columns], float(metrics["largest"]))
        while above():
            pulls += 1
            with torch.no_grad():
                for parameter, old in zip(turn.parameters, before, strict=True):
                    parameter.copy_(torch.lerp(old, parameter, 0.5) if pulls < PULLS else old)
        return {"mending": extra / max(steps, 1), "pulls": float(pulls)}


def _count(use: Tensor, index: Tensor, columns: slice = slice(None)) -> Tensor:
    """How many entries of some rows are used, at least 1."""
    return use.index_select(0, index)[:, columns].count_nonzero().clamp(min=1)


def _largest(x: Tensor, use: Tensor) -> Tensor:
    """Largest entry where `use`, at least 0."""
    return torch.where(use, x, 0.0).amax().clamp(min=0.0).detach() if x.numel() else torch.zeros(())
