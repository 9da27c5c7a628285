"""What the learners from rollouts have in common: whose turn it is, minibatches, and what is prepared of a rollout.

An algorithm says what becomes of a batch (`update`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from environments.spec import AgentGroup, EnvSpec
from marl import losses, workers
from marl.adam import Adam
from marl.algorithms import chunks
from marl.algorithms.targets import Clock, lives_end
from marl.buffers import Batch, GroupRollout, Memory, Rollout, neutral_outside
from marl.config_rollout import RolloutConfig
from marl.policy import Chosen, Policy
from marl.policy_spec import PolicySpec, network_of
from marl.recurrent import Past
from marl.seeding import torch_generator
from marl.values import CriticShape, ValueFunction

BLOCK_SAMPLES = 2048
"""Joint samples per gradient block: enough that torch's overhead per call is small."""
BLOCK_PIXELS = 2**23
"""Numbers of images in a block, at most: what is between the layers must be kept until the gradient is taken."""


@dataclass(frozen=True)
class Turn:
    """Agents that are updated together: all of a team, or one alone with parameters of its own."""

    agents: tuple[int, ...]
    """Their columns among the R of a batch."""
    sources: tuple[torch.nn.Parameter, ...]
    """The policy's parameters that decide how they act."""
    stack: int | None
    """Row of an agent's own parts in its group's stacked parameters; none: the whole."""
    parameters: list[Tensor]
    """What the optimiser steps: the sources, or views of the agent's own parts."""
    critic: bool = True
    """Whether the critic learns in the same passes."""

    @property
    def columns(self) -> slice:
        """Of its agents."""
        return slice(self.agents[0], self.agents[-1] + 1)

    def bind(self) -> None:
        """Views look at the sources again, which loading, casting or the compiled engine may have put elsewhere."""
        if self.stack is not None:
            for own, source in zip(self.parameters, self.sources, strict=True):
                own.data = source.data[self.stack]

    def own(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Its parts of gradients by the sources."""
        return [x if self.stack is None else x[self.stack] for x in gradients]


@dataclass
class Means:
    """Means of metrics over the steps that told them, and the largest of each."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, metrics: Mapping[str, SupportsFloat]) -> None:
        """Take in what one step told."""
        self.add_each({name: (told,) for name, told in metrics.items()})

    def add_each(self, metrics: Mapping[str, Sequence[SupportsFloat]]) -> None:
        """Take in what each of several steps told."""
        for name, told in metrics.items():
            values = [float(value) for value in told]
            self.sums[name] = self.sums.get(name, 0.0) + sum(values)
            self.counts[name] = self.counts.get(name, 0) + len(values)
            if name.endswith("_largest"):
                self.largest[name] = max(self.largest.get(name, -math.inf), *values)

    def result(self) -> dict[str, float]:
        """The means; of what is called largest, the largest."""
        return {name: value / self.counts[name] for name, value in self.sums.items()} | self.largest


class OnPolicy(ABC):
    """Learner of one kind of team from rollouts of its policy, on the one clock of `marl.returns`."""

    remembers = False
    """Whether updates look back at the distributions of the policy that they began with."""

    def __init__(
        self, env: EnvSpec, kind: str, config: RolloutConfig, reward: str, seed: int, threads: int, engine: str
    ) -> None:
        """`reward`: "agent" (each its own), "team_sum" or "team_mean" (one clock for the whole seat).

        `threads` share the work of an update; where torch itself runs on one thread, the result does not depend on
        their number. `engine`: "fused" (act by compiled functions) or "torch"; they differ by rounding alone.
        """
        self.threads, self.reward, self.config = threads, reward, config
        self.spec = PolicySpec.of(env, kind, **network_of(config))
        self.policy = Policy(self.spec, torch_generator(seed, kind, "policy"))
        shape = CriticShape(
            env.critic_size(kind), config.critic == "central", reward != "agent", config.hidden, config.value_norm
        )
        self.policy.compiled = self.policy.compiled and engine == "fused"
        if self.policy.compiled:
            for group in self.spec.groups:
                self.policy.passes(group, threads)  # puts parameters where they stay, before anyone looks at parts
        self.value = ValueFunction(self.spec, shape, torch_generator(seed, kind, "value"))
        self.policy.critic = self.value  # travels with the policy, to be shown in replays
        self.clock = Clock(config, reward, 1.0 if env.turn_based else config.gamma, env.max_wait)
        if config.rollout_length <= env.max_wait:
            raise UsageError(f"{env.name}: rollout_length must be above {env.max_wait}, the longest wait")
        self.shuffle = torch_generator(seed, kind, "shuffle")
        self.agents = [(group, i) for group in self.spec.groups for i in range(self.spec.members(group))]
        """Group and place in it of each of the R agents of a team."""
        self.span = config.span
        """Steps of a seat that are trained together: of a recurrent policy, a chunk's."""
        self.carried: dict[str, Tensor] = {}
        """What a recurrent critic carries to the next rollout, head -> `[S, rows, M]`."""

    @abstractmethod
    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """Learn from a rollout; `progress` in [0, 1] is the part of training that is done. Returns metrics.

        NumericalFailure where the rollout, a loss or a gradient is not finite, with the rollout or the minibatch as
        `batch`; no step is taken then.
        """

    # --- whose turn it is ---------------------------------------------------------------------------------------------

    def turns_at_once(self) -> list[Turn]:
        """One turn, of all agents."""
        parameters = tuple(self.policy.acting_parameters())
        return [Turn(tuple(range(len(self.agents))), parameters, None, list(parameters))]

    def turns_one_by_one(self) -> list[Turn]:
        """A turn for each agent, with its own parts of the stacked parameters."""
        turns = []
        for column, (group, i) in enumerate(self.agents):
            sources = tuple(self.policy.acting_parameters_of(group))
            own: list[Tensor] = [source.data[i].requires_grad_() for source in sources]
            turns.append(Turn((column,), sources, i, own))
        return turns

    def shuffled(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns in a fresh random order; in the first of them the critic learns too."""
        if len(turns) == 1:
            return list(turns)
        order = torch.randperm(len(turns), generator=self.shuffle).tolist()
        return [replace(turns[k], critic=number == 0) for number, k in enumerate(order)]

    # --- what a policy says of a batch --------------------------------------------------------------------------------

    def evaluate(self, batch: Batch, turn: Turn | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies `[B, r]` of the batch's actions under the present policy."""
        log_probs, entropies = [], []
        for group, own, chosen in self.chosen(batch, turn):
            log_probs.append(chosen.log_prob(batch.action[group.name][:, own]))
            entropies.append(chosen.entropy().expand_as(log_probs[-1]))
        return torch.cat(log_probs, 1), torch.cat(entropies, 1)

    def chosen(self, batch: Batch, turn: Turn | None = None) -> Iterator[tuple[AgentGroup, slice, Chosen]]:
        """Each group, which of its agents, and what they would do at the batch's views: all, or those of a turn."""
        alone = None if turn is None else turn.stack
        groups = self.spec.groups if alone is None or turn is None else [self.agents[turn.agents[0]][0]]
        for group in groups:
            own = slice(None) if alone is None else slice(alone, alone + 1)
            mask = batch.action_mask[group.name]
            obs, legal = batch.obs[group.name][:, own], None if mask is None else mask[:, own]
            yield group, own, self.policy.distribution(group, obs, legal, alone, self._past(batch, group))

    def _past(self, batch: Batch, group: AgentGroup) -> Past | None:
        """What a recurrent policy needs to know of a group besides a batch's views."""
        if batch.memory is None:
            return None
        columns = [column for column, (own, _) in enumerate(self.agents) if own is group]
        start = batch.memory.start
        acting = batch.acting[:, columns[0] : columns[-1] + 1].view(*start.shape, -1)
        return Past(batch.memory.hidden[group.name], start, acting)

    def earlier(self, batch: Batch, group: AgentGroup, own: slice) -> Chosen:
        """What agents of a group would have done before the update."""
        mask = batch.action_mask[group.name]
        return self.policy.head(group, batch.old[group.name][:, own], None if mask is None else mask[:, own])

    def blocks(self, index: Tensor) -> tuple[Tensor, ...]:
        """An index in parts whose gradients are taken one after the other: fewer samples where they are images, and
        whole chunks where networks remember."""
        most = min(BLOCK_SAMPLES, BLOCK_PIXELS // max(1, self.policy.encoders.pixels))
        return torch.split(index, max(1, most // self.span) * self.span)

    @torch.no_grad()
    def over_blocks(self, batch: Batch, look: Callable[[Batch], Tensor]) -> Tensor:
        """What `look` says of all samples, block by block, without gradients."""
        blocks = self.blocks(torch.arange(len(batch.seat)))

        def looked(block: Tensor) -> Tensor:
            with torch.no_grad():  # a thread's own affair
                return look(batch.take(block))

        return torch.cat(list(workers.map(self.threads, looked, blocks)))

    def log_ratio(self, batch: Batch, turn: Turn) -> Tensor:
        """Log of how much likelier a turn's agent now is to do what it did, `[B]`, 0 where it did not act.

        The advantage of the agents i_1 .. i_m together is that of i_m times prod_{j < m} pi_new / pi_old of i_j (Kuba
        et al. 2022, arXiv:2109.11251, eq. 11).
        """
        now = self.over_blocks(batch, lambda part: self.evaluate(part, turn)[0])
        return torch.where(batch.acting, now - batch.log_prob, 0.0)[:, turn.columns].sum(1)

    def value_loss(self, batch: Batch, values: Tensor) -> Tensor:
        """Error of the samples' values, over the number of `values` of the minibatch."""
        config = self.config
        past = None
        if batch.memory is not None:
            start = batch.memory.start
            past = self.value.past(batch.memory.value_hidden, start, batch.acting.view(*start.shape, -1))
        value = self.value(batch.obs, batch.state, batch.seat, past)
        huber = config.huber_delta if config.value_loss == "huber" else None
        error = losses.clipped_value_loss(value, batch.old_value, batch.target, config.value_clip, huber)
        return losses.masked_sum(error, batch.use_value) / values

    def trained(self, batch: Batch, turn: Turn | None) -> Tensor:
        """Numbers of the chunks of which a turn's passes, or those of the critic alone, learn something."""
        values = batch.use_value.any(1)
        own = values if turn is None else batch.use[:, turn.columns].any(1)
        return chunks.whole(own | values if turn is not None and turn.critic else own, self.span)

    def minibatches(self, trained: Tensor) -> list[Tensor]:
        """Index of the samples of each minibatch of a pass over some chunks; empty minibatches left out."""
        order = torch.randperm(len(trained), generator=self.shuffle).cpu().numpy()
        parts = np.array_split(order, self.config.minibatches)
        dealt = np.empty(len(order), np.min_scalar_type(len(parts)))
        for number, part in enumerate(parts):
            dealt[part] = number
        # in their order, the samples of a part are read from memory in one sweep
        grouped = torch.from_numpy(np.argsort(dealt, kind="stable")).to(trained.device)
        split = torch.split(trained[grouped], [len(part) for part in parts])
        return [chunks.samples(part, self.span) for part in split if len(part)]

    # --- targets ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, rollout: Rollout) -> Batch:
        """Targets and advantages; everything flattened to joint samples."""
        steps, seats = rollout.steps, rollout.seats
        acting = torch.cat([rollout.groups[group.name].acting for group in self.spec.groups], 2)
        ours = rollout.ours(acting)
        groups = {
            group.name: _clean(rollout.groups[group.name], own)
            for group, own in zip(self.spec.groups, self._by_group(ours), strict=True)
        }
        obs = {group.name: groups[group.name].obs for group in self.spec.groups}
        seat = torch.arange(seats).expand(steps + 1, seats)
        unrolled = self._unrolled(rollout, obs, ours) if self.value.recurrent else None
        outputs = self._outputs(obs, rollout.state, seat) if unrolled is None else unrolled.outputs
        blank = torch.zeros(steps * seats, acting.shape[2])
        batch = Batch(
            obs={name: self._flat(x[:-1]) for name, x in obs.items()},
            action_mask={
                name: None if g.action_mask is None else self._flat(g.action_mask[:-1]) for name, g in groups.items()
            },
            action={name: self._flat(g.action) for name, g in groups.items()},
            log_prob=self._flat(torch.cat([groups[group.name].log_prob for group in self.spec.groups], 2)),
            acting=self._flat(ours[:-1]),
            advantage=blank,
            use=blank.bool(),
            state=self._flat(rollout.state[:-1]),
            seat=self._flat(seat[:-1]),
            old_value=self._flat(outputs[:-1]),
            target=self._flat(outputs[:-1]),
            use_value=self._flat(outputs[:-1]).bool(),
            old={},
            memory=None if unrolled is None else self._memory(rollout, unrolled),
        )
        if self.remembers:
            batch = replace(batch, old={group.name: self._described(batch, group) for group in self.spec.groups})
        return self._aim(batch, rollout, self.value.to_raw(outputs), ours, {} if unrolled is None else unrolled.ended)

    def _unrolled(self, rollout: Rollout, obs: Mapping[str, Tensor], acting: Tensor) -> chunks.Unrolled:
        """What a recurrent critic says of a rollout's views."""
        carried = self.carried or self.value.begin(rollout.seats)
        return chunks.unroll(self.value, obs, rollout.state, acting, rollout.start, carried, self.span, rollout.finals)

    def _memory(self, rollout: Rollout, unrolled: chunks.Unrolled) -> Memory:
        """What networks carried before each chunk of a rollout; zeros where another policy sat."""
        hidden, mine = rollout.hidden, rollout.members(len(self.agents))
        if mine is not None:
            here = zip(self.spec.groups, self._by_group(mine[:: self.span]), strict=True)
            hidden = {group.name: neutral_outside(hidden[group.name], own) for group, own in here}
        return Memory(
            chunks.flat(rollout.start[:-1], self.span).view(-1, self.span),
            {name: x.flatten(0, 1) for name, x in hidden.items()},
            {name: x.flatten(0, 1) for name, x in unrolled.before.items()},
            unrolled.after,
        )

    def _aim(
        self, batch: Batch, rollout: Rollout, values: Tensor, acting: Tensor, ended: Mapping[str, Tensor]
    ) -> Batch:
        """The batch with advantages, targets, and which of its entries are trained; `acting` for the learner."""
        log_rho = self._log_rho(batch, acting)
        advantage, targets, closed, use_value = self._advantages(rollout, values, acting, log_rho, ended)
        use = acting[:-1] & closed
        if not bool(torch.isfinite(torch.where(use, advantage, 0.0)).all()):
            raise NumericalFailure("an observation, reward or value is not finite", rollout)
        self.value.adapt(targets, use_value)
        if self.config.advantage_norm in ("batch", "agent"):
            advantage = losses.normalise(advantage, use, (0, 1) if self.config.advantage_norm == "agent" else None)
        return replace(
            batch,
            advantage=self._flat(advantage),
            use=self._flat(use),
            target=self._flat(self.value.to_normalised(targets)),
            use_value=self._flat(use_value),
        )

    def _flat(self, x: Tensor) -> Tensor:
        """`[T, S, ..]` as joint samples."""
        return chunks.flat(x, self.span)

    def _by_group(self, x: Tensor) -> tuple[Tensor, ...]:
        """`[T, S, R]` as a part `[T, S, n]` for each group."""
        return torch.split(x, [self.spec.members(group) for group in self.spec.groups], 2)

    def _described(self, batch: Batch, group: AgentGroup) -> Tensor:
        def look(part: Batch) -> Tensor:
            return self.policy.describe(group, part.obs[group.name], past=self._past(part, group))

        return self.over_blocks(batch, look)

    def _log_rho(self, batch: Batch, acting: Tensor) -> Tensor | None:
        """How much likelier actions are now than for the policy that acted, `[T, S, R]`, 0 where nobody does."""
        if self.config.returns != "vtrace":
            return None
        now = self.over_blocks(batch, lambda part: self.evaluate(part)[0])
        return chunks.steps_of(torch.where(batch.acting, now - batch.log_prob, 0.0), len(acting) - 1, self.span)

    def _outputs(self, obs: dict[str, Tensor], state: Tensor, seat: Tensor) -> Tensor:
        """The value function's outputs `[.., R or 1]` for views with any leading axes."""
        flat = {name: x.flatten(0, seat.dim() - 1) for name, x in obs.items()}
        outputs = self.values(flat, state.flatten(0, seat.dim() - 1), seat.flatten())
        return outputs.view(*seat.shape, -1)

    def values(self, obs: Mapping[str, Tensor], state: Tensor, seat: Tensor) -> Tensor:
        """The value function's outputs `[B, R or 1]`."""
        outputs: Tensor = self.value(obs, state, seat)
        return outputs

    def _advantages(
        self,
        rollout: Rollout,
        values: Tensor,
        acting: Tensor,
        log_rho: Tensor | None,
        remembered: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `Clock.advantages`."""
        groups = [rollout.groups[group.name] for group in self.spec.groups]
        final = self._final_values(rollout, lives_end(groups)[1], remembered)
        return self.clock.advantages(groups, rollout, values, final, acting, log_rho)

    def _final_values(self, rollout: Rollout, truncated: Tensor, remembered: Mapping[str, Tensor]) -> Tensor:
        """Raw values `[T, S, R or 1]` of truncated lives' final views, 0 elsewhere.

        A recurrent critic has `remembered` what came before them, head -> `[F, rows, M]`.
        """
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
            if remembered:
                past = self.value.past(remembered, torch.zeros(len(cut), 1, dtype=torch.bool), cut.unsqueeze(1))
                values = self.value.to_raw(self.value(obs, finals.state, finals.seat, past))
            else:
                values = self.value.to_raw(self._outputs(obs, finals.state, finals.seat))
            keep = cut.any(1, keepdim=True) if per_seat else cut
            out[finals.step, finals.seat] = torch.where(keep, values, 0.0).to(out.dtype)
        return out

    def carry_on(self, batch: Batch) -> None:
        """After an update: what a recurrent critic carried out of the rollout, it carries into the next."""
        if batch.memory is not None:
            self.carried = batch.memory.value_after

    # --- state --------------------------------------------------------------------------------------------------------

    def state_of(self, optimiser: Adam) -> dict[str, Any]:
        """Networks (the critic and its scale are in the policy), optimiser, shuffling generator, and
        what a recurrent critic carries."""
        return {
            "policy": self.policy.state_dict(),
            "optimiser": optimiser.state_dict(),
            "shuffle": self.shuffle.get_state(),
        } | ({"carried": self.carried} if self.value.recurrent else {})

    def load_state_of(self, optimiser: Adam, state: dict[str, Any]) -> None:
        """Continue exactly where `state_of` was taken."""
        self.policy.load_state_dict(state["policy"])
        optimiser.load_state_dict(state["optimiser"])
        self.shuffle.set_state(state["shuffle"])
        self.carried = {name: torch.as_tensor(x).clone() for name, x in state.get("carried", {}).items()}


def _clean(group: GroupRollout, ours: Tensor) -> GroupRollout:
    """The group with neutral inputs where nobody acts, and neutral actions where another policy does."""
    if bool(ours.all()):
        return group
    acts = ours[:-1]
    mask = group.action_mask
    return replace(
        group,
        obs=neutral_outside(group.obs, group.acting),
        action_mask=None if mask is None else mask | ~group.acting.unsqueeze(-1),
        action=neutral_outside(group.action, acts),
        log_prob=neutral_outside(group.log_prob, acts),
    )
