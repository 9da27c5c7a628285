"""Seats: which player acts for which team of which copy, what it sees there, and where its draws come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import VectorEnv
from marl import together
from marl.acting import Actor, Hidden, PolicyStep, RecurrentActor, View, remembers
from marl.distributions import legal_box, noise_size
from marl.seeding import acting_noise


@dataclass
class Seats:
    """Who sits in the seats of one kind of team."""

    players: Sequence[Actor]
    policy_of: NDArray[np.int16]
    """`[S]` index into `players`, seats in order (copy, team); changes only where an episode ends.

    Where the members of a team may have different players, `[S, R]`: R agents of a team, all groups side by side.
    """

    @classmethod
    def all(cls, player: Actor, seats: int) -> Seats:
        """One player in every seat."""
        return cls([player], np.zeros(seats, np.int16))

    def held_by(self, number: int, views: Mapping[str, View]) -> dict[str, Tensor]:
        """Which agents of each group that player acts for, `[S, n]`."""
        widths = [view.acting.shape[1] for view in views.values()]
        held = torch.from_numpy(self.policy_of == number)
        held = held if held.dim() == 2 else held.unsqueeze(1).expand(-1, sum(widths))
        return dict(zip(views, torch.split(held, widths, 1), strict=True))


def play(
    seats: Seats,
    views: Mapping[str, View],
    noise: Mapping[str, Tensor],
    greedy: bool = False,
    hidden: Hidden | None = None,
) -> dict[str, PolicyStep]:
    """Every seat's actions, rows batched by the policy that sits there; the result does not depend on the batching.

    Policies of one build act in one pass (`together`), however many of them there are; all others are asked one by one.
    `hidden` is what `carried` made of the step before: a row of it belongs to whoever sits there, and is as wide as the
    player that remembers most. Whoever finds nothing begins with zeros.
    """
    hidden = hidden or {}
    if len(seats.players) == 1:
        return ask(seats.players[0], views, noise, greedy, hidden)
    if seats.policy_of.ndim == 2:
        return _member_by_member(seats, views, noise, greedy, hidden)
    parts: list[tuple[Tensor, dict[str, PolicyStep]]] = []
    for crew, rows, ends in together.crews(seats.players, seats.policy_of):
        own_views = {name: together.rows_of(view, rows) for name, view in views.items()}
        own_noise = {name: x[rows] for name, x in noise.items()}
        if len(crew) > 1:
            parts.append((rows, together.step(crew, ends, own_views, own_noise, greedy)))
            continue
        own_hidden = {name: x[rows] for name, x in hidden.items()}
        parts.append((rows, ask(crew[0], own_views, own_noise, greedy, own_hidden)))
    order = torch.argsort(torch.cat([rows for rows, _ in parts]))
    return {name: _joined([part[name] for _, part in parts], order) for name in views}


def _member_by_member(
    seats: Seats, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool, hidden: Hidden
) -> dict[str, PolicyStep]:
    """Teams of several players: each of them computes for the whole team and is heard for its own members."""
    team = np.arange(len(seats.policy_of))[:, None]
    asked, answer = np.unique(team * len(seats.players) + seats.policy_of, return_inverse=True)
    row, player = np.divmod(asked, len(seats.players))
    rows, answers = torch.from_numpy(row), torch.from_numpy(answer.reshape(seats.policy_of.shape))
    steps = play(
        Seats(seats.players, player.astype(np.int16)),
        {name: together.rows_of(view, rows) for name, view in views.items()},
        {name: x[rows] for name, x in noise.items()},
        greedy,
        {name: x[rows] for name, x in hidden.items()},
    )
    own = torch.split(answers, [view.acting.shape[1] for view in views.values()], 1)
    return {name: _heard(steps[name], of) for name, of in zip(views, own, strict=True)}


def _heard(step: PolicyStep, rows: Tensor) -> PolicyStep:
    """Of every agent the answer in its own row, `rows [S, n]`."""
    members = torch.arange(rows.shape[1])
    hidden = None if step.hidden is None else step.hidden[rows, members]
    return PolicyStep(step.action[rows, members], step.log_prob[rows, members], hidden)


def ask(
    player: Actor, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool, hidden: Hidden
) -> dict[str, PolicyStep]:
    """One player's actions, given as much of `hidden` as it carries itself."""
    if not remembers(player):
        return player.step(views, noise, greedy)
    return player.step(views, noise, greedy, own_part(player, hidden, {name: x.acting for name, x in views.items()}))


def own_part(player: RecurrentActor, hidden: Hidden, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As much of `hidden` as a player carries itself, zeros where there is none; `rows` of each group are `[S, n]`."""
    return {name: _wide(hidden.get(name), rows[name], width) for name, width in player.memory.items()}


def carried(steps: Mapping[str, PolicyStep]) -> dict[str, Tensor]:
    """What is to be handed to the next step; nothing where no player remembers."""
    return {name: step.hidden for name, step in steps.items() if step.hidden is not None}


def forgotten(hidden: Hidden, kind: TeamKind, over: NDArray[np.bool_]) -> dict[str, Tensor]:
    """What is carried on after a step in which episodes ended, `over [E]`: zeros in those copies."""
    if not hidden or not over.any():
        return dict(hidden)
    rows = torch.from_numpy(np.repeat(over, kind.teams)).view(-1, 1, 1)
    return {name: torch.where(rows, torch.zeros((), dtype=x.dtype), x) for name, x in hidden.items()}


def _joined(steps: Sequence[PolicyStep], order: Tensor) -> PolicyStep:
    """Several players' rows as one, in order."""
    action, log_prob = (torch.cat([step[i] for step in steps])[order] for i in range(2))  # type: ignore[misc]
    widest = max(0 if step.hidden is None else step.hidden.shape[-1] for step in steps)
    if widest == 0:
        return PolicyStep(action, log_prob)
    return PolicyStep(action, log_prob, torch.cat([_wide(s.hidden, s.log_prob, widest) for s in steps])[order])


def _wide(hidden: Tensor | None, rows: Tensor, width: int) -> Tensor:
    """What is carried as `[S, n, width]`, `[S, n]` being the shape of `rows`: cut, or zeros behind it."""
    if hidden is None:
        return torch.zeros(*rows.shape, width)
    missing = width - hidden.shape[-1]
    return torch.nn.functional.pad(hidden, (0, missing)) if missing > 0 else hidden[..., :width]


def seat_view(group: AgentGroup, kind: TeamKind, obs: np.ndarray, action_mask: np.ndarray, acting: np.ndarray) -> View:
    """A group's arrays `[E, m*n, ..]` as its seats see them, `[E*m, n, ..]`, without a copy."""
    rows, legal, acts = (by_seat(torch.from_numpy(x), kind, 0) for x in (obs, action_mask, acting))
    return View(rows, legal if group.masked else None, acts)


@dataclass(frozen=True)
class NoiseSource:
    """Where a group's acting noise comes from."""

    agents: NDArray[np.int64]  # [N] places in `spec.agents`
    draws: int

    @classmethod
    def of(cls, spec: EnvSpec, group: AgentGroup) -> NoiseSource:
        """The source of a group."""
        return cls(np.array(spec.agent_indices(group), np.int64), noise_size(group.action_space))

    def draw(self, env: VectorEnv, kind: TeamKind, key: int) -> Tensor:
        """Acting noise `[S, n, draws]` for the environment's present step."""
        noise = acting_noise(key, env.episode_seed, env.episode_step, self.agents, self.draws)
        return by_seat(torch.from_numpy(noise), kind, 0)


def critic_states(kind: TeamKind, state: np.ndarray, own: Mapping[str, np.ndarray], axis: int) -> Tensor:
    """What critics of a whole team are shown besides observations, `[.., E*m, D]`, D being `EnvSpec.critic_size`.

    That is the state `[.., E, S]` that all share (EP in the literature), then the team's agents' own views of it (FP),
    group -> `[.., E, N, S']` of `acting_only`, side by side; `axis` is E's place.
    """
    shared = torch.from_numpy(state)
    parts = [shared if kind.teams == 1 else shared.repeat_interleave(kind.teams, axis)]
    views = (own[name] for name in kind.groups if name in own)
    parts += [by_seat(torch.from_numpy(view), kind, axis).flatten(axis + 1) for view in views if view.shape[-1]]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def acting_only(own: np.ndarray, acting: np.ndarray) -> np.ndarray:
    """Agents' own views of the state `[.., N, S']`, zeros for those who do not act, whatever stands there."""
    return np.where(acting[..., None], own, np.float32(0.0))


def legal_action(group: AgentGroup, action: np.ndarray) -> np.ndarray:
    """What the environment is given: Box actions clipped to their bounds, others as they are."""
    return legal_box(group.action_space, action) if isinstance(group.action_space, spaces.Box) else action


def by_seat(x: Tensor, kind: TeamKind, axis: int) -> Tensor:
    """`[.., E, m*n, ..] -> [.., E*m, n, ..]` without a copy, `axis` being E's place."""
    if kind.teams == 1:
        return x
    copies, agents = x.shape[axis], x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], copies * kind.teams, agents // kind.teams, *x.shape[axis + 2 :])
