"""Players that act together: policies of one build in one compiled pass over all their rows, whoever sits where.

Asking every member of a population by itself costs a call for each of them at every step; together they cost one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marl.acting import Actor, PolicyStep, View
from marl.erring import Erring, err, mixed
from marl.policy import NO_NOISE, Policy

Crew = tuple[list[Actor], Tensor, NDArray[np.int64]]
"""Players; the rows that are theirs, one player's after the other's; `ends[p]`, where those of player p end."""


def crews(players: Sequence[Actor], policy_of: NDArray[np.int16]) -> Iterator[Crew]:
    """The players who sit somewhere, `policy_of [S]` being their numbers: those of one build together, others alone."""
    numbers, counts = np.unique(policy_of, return_counts=True)
    rows = np.split(np.argsort(policy_of, kind="stable"), np.cumsum(counts)[:-1])
    found: dict[str, list[int]] = {}
    for place, number in enumerate(numbers.tolist()):
        policy = _policy(players[number])
        together = policy is not None and policy.acts_compiled
        found.setdefault(policy.spec.build if policy is not None and together else str(number), []).append(place)
    for places in found.values():
        crew = [players[numbers[place]] for place in places]
        yield crew, torch.from_numpy(np.concatenate([rows[place] for place in places])), np.cumsum(counts[places])


def step(
    crew: Sequence[Actor],
    ends: NDArray[np.int64],
    views: Mapping[str, View],
    noise: Mapping[str, Tensor],
    greedy: bool = False,
) -> dict[str, PolicyStep]:
    """Actions of a crew's rows: bit for bit what each of them does alone."""
    policies = [policy for player in crew if (policy := _policy(player)) is not None]
    chances = [player.errors if isinstance(player, Erring) else 0.0 for player in crew]
    chance = np.repeat(np.array(chances, np.float32), np.diff(ends, prepend=0))
    may_err = torch.from_numpy(np.flatnonzero(chance))
    if not len(may_err):
        return _step(policies, ends, views, noise, greedy)
    errs, fresh = err({name: x[may_err] for name, x in noise.items()}, torch.from_numpy(chance)[may_err, None])
    left = {name: x.index_copy(0, may_err, fresh[name]) for name, x in noise.items()}
    own = _step(policies, ends, views, left, greedy)
    random = next(player.random for player in crew if isinstance(player, Erring))
    other = random.step({name: rows_of(view, may_err) for name, view in views.items()}, fresh)
    return {name: _replaced(own[name], may_err, other[name], errs[name]) for name in own}


def rows_of(view: View, rows: Tensor) -> View:
    """Some seats of a view."""
    mask = None if view.action_mask is None else view.action_mask[rows]
    return View(view.obs[rows], mask, view.acting[rows])


@torch.inference_mode()
def _step(
    policies: Sequence[Policy],
    ends: NDArray[np.int64],
    views: Mapping[str, View],
    noise: Mapping[str, Tensor],
    greedy: bool,
) -> dict[str, PolicyStep]:
    first = policies[0]
    draws = {group.name: NO_NOISE if greedy else noise[group.name] for group in first.spec.groups}
    return {g.name: first.step_each(g, policies, ends, views[g.name], draws[g.name]) for g in first.spec.groups}


def _replaced(step: PolicyStep, rows: Tensor, other: PolicyStep, use_other: Tensor) -> PolicyStep:
    """The step with the other's actions at those of its rows where they are to be used."""
    part = mixed(PolicyStep(step.action[rows], step.log_prob[rows]), other, use_other)
    return PolicyStep(step.action.index_copy(0, rows, part.action), step.log_prob.index_copy(0, rows, part.log_prob))


def _policy(player: Actor) -> Policy | None:
    """The policy by which a player acts, where it is one."""
    acts = player.policy if isinstance(player, Erring) else player
    return acts if isinstance(acts, Policy) else None
