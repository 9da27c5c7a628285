"""Twin soft Q functions of a team: what it expects of a view and the actions of its agents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from environments.spec import AgentGroup
from marl.distributions import head_size
from marl.networks import AgentMLP
from marl.policy_spec import PolicySpec, choices
from marl.replay_buffer import Views


def joint_actions(sizes: Sequence[int]) -> Tensor:
    """Every combination of discrete choices, each as its one-hots side by side: `[J, sum K]`."""
    columns = [torch.eye(size) for size in sizes]
    rows = itertools.product(*(range(size) for size in sizes))
    return torch.stack([torch.cat([eye[k] for eye, k in zip(columns, row, strict=True)]) for row in rows])


class TwinQ(nn.Module):
    """Two soft Q functions, by agent or by team; `R` agents of a team, `K` values of a team.

    `central`: both from the state (the team's observations side by side where there is none), which team of the kind it
    is, and what all agents do; `K` outputs, one per agent with its own reward, one for a team's. `local`: an agent's
    from its own observation and action, K = R.

    What an agent does is `[B, d]`: a Box action in normalised units, one-hots of discrete choices, zeros where it does
    not act. With `exact`, what is expected is summed over all joint actions (over the agent's own, for a local critic):
    then the probabilities of its choices stand there instead.
    """

    def __init__(
        self,
        spec: PolicySpec,
        state_size: int,
        central: bool,
        rows: int,
        hidden: tuple[int, ...],
        exact: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.spec, self.central, self.state_size, self.rows, self.exact = spec, central, state_size, rows, exact
        self.members = [group for group in spec.groups for _ in range(spec.members(group))]
        """Group of each agent."""
        flat = {group.name: math.prod(group.observation_space.shape) for group in spec.groups}
        wide = {group.name: head_size(group.action_space) for group in spec.groups}
        self.heads = nn.ModuleDict()

        def network(inputs: int, outputs: int, agents: int, parameters: str) -> AgentMLP:
            id_seen, activation = spec.agent_id, spec.activation
            return AgentMLP(inputs, hidden, outputs, agents, parameters, id_seen, activation, 1.0, generator)

        if central:
            seen = state_size or sum(flat[group.name] for group in self.members)
            seen += spec.teams if spec.teams > 1 else 0
            self.heads["central"] = network(
                seen + sum(wide[group.name] for group in self.members), rows, 2, "per_agent"
            )
        else:
            for group in spec.groups:
                inputs, agents = flat[group.name] + wide[group.name], spec.members(group)
                for twin in ("first", "second"):
                    self.heads[f"{group.name}_{twin}"] = network(inputs, 1, agents, spec.parameters)
        if exact:
            tables = {"central": self.members} if central else {group.name: [group] for group in spec.groups}
            for name, agents_of in tables.items():
                sizes = [size for group in agents_of for size in choices(group.action_space)]
                self.register_buffer(f"joint_{name}", joint_actions(sizes), persistent=False)

    def see(self, views: Views) -> dict[str, Tensor]:
        """The networks' input but for the actions: `[B, D]`, or per group `[B, n, D]`."""
        dtype = next(self.parameters()).dtype
        if not self.central:
            return {group.name: views.obs[group.name].flatten(2).to(dtype) for group in self.spec.groups}
        parts = [views.state] if self.state_size else [x.flatten(1) for x in views.obs.values()]
        if self.spec.teams > 1:
            parts.append(nn.functional.one_hot(views.seat % self.spec.teams, self.spec.teams))
        return {"central": torch.cat([x.to(dtype) for x in parts], 1)}

    def forward(self, seen: Mapping[str, Tensor], actions: Sequence[Tensor]) -> Tensor:
        """Both Q functions `[2, B, K]` of actions, one `[B, d]` per agent."""
        if self.central:
            both: Tensor = self.heads["central"](torch.cat([seen["central"], *actions], 1))
            return both.transpose(0, 1)
        values = []
        for group, rows in self._by_group(actions):
            x = torch.cat([seen[group.name], rows], 2)
            twins = [self.heads[f"{group.name}_{twin}"](x).squeeze(-1) for twin in ("first", "second")]
            values.append(torch.stack(twins))
        return torch.cat(values, 2)

    def table(self, seen: Mapping[str, Tensor], acting: Tensor) -> list[Tensor]:
        """The smaller Q of every joint action: `[B, J, K]`, or per group `[B, J, n]` of each agent's own."""
        if self.central:
            joint = self._joint("central")
            widths = [head_size(group.action_space) for group in self.members]
            acts = torch.cat([acting[:, i : i + 1].expand(-1, width) for i, width in enumerate(widths)], 1)
            x = seen["central"]
            both = torch.cat([x.unsqueeze(1).expand(-1, len(joint), -1), joint * acts.unsqueeze(1)], 2)
            q: Tensor = self.heads["central"](both.flatten(0, 1))
            return [q.amin(1).view(len(x), len(joint), self.rows)]
        tables, first = [], 0
        for group in self.spec.groups:
            joint, x = self._joint(group.name), seen[group.name]
            acts = acting[:, first : first + x.shape[1]]
            first += x.shape[1]
            shape = (x.shape[0], len(joint), *x.shape[1:])
            own = joint[None, :, None] * acts[:, None, :, None]
            both = torch.cat([x.unsqueeze(1).expand(shape), own], 3).flatten(0, 1)
            first_q, second_q = (self.heads[f"{group.name}_{twin}"](both).squeeze(-1) for twin in ("first", "second"))
            tables.append(torch.minimum(first_q, second_q).view(shape[:3]))
        return tables

    def expected(self, tables: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        """Expectation `[B, K]` of `table` under the agents' probabilities, one `[B, sum K]` each."""
        if self.central:
            weight = self._weights("central", torch.cat(list(actions), 1), self.members)
            return (weight.unsqueeze(2) * tables[0]).sum(1)
        values = []
        for (group, rows), table in zip(self._by_group(actions), tables, strict=True):
            weight = self._weights(group.name, rows.flatten(0, 1), [group]).view(*rows.shape[:2], -1)
            values.append((weight.transpose(1, 2) * table).sum(1))
        return torch.cat(values, 1)

    def smaller(self, seen: Mapping[str, Tensor], acting: Tensor, actions: Sequence[Tensor]) -> Tensor:
        """What is expected `[B, K]`: the smaller Q of the actions, or its expectation under their probabilities."""
        if self.exact:
            return self.expected(self.table(seen, acting), actions)
        both: Tensor = self(seen, actions)
        return both.amin(0)

    def _by_group(self, actions: Sequence[Tensor]) -> list[tuple[AgentGroup, Tensor]]:
        parts, first = [], 0
        for group in self.spec.groups:
            n = self.spec.members(group)
            parts.append((group, torch.stack(list(actions[first : first + n]), 1)))
            first += n
        return parts

    def _joint(self, name: str) -> Tensor:
        joint: Tensor = self.get_buffer(f"joint_{name}")
        return joint

    def _weights(self, name: str, probs: Tensor, agents: Sequence[AgentGroup]) -> Tensor:
        """Probability `[B, J]` of each joint action from those of its choices side by side."""
        sizes = [size for group in agents for size in choices(group.action_space)]
        joint = self._joint(name)
        weight = torch.ones((), dtype=probs.dtype)
        for part, chosen in zip(torch.split(probs, sizes, 1), torch.split(joint, sizes, 1), strict=True):
            weight = weight * part[:, chosen.argmax(1)]
        return weight
