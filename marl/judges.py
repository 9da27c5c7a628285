"""What learners from a replay buffer expect of a policy's play, to be shown in replays: never used to act.

In reward units, of the team's likeliest legal actions (a deterministic policy's only ones, the best for one that knows
values): the smaller Q of the joint action, entropy to come included where the learner is soft; or the agents' values,
mixed where the learner mixes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from marl.critics import TwinQ
from marl.mixers import Monotone, Sum
from marl.policy_spec import PolicySpec, choices
from marl.replay_buffer import Views
from marl.values import ValueNorm

if TYPE_CHECKING:
    from marl.acting import View
    from marl.policy import Policy


@dataclass(frozen=True)
class Judge:
    """A learner's critics or mixer, with the scale of its values."""

    shape: Mapping[str, Any]
    """How the parts are built, as plain data."""
    parts: nn.ModuleDict
    """`q`, or `mixer` where there is one, and `norm` where values are normalised."""

    @classmethod
    def build(cls, spec: PolicySpec, shape: Mapping[str, Any]) -> Judge:
        """One of that shape, to be filled. KeyError or TypeError where the shape is none."""
        generator, parts = torch.Generator(), nn.ModuleDict()
        if shape["of"] == "actions":
            place = shape["state_size"], shape["central"], shape["rows"], tuple(shape["hidden"])
            parts["q"] = TwinQ(spec, *place, False, generator, shape["functions"], shape["network"])
        elif shape["mixer"] == "monotone":
            parts["mixer"] = Monotone(spec, shape["state_size"], shape["width"], tuple(shape["hidden"]), generator)
        elif shape["mixer"] == "sum":
            parts["mixer"] = Sum()
        if shape["norm"]:
            parts["norm"] = ValueNorm()
        return cls(shape, parts)

    def __deepcopy__(self, memo: object) -> Judge:
        """A policy's copy is judged by the same."""
        return self

    def expects(
        self, policy: Policy, shown: Mapping[str, View], state: Tensor, hidden: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Values `[S, R or 1]` in reward units of views of all seats, in their order; `hidden` is what a recurrent
        policy is handed there."""
        groups = policy.spec.groups
        acting = torch.cat([shown[group.name].acting for group in groups], 1)
        obs = {group.name: shown[group.name].obs for group in groups}
        masks = {group.name: shown[group.name].action_mask for group in groups}
        views = Views(obs, masks, acting, state, torch.arange(len(state)))
        outputs = {g.name: policy.look(g, shown[g.name], hidden)[0] for g in groups}
        best = {g.name: policy.head(g, outputs[g.name], masks[g.name]).mode() for g in groups}
        if self.shape["of"] == "actions":
            q = self.parts["q"]
            assert isinstance(q, TwinQ)
            values: Tensor = q(q.see(views), taken(policy, best, acting, torch.float32)).amin(0)
        else:
            values = values_of(policy.spec, outputs, acting, best)
            values = self.parts["mixer"](values, views) if "mixer" in self.parts else values
        if "norm" not in self.parts:
            return values
        norm = self.parts["norm"]
        assert isinstance(norm, ValueNorm)
        mean, deviation = norm.moments
        return values * deviation + mean


def tensors_of(policy: Policy) -> dict[str, Tensor]:
    """What a policy's file holds, by name."""
    judge = {} if policy.judge is None else policy.judge.parts.state_dict()
    return policy.state_dict() | {f"judge.{name}": tensor for name, tensor in judge.items()}


def taken(policy: Policy, actions: Mapping[str, Tensor], acting: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Actions of groups, `[B, n]` or `[B, n, d]`, as `TwinQ` takes them: one `[B, d]` per agent."""
    found = []
    for group in policy.spec.groups:
        action, sizes = actions[group.name], choices(group.action_space)
        if sizes:
            columns = action.long().unbind(-1) if len(sizes) > 1 or action.dim() == 3 else [action.long()]
            hots = [nn.functional.one_hot(x, size) for x, size in zip(columns, sizes, strict=True)]
            value = torch.cat(hots, -1).to(dtype)
        else:
            centre, half = (policy.get_buffer(f"{name}_{group.name}") for name in ("centre", "half"))
            value = ((action - centre) / half).to(dtype)
        found.append(value)
    rows = [x for value in found for x in value.unbind(1)]
    return [x * acting[:, i : i + 1] for i, x in enumerate(rows)]


def values_of(spec: PolicySpec, outputs: Mapping[str, Tensor], acting: Tensor, actions: Mapping[str, Tensor]) -> Tensor:
    """What the agents' own actions are worth, `[B, R]`, by the values of all of them, group -> `[B, n, sum K]`: 0 where
    they do not act."""
    rows = []
    for group in spec.groups:
        values, sizes = outputs[group.name], choices(group.action_space)
        action = actions[group.name].long().view(*values.shape[:2], len(sizes))
        parts = zip(torch.split(values, list(sizes), 2), action.unbind(2), strict=True)
        rows.append(torch.cat([part.gather(2, chosen.unsqueeze(2)) for part, chosen in parts], 2).sum(2))
    return torch.where(acting, torch.cat(rows, 1), 0.0)
