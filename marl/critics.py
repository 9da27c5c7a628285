"""Q functions of a team: what it expects of a view and the actions of its agents."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from environments.spec import AgentGroup
from marl.critic_networks import DroQ, Simba, Stacked
from marl.distributions import head_size
from marl.encoders import Encoders
from marl.networks import AgentMLP, in_blocks, layered
from marl.policy_spec import PolicySpec, choices
from marl.replay_buffer import Views


def joint_actions(sizes: Sequence[int]) -> Tensor:
    """Every combination of discrete choices, each as its one-hots side by side: `[J, sum K]`."""
    rows = itertools.product(*(np.eye(size, dtype=np.float32) for size in sizes))
    return torch.from_numpy(np.stack([np.concatenate(row) for row in rows]))


def joint_weights(probs: Tensor, joint: Tensor, agents: Sequence[AgentGroup]) -> Tensor:
    """Probability `[B, J]` of each joint action, from those of its choices side by side `[B, sum K]`."""
    sizes = [size for group in agents for size in choices(group.action_space)]
    weight = torch.ones((), dtype=probs.dtype)
    for part, chosen in zip(torch.split(probs, sizes, 1), torch.split(joint, sizes, 1), strict=True):
        weight = weight * part[:, chosen.argmax(1)]
    return weight


def whole_view(spec: PolicySpec, state_size: int, encoders: Encoders, views: Views, dtype: torch.dtype) -> Tensor:
    """What is seen centrally `[B, D]`: the state (the team's observations side by side where there is none), and which
    team of its kind it is where there are several."""
    parts = [views.state] if state_size else encoders.side_by_side(views.obs, dtype)
    if spec.teams > 1:
        parts.append(nn.functional.one_hot(views.seat % spec.teams, spec.teams))
    return torch.cat([x.to(dtype) for x in parts], 1)


def whole_size(spec: PolicySpec, state_size: int, encoders: Encoders) -> int:
    """D of `whole_view`."""
    return (state_size or encoders.whole(spec)) + (spec.teams if spec.teams > 1 else 0)


class TwinQ(nn.Module):
    """Two Q functions (or as many as `functions`), by agent or by team; `R` agents of a team, `K` values of a team.

    `central`: all from the state (the team's observations side by side where there is none), which team of the kind it
    is, and what all agents do; `K` outputs, one per agent with its own reward, one for a team's. `local`: an agent's
    from its own observation and action, K = R.

    What an agent does is `[B, d]`: a Box action in normalised units, one-hots of discrete choices, zeros where it does
    not act. What is expected is the smallest of the functions. With `summed`, it is summed over all joint actions (over
    the agent's own, for a local critic; of Box actions none): then an agent's probabilities stand there instead.
    """

    def __init__(
        self,
        spec: PolicySpec,
        state_size: int,
        central: bool,
        rows: int,
        hidden: tuple[int, ...],
        summed: bool,
        generator: torch.Generator,
        functions: int = 2,
        kind: str = "plain",
        dropout: float = 0.0,
    ) -> None:
        """`kind` of network, and DroQ's `dropout`: as `ActorCriticConfig.critic_network` says."""
        super().__init__()
        self.spec, self.central, self.state_size, self.rows = spec, central, state_size, rows
        self.names = ("first", "second")[:functions]
        self.members = [group for group in spec.groups for _ in range(spec.members(group))]
        """Group of each agent."""
        self.encoders = Encoders(
            spec, "shared" if central else spec.parameters, generator, not (central and state_size)
        )
        wide = {group.name: head_size(group.action_space) for group in spec.groups}
        self.heads = nn.ModuleDict()

        def network(inputs: int, outputs: int, agents: int, parameters: str) -> AgentMLP | Stacked:
            shape = inputs, hidden, outputs, agents, parameters, spec.agent_id
            if kind == "droq":
                return DroQ(*shape, dropout, generator)
            if kind == "simba":
                return Simba(*shape, generator)
            return AgentMLP(*shape, spec.activation, 1.0, generator)

        if central:
            seen = whole_size(spec, state_size, self.encoders)
            self.heads["central"] = network(
                seen + sum(wide[group.name] for group in self.members), rows, functions, "per_agent"
            )
        else:
            for group in spec.groups:
                inputs, agents = self.encoders.sizes[group.name] + wide[group.name], spec.members(group)
                for name in self.names:
                    self.heads[f"{group.name}_{name}"] = network(inputs, 1, agents, spec.parameters)
        self.summed = {group.name for group in spec.groups if summed and choices(group.action_space)}
        """Groups of whose agents the probabilities are taken."""
        for group in spec.groups:
            if choices(group.action_space):
                own = joint_actions(choices(group.action_space))
                self.register_buffer(f"joint_{group.name}", own, persistent=False)
        if central and summed:
            sizes = [size for group in self.members for size in choices(group.action_space)]
            self.register_buffer("joint_central", joint_actions(sizes), persistent=False)

    def draw_from(self, noise: torch.Generator | None) -> None:
        """Let a generator decide what dropout leaves out, or leave nothing out."""
        for head in self.heads.values():
            if isinstance(head, DroQ):
                head.noise = noise

    def project(self) -> None:
        """After a step: bring the parameters back to where they belong."""
        for head in self.heads.values():
            if isinstance(head, Simba):
                head.project()

    def see(self, views: Views) -> dict[str, Tensor]:
        """The networks' input but for the actions: `[B, D]`, or per group `[B, n, D]`."""
        dtype = next(self.parameters()).dtype
        if not self.central:
            return {g.name: self.encoders.fed(g.name, views.obs[g.name], dtype) for g in self.spec.groups}
        return {"central": whole_view(self.spec, self.state_size, self.encoders, views, dtype)}

    def forward(self, seen: Mapping[str, Tensor], actions: Sequence[Tensor], fixed: bool = False) -> Tensor:
        """All `F` functions `[F, B, K]` of actions, one `[B, d]` per agent; `fixed`: parameters need no gradient."""
        if self.central:
            x = torch.cat([seen["central"], *actions], 1)
            return _outputs(self.heads["central"], x, fixed).transpose(0, 1)
        rows = [self._local(group, torch.cat([seen[group.name], x], 2), fixed) for group, x in self._by_group(actions)]
        return torch.cat(rows, 2)

    @torch.no_grad()
    def begun(self, seen: Mapping[str, Tensor], functions: int | None = None) -> Tensor | None:
        """What the view adds to the first products of a central critic of plain networks, `[F, B, H]`; of others none.

        It is the same whatever the agents do: `beside` goes on from it. Of the first `functions` alone, if given.
        """
        head = self.heads["central"] if self.central else None
        if not isinstance(head, AgentMLP):
            return None
        x = seen["central"]
        weight, bias = head.weights[0][:functions, : x.shape[1]], head.biases[0][:functions]
        engine = head.engine_for(x)
        if engine is not None:
            return engine(x, [weight], [bias], head.activation)
        return torch.baddbmm(bias.unsqueeze(1), x.expand(len(weight), *x.shape), weight)

    def beside(self, begun: Tensor, agent: int, actions: Sequence[Tensor]) -> Tensor:
        """The functions `[F, B, K]` that were begun, as `forward`; of the actions only one agent's has a gradient."""
        head = self.heads["central"]
        assert isinstance(head, AgentMLP)
        functions, own = len(begun), actions[agent]
        weights, biases = ([y[:functions] for y in z] for z in (head.weights, head.biases))
        start, width = (sum(x.shape[1] for x in part) for part in (actions[:agent], actions))
        weight = weights[0][:, -width:]
        engine = head.engine_for(begun, own)
        if engine is not None:
            x = torch.cat([y.detach() for y in actions], 1)
            return engine(x, [weight, *weights[1:]], [begun, *biases[1:]], head.activation, own, start)
        end = start + own.shape[1]
        with torch.no_grad():
            others = torch.cat([*actions[:agent], *actions[agent + 1 :], own[:, :0]], 1)
            wide = torch.cat([weight[:, :start], weight[:, end:]], 1)
            given = torch.baddbmm(begun, others.expand(functions, *others.shape), wide)
        first = torch.baddbmm(given, own.expand(functions, *own.shape), weight[:, start:end])
        return head.onwards(first, weights, biases).transpose(0, 1)

    def first(self, seen: Mapping[str, Tensor], actions: Sequence[Tensor]) -> Tensor:
        """The first of the functions alone, `[B, K]`; parameters need no gradient."""
        if self.central:
            head, x = self.heads["central"], torch.cat([seen["central"], *actions], 1)
            if not isinstance(head, AgentMLP):
                all_of_them: Tensor = head(x)
                return all_of_them[:, 0]
            return layered(x, [part[0] for part in (*head.weights, *head.biases)], head.activation, head.engine)
        rows = [(group, torch.cat([seen[group.name], x], 2)) for group, x in self._by_group(actions)]
        return torch.cat([_outputs(self.heads[f"{group.name}_first"], x, True).squeeze(-1) for group, x in rows], 1)

    def smaller(self, seen: Mapping[str, Tensor], acting: Tensor, actions: Sequence[Tensor]) -> Tensor:
        """What is expected `[B, K]` of the actions, or of their probabilities where they are summed over."""
        if not self.summed:
            both: Tensor = self(seen, actions)
            return both.amin(0)
        return self.expected(self.tables(seen, acting), seen, actions)

    def tables(self, seen: Mapping[str, Tensor], acting: Tensor) -> dict[str, Tensor]:
        """The smaller Q of every joint action `[B, J, K]`, or for summed groups of each agent's own `[B, J, n]`."""
        if not self.summed:
            return {}
        if self.central:
            joint: Tensor = self.get_buffer("joint_central")
            widths = [head_size(group.action_space) for group in self.members]
            acts = torch.cat([acting[:, i : i + 1].expand(-1, width) for i, width in enumerate(widths)], 1)
            does = joint * acts.unsqueeze(1)
            return {"central": self._each(seen["central"], seen["central"].shape[1], does)}
        tables, first = {}, 0
        for group in self.spec.groups:
            x, last = seen[group.name], first + self.spec.members(group)
            if group.name in self.summed:
                own: Tensor = self.get_buffer(f"joint_{group.name}")
                does = own[None, :, None] * acting[:, None, first:last, None]
                tables[group.name] = self._each_own(group, x, does)
            first = last
        return tables

    def expected(self, tables: Mapping[str, Tensor], seen: Mapping[str, Tensor], actions: Sequence[Tensor]) -> Tensor:
        """`smaller`, from tables made before."""
        if self.central:
            weight = joint_weights(torch.cat(list(actions), 1), self.get_buffer("joint_central"), self.members)
            return (weight.unsqueeze(2) * tables["central"]).sum(1)
        values = []
        for group, rows in self._by_group(actions):
            if group.name in tables:
                joint = self.get_buffer(f"joint_{group.name}")
                weight = joint_weights(rows.flatten(0, 1), joint, [group]).view(*rows.shape[:2], -1)
                values.append((weight.transpose(1, 2) * tables[group.name]).sum(1))
            else:
                values.append(self._local(group, torch.cat([seen[group.name], rows], 2)).amin(0))
        return torch.cat(values, 1)

    def own(self, agent: int, seen: Mapping[str, Tensor], acts: Tensor, actions: Sequence[Tensor]) -> Tensor:
        """The smaller Q `[B, J, K]` of each own action of one agent, the others' given; `acts [B]`: it acts at all."""
        joint: Tensor = self.get_buffer(f"joint_{self.members[agent].name}")
        before = seen["central"].shape[1] + sum(x.shape[1] for x in actions[:agent])
        blank = actions[agent].new_zeros(()).expand(actions[agent].shape)
        given = torch.cat([seen["central"], *actions[:agent], blank, *actions[agent + 1 :]], 1)
        return self._each(given, before, joint * acts[:, None, None])

    def _each(self, given: Tensor, at: int, does: Tensor) -> Tensor:
        """The smaller Q `[B, J, K]` of inputs `given [B, D]` with each of `does [B, J, d]` in columns from `at` on."""
        head, count = self.heads["central"], does.shape[1]
        engine = head.engine_for(given, does) if isinstance(head, AgentMLP) else None
        if isinstance(head, AgentMLP) and engine is not None:
            both: Tensor = head.branches(engine, given, does, at)
            return both.amin(2)
        parts = [x.unsqueeze(1).expand(-1, count, -1) for x in (given[:, :at], given[:, at + does.shape[2] :])]
        whole = torch.cat([parts[0], does, parts[1]], 2)
        return in_blocks(head, whole.flatten(0, 1)).amin(1).view(len(whole), count, self.rows)

    def _each_own(self, group: AgentGroup, given: Tensor, does: Tensor) -> Tensor:
        """The smaller Q `[B, J, n]` of what a group's agents see `[B, n, D]` and each of their `does [B, J, n, d]`."""
        heads, found = [self.heads[f"{group.name}_{name}"] for name in self.names], []
        for head in heads:
            engine = head.engine_for(given, does) if isinstance(head, AgentMLP) else None
            if isinstance(head, AgentMLP) and engine is not None:
                found.append(head.branches(engine, given, does, given.shape[2]))
            else:
                both = torch.cat([given.unsqueeze(1).expand(-1, does.shape[1], -1, -1), does], 3)
                found.append(in_blocks(head, both.flatten(0, 1)).view(*does.shape[:3], 1))
        return torch.stack(found).amin(0).squeeze(3)

    def _local(self, group: AgentGroup, x: Tensor, fixed: bool = False) -> Tensor:
        """All functions `[F, B, n]` of a group's agents; `fixed` as in `forward`."""
        heads = [self.heads[f"{group.name}_{name}"] for name in self.names]
        return torch.stack([_outputs(head, x, fixed).squeeze(-1) for head in heads])

    def _by_group(self, actions: Sequence[Tensor]) -> list[tuple[AgentGroup, Tensor]]:
        parts, first = [], 0
        for group in self.spec.groups:
            n = self.spec.members(group)
            parts.append((group, torch.stack(list(actions[first : first + n]), 1)))
            first += n
        return parts


def _outputs(head: nn.Module, x: Tensor, fixed: bool) -> Tensor:
    """`head(x)`; `fixed`: parameters need no gradient."""
    return head.fixed(x) if fixed and isinstance(head, AgentMLP) else in_blocks(head, x)
