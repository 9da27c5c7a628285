"""Trust region policy optimisation for teams, agent by agent: HATRPO.

Kuba et al. 2022 (arXiv:2109.11251), on the trust region of Schulman et al. 2015 (arXiv:1502.05477). Every agent in turn
takes the longest step along the natural gradient that its radius allows, and less where that turns out too long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from environments.errors import NumericalFailure
from environments.spec import EnvSpec
from marl import losses, workers
from marl.adam import Adam, clip_norm
from marl.algorithms import chunks
from marl.algorithms.on_policy import Means, OnPolicy, Turn
from marl.buffers import Batch, Rollout
from marl.config_rollout import TRPOConfig
from marl.distributions import divergence

SMALLEST_RESIDUAL = 1e-10
SPARSE = 5
"""Of so many samples one goes into Fisher's matrix: a direction needs fewer than a gradient (Schulman et al. 2015)."""
SHRINK = 0.8
"""Length of each further step that is tried, as a part of the one before: the first is often a little too long."""


class TRPO(OnPolicy):
    """Learner of one kind of team, on-policy, by natural gradient steps of bounded divergence."""

    config: TRPOConfig
    remembers = True

    def __init__(
        self,
        env: EnvSpec,
        kind: str,
        config: TRPOConfig,
        reward: str,
        seed: int,
        threads: int = 1,
        engine: str = "fused",
    ) -> None:
        """As `OnPolicy`; gradients are torch's, whatever the engine."""
        super().__init__(env, kind, config, reward, seed, threads, engine)
        self.turns = self.turns_one_by_one()
        self.critic = list(self.value.parameters())
        self.optimiser = Adam(self.critic, config.learning_rate, config.adam_eps)
        """Of the critic; actors have none."""

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """One step of every agent, in a fresh random order; then several epochs of the critic."""
        if self.config.anneal:
            self.optimiser.rate = self.config.learning_rate * (1.0 - progress)
        batch = self.prepare(rollout)
        told = Means()
        log_factor = torch.zeros(len(batch.seat))
        turns = self.shuffled(self.turns)
        for turn in turns:
            turn.bind()
            told.add(self._move(batch, turn, log_factor.exp()))
            if turn is not turns[-1]:
                log_factor = log_factor + self.log_ratio(batch, turn)
        trained = self.trained(batch, None)
        for _ in range(self.config.epochs):
            for index in self.minibatches(trained):
                told.add(self._value_step(batch, index))
        self.carry_on(batch)
        return told.result() | {
            "factor": float((log_factor.exp() - 1).abs().mean()),
            "learning_rate": self.optimiser.rate,
            "trained": float(batch.use.float().mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        """As `OnPolicy.state_of`."""
        return self.state_of(self.optimiser)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.load_state_of(self.optimiser, state)

    # --- an agent's step ----------------------------------------------------------------------------------------------

    def _move(self, batch: Batch, turn: Turn, factor: Tensor) -> dict[str, float]:
        """Step one agent; what became of it.

        With g the gradient of the surrogate L = mean rho A and F the Hessian of the mean KL(old || new) at the old
        policy (Fisher's matrix), the full step is x sqrt(2 radius / x'Fx), F x = g by the conjugate gradient; it is
        shortened until KL <= radius and L has risen by at least `accept` of what g promises. Where no step will do,
        none is taken.
        """
        config, columns = self.config, turn.columns
        use = batch.use[:, columns]
        count = use.sum()
        nothing = dict.fromkeys(
            ("divergence", "divergence_largest", "gain", "accepted", "backtracks", "policy_gradient"), 0.0
        )
        if int(count) == 0:
            return nothing
        advantage = torch.where(use, batch.advantage[:, columns] * factor.unsqueeze(1), 0.0)
        used = chunks.whole(use.any(1), self.span)
        index = chunks.samples(used, self.span)
        parts = [self._part(batch, turn, advantage, block) for block in self.blocks(index)]
        few = self.blocks(chunks.samples(used[::SPARSE], self.span))
        curved = [self._part(batch, turn, advantage, block) for block in few]
        g = self._summed(lambda part: part.slope(part.gains() / count), parts)
        if not bool(torch.isfinite(g).all()):
            raise NumericalFailure("loss or gradient is not finite", batch.take(index))
        whole = sum(int(part.use.sum()) for part in curved)
        slopes = list(workers.map(self.threads, lambda part: part.slope(part.moved() / whole, True), curved))

        def fisher(vector: Tensor) -> Tensor:
            pairs = list(zip(curved, slopes, strict=True))
            product = self._summed(lambda pair: pair[0].slope(pair[1] @ vector, again=True), pairs)
            return product + config.damping * vector

        x = conjugate_gradient(fisher, g, config.conjugate_steps)
        curvature = float(x @ fisher(x))
        if curvature <= 0.0:
            return nothing | {"policy_gradient": float(g.norm())}
        step = x * (2 * config.kl_radius / curvature) ** 0.5
        promised, start = float(g @ step), [p.detach().clone() for p in turn.parameters]
        _, before = self._outcome(parts, count)
        for tried in range(config.backtracks):
            _place(turn, start, step, SHRINK**tried)
            moved, gain = self._outcome(parts, count)
            gain -= before
            if moved <= config.kl_radius and gain > 0.0 and gain >= config.accept * promised * SHRINK**tried:
                took = {"divergence": moved, "divergence_largest": moved, "gain": gain, "accepted": 1.0}
                return took | {"backtracks": float(tried), "policy_gradient": float(g.norm())}
        _place(turn, start, step, 0.0)
        return nothing | {"backtracks": float(config.backtracks), "policy_gradient": float(g.norm())}

    def _part(self, batch: Batch, turn: Turn, advantage: Tensor, block: Tensor) -> Part:
        return Part(self, turn, batch.take(block), advantage[block])

    def _summed(self, of: Callable[[Any], Tensor], parts: Sequence[Any]) -> Tensor:
        """Sum over parts, in order."""
        return torch.stack(list(workers.map(self.threads, of, parts))).sum(0)

    def _outcome(self, parts: Sequence[Part], count: Tensor) -> tuple[float, float]:
        """Mean divergence and surrogate of the present policy."""

        def of(part: Part) -> Tensor:
            with torch.no_grad():
                return torch.stack([part.moved(), part.gains()])

        moved, gain = (self._summed(of, parts) / count).tolist()
        return moved, gain

    def _value_step(self, batch: Batch, index: Tensor) -> dict[str, Tensor]:
        """One gradient step of the critic on the samples at `index`."""
        values = batch.use_value[index].sum().clamp(min=1)

        def work(block: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            loss = self.value_loss(batch.take(block), values)
            return loss.detach(), torch.autograd.grad(self.config.value_coefficient * loss, self.critic)

        results = list(workers.map(self.threads, work, self.blocks(index)))
        loss = torch.stack([part for part, _ in results]).sum()
        for parameter, *summands in zip(self.critic, *(gradients for _, gradients in results), strict=True):
            parameter.grad = torch.stack(summands).sum(0)
        norm = clip_norm([p.grad for p in self.critic if p.grad is not None], self.config.max_grad_norm)
        if not bool(torch.isfinite(torch.stack([loss, norm])).all()):
            raise NumericalFailure("loss or gradient is not finite", batch.take(index))
        self.optimiser.step()
        return {"value_loss": loss, "value_gradient": norm}


class Part:
    """Some samples of a batch, as an agent's step sees them."""

    def __init__(self, made: TRPO, turn: Turn, batch: Batch, advantage: Tensor) -> None:
        self.made, self.turn, self.batch, self.advantage = made, turn, batch, advantage
        self.use = batch.use[:, turn.columns]

    def gains(self) -> Tensor:
        """Sum of rho A."""
        log_prob, _ = self.made.evaluate(self.batch, self.turn)
        log_ratio = torch.where(self.use, log_prob - self.batch.log_prob[:, self.turn.columns], 0.0)
        return losses.masked_sum(log_ratio.exp() * self.advantage, self.use)

    def moved(self) -> Tensor:
        """Sum of KL(old || new)."""
        ((group, own, chosen),) = self.made.chosen(self.batch, self.turn)
        return losses.masked_sum(divergence(self.made.earlier(self.batch, group, own), chosen), self.use)

    def slope(self, loss: Tensor, graph: bool = False, again: bool = False) -> Tensor:
        """Gradient of a loss by the agent's own parameters, `[D]`; with `graph` it can be differentiated itself.

        With `again` so can the loss.
        """
        gradients = torch.autograd.grad(loss, self.turn.sources, create_graph=graph, retain_graph=graph or again)
        return flat(self.turn.own(gradients))


def flat(parts: list[Tensor]) -> Tensor:
    """All numbers of some tensors, in order."""
    return torch.cat([x.reshape(-1) for x in parts])


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """x with A x = b, as near as that many products with the positive definite A lead; `[D]`.

    Hestenes and Stiefel 1952.
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, size = residual.clone(), residual @ residual
    for _ in range(steps):
        if float(size) < SMALLEST_RESIDUAL:
            break
        turned = product(direction)
        length = size / (direction @ turned)
        x, residual = x + length * direction, residual - length * turned
        size, before = residual @ residual, size
        direction = residual + size / before * direction
    return x


def _place(turn: Turn, start: list[Tensor], step: Tensor, part: float) -> None:
    """Put the turn's parameters at `start` plus a part of the step."""
    first = 0
    with torch.no_grad():
        for parameter, old in zip(turn.parameters, start, strict=True):
            own = step[first : first + old.numel()].view_as(old)
            parameter.copy_(old + part * own if part else old)
            first += old.numel()
