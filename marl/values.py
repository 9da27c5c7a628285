"""Value functions: what a kind of team expects, from its agents' own views or from the global state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marl.encoders import Encoders
from marl.networks import AgentMLP
from marl.policy_spec import PolicySpec
from marl.recurrent import Past, RecurrentAgents, network

VALUE_GAIN = 1.0
FORGET = 0.8
"""Weight that each update of the running moments keeps of the past: they follow a few rollouts."""
SMALLEST_DEVIATION = 1e-5


class ValueNorm(nn.Module):
    """Running mean and deviation of value targets, debiased, one scale for a whole kind of team.

    mean_k = FORGET mean_{k-1} + (1 - FORGET) x_k, likewise for squares, both divided by 1 - FORGET^k. Networks predict
    normalised values, so what they have learnt of *differences* between states survives a moving offset: with gamma
    near 1 and time limits that bootstrap, values sink far below where they start, and a network that had to learn that
    offset state by state would praise the states that it has not yet seen.
    """

    def __init__(self, forget: float = FORGET) -> None:
        super().__init__()
        self.forget = forget
        for name in ("first", "second", "weight"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and deviation; both 0 before the first update: nothing is known, every value is 0."""
        weight = float(self.get_buffer("weight"))
        if weight == 0.0:
            return 0.0, 0.0
        mean = float(self.get_buffer("first")) / weight
        variance = float(self.get_buffer("second")) / weight - mean * mean
        return mean, max(variance, SMALLEST_DEVIATION**2) ** 0.5

    @torch.no_grad()
    def update(self, targets: Tensor, use: Tensor) -> None:
        """Take in raw targets, those where `use`; no effect where there are none."""
        count = int(use.sum())
        if count == 0:
            return
        kept = torch.where(use, targets, 0.0).double()
        one = torch.ones((), dtype=torch.float64)  # in float32 its share would be rounded, and the variance lost to it
        news = {"first": kept.sum() / count, "second": kept.square().sum() / count, "weight": one}
        for name, new in news.items():
            self.get_buffer(name).mul_(self.forget).add_((1 - self.forget) * new)


@dataclass(frozen=True)
class CriticShape:
    """How a value function is built, besides the policy spec."""

    state_size: int
    """Width of the global state, 0 where there is none."""
    central: bool
    per_seat: bool
    """One value for the whole team instead of one per agent (central critics under team reward)."""
    hidden: tuple[int, ...]
    normalise: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CriticShape:
        """TypeError or KeyError where the data is not what `to_json` writes."""
        return cls(**{**data, "hidden": tuple(data["hidden"])})


class ValueFunction(nn.Module):
    """V of a kind of team, in normalised units; `R` value rows per seat.

    `local`: each agent's value from its own observation, R = agents of the team. `central`: from the global state (the
    team's observations side by side where there is none) and the one-hot of the agent (of the seat, with several teams
    of the kind); with `per_seat` one value for the whole team, R = 1.
    """

    def __init__(self, spec: PolicySpec, shape: CriticShape, generator: torch.Generator) -> None:
        super().__init__()
        self.shape, self.teams = shape, spec.teams
        self.norm = ValueNorm() if shape.normalise else None
        members = {group.name: spec.members(group) for group in spec.groups}
        self.encoders = Encoders(
            spec, "shared" if shape.central else spec.parameters, generator, not (shape.central and shape.state_size)
        )
        self.heads = nn.ModuleDict()
        if shape.central:
            seen = shape.state_size or self.encoders.whole(spec)
            seen += spec.teams if spec.teams > 1 else 0
            rows = 1 if shape.per_seat else sum(members.values())
            self.heads["central"] = self._network(spec, seen, rows, "shared", True, generator)
        else:
            for name, size in self.encoders.sizes.items():
                self.heads[name] = self._network(spec, size, members[name], spec.parameters, spec.agent_id, generator)

    def _network(
        self, spec: PolicySpec, inputs: int, rows: int, parameters: str, agent_id: bool, generator: torch.Generator
    ) -> AgentMLP | RecurrentAgents:
        hidden = self.shape.hidden
        return network(spec, inputs, hidden, 1, rows, parameters, agent_id, VALUE_GAIN, generator)

    def forward(
        self,
        obs: Mapping[str, Tensor],
        state: Tensor,
        seat: Tensor | None = None,
        past: Mapping[str, Past] | None = None,
    ) -> Tensor:
        """Normalised values `[B, R]` from `obs` group -> `[B, n, *shape]`, `state [B, S']` and seat numbers `[B]`.

        Recurrent ones need to know each head's `past`.
        """
        return self.remembering(obs, state, seat, past)[0]

    def remembering(
        self, obs: Mapping[str, Tensor], state: Tensor, seat: Tensor | None, past: Mapping[str, Past] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, and what each recurrent head carries on after the last step, `[C, rows, M]`."""
        inputs, values, hidden = self.inputs(obs, state, seat), [], {}
        for name, head in self.heads.items():
            if isinstance(head, RecurrentAgents):
                assert past is not None, "a recurrent critic needs to know the past"
                value, after = head(inputs[name], past[name])
                hidden[name] = after[:, -1]
            else:
                value = head(inputs[name])
            values.append(value.squeeze(-1))
        return torch.cat(values, 1), hidden

    @property
    def recurrent(self) -> bool:
        """Whether values depend on what was seen before."""
        return any(isinstance(head, RecurrentAgents) for head in self.heads.values())

    def begin(self, seats: int) -> dict[str, Tensor]:
        """What recurrent heads carry where an episode begins: head -> `[S, rows, M]`, zeros."""
        heads = ((name, head) for name, head in self.heads.items() if isinstance(head, RecurrentAgents))
        return {name: torch.zeros(seats, head.agents, head.memory) for name, head in heads}

    def past(self, hidden: Mapping[str, Tensor], start: Tensor, acting: Tensor) -> dict[str, Past]:
        """Each head's past from `hidden` head -> `[C, rows, M]`, `start [C, L]` and who acts, `[C, L, R]`.

        A team's one value moves on where any of its agents acts.
        """
        if self.shape.central:
            acts = acting.any(-1, keepdim=True) if self.shape.per_seat else acting
            return {"central": Past(hidden["central"], start, acts)}
        parts = torch.split(acting, [hidden[name].shape[1] for name in self.heads], -1)
        return {name: Past(hidden[name], start, part) for name, part in zip(self.heads, parts, strict=True)}

    def inputs(self, obs: Mapping[str, Tensor], state: Tensor, seat: Tensor | None = None) -> dict[str, Tensor]:
        """What each of the `heads` sees: `[B, n, D]`, or `[B, D]` for a central critic."""
        dtype = next(self.heads.parameters()).dtype
        if not self.shape.central:
            return {name: self.encoders.fed(name, obs[name], dtype) for name in self.heads}
        seen = state if self.shape.state_size else torch.cat(self.encoders.side_by_side(obs, dtype), 1)
        if self.teams > 1:
            assert seat is not None, "a central critic of several teams needs to know the seat"
            seen = torch.cat([seen, nn.functional.one_hot(seat % self.teams, self.teams).to(seen.dtype)], 1)
        return {"central": seen}

    def to_raw(self, values: Tensor) -> Tensor:
        """Normalised values in reward units."""
        if self.norm is None:
            return values
        mean, deviation = self.norm.moments
        return values * deviation + mean

    def to_normalised(self, values: Tensor) -> Tensor:
        """Values in reward units, normalised."""
        if self.norm is None:
            return values
        mean, deviation = self.norm.moments
        return (values - mean) / deviation

    def adapt(self, targets: Tensor, use: Tensor) -> None:
        """Take raw targets into the running scale; what the networks output stays as it is."""
        if self.norm is not None:
            self.norm.update(targets, use)
