"""What all matrix games share: options, description, records, and the rules themselves.

The rules are those of one table: everybody acts at once, everybody is paid what the table says, nothing else changes.
A game's file adds its page, its options and what it counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.games.matrix import payoffs
from environments.native import Game, options_of
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
ZERO, ONE = F(0.0), F(1.0)
NONE = -1  # no action yet
STEP_SECONDS = 0.4

Counts = Mapping[str, tuple[str, Array]]
"""Metric -> its unit, and how much of it each joint action is `[K_0, ..., K_{N-1}]`; an episode's mean over steps."""


@dataclass(frozen=True, kw_only=True)
class MatrixOptions:
    """Options that all matrix games have."""

    max_cycles: int = 25
    """Steps of an episode, 1 to 1,000,000. With 1 it is the one-shot game, which its only step ends."""
    memory: bool = False
    """Let agents (and the global state) see the last joint action; otherwise there is nothing to see."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_cycles <= 1_000_000:
            raise ValueError(f"max_cycles must be a whole number from 1 to 1000000, not {self.max_cycles!r}")


def check_size(name: str, value: float) -> None:
    """ValueError unless the number is from 0 to the greatest payoff (so NaN is refused)."""
    if not 0 <= value <= payoffs.MOST:
        raise ValueError(f"{name} must be from 0 to {payoffs.MOST:g}, not {value!r}")


@kernel
def reset_one(state, params, clock):
    """Nobody has acted yet."""
    for i in range(state.last.shape[0]):
        state.last[i] = NONE


@kernel
def step_one(state, params, clock, actions, out, e):
    """Look up what the joint action pays. Numbers that are no action count as the nearest one."""
    joint = 0
    agent = 0
    for g in range(len(actions)):
        for n in range(actions[g].shape[1]):
            taken = min(max(actions[g][e, n], 0), params.actions[agent] - 1)
            state.last[agent] = taken
            joint = joint * params.actions[agent] + taken
            agent += 1
    agent = 0
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            group.reward[e, n] = params.payoff[agent, joint]
            group.terminated[e, n] = params.one_shot != 0
            agent += 1
    for m in range(out.metrics.shape[1]):
        out.metrics[e, m] = params.counts[m, joint]


@kernel
def observe_one(state, params, clock, out, e):
    """Nothing, as one zero; or everybody's last action, one after the other, the taken one 1 and the others 0."""
    out.state[e, 0] = ZERO
    if params.memory:
        column = 0
        for i in range(state.last.shape[0]):
            for k in range(params.actions[i]):
                out.state[e, column] = ONE if state.last[i] == k else ZERO
                column += 1
    for g in range(len(out.groups)):
        obs = out.groups[g].obs
        for n in range(obs.shape[1]):
            for c in range(obs.shape[2]):
                obs[e, n, c] = out.state[e, c]


def spec(name: str, options: MatrixOptions, counts: Counts, kinds: Sequence[str] = ("team",)) -> EnvSpec:
    """The description. With one kind of team all agents are of it; with several, there is an agent of each.

    Agents are one group where one kind of team has agents with equally many actions, else a group each.
    """
    sizes = payoffs.PAYOFFS[name](options_of(options)).shape[1:]
    names = [f"agent_{i}" for i in range(len(sizes))] if len(kinds) == 1 else [f"{kind}_0" for kind in kinds]
    features = [f"{name} did {k}" for name, size in zip(names, sizes, strict=True) for k in range(size)]
    if not options.memory:
        features = ["nothing"]
    view = spaces.Box(0, 1, (len(features),), np.float32)

    def group(name: str, kind: str, agents: Sequence[str], size: int) -> AgentGroup:
        return AgentGroup(name, kind, tuple(agents), view, spaces.Discrete(size), tuple(features))

    if len(kinds) > 1:
        groups = [group(k, k, [agent], size) for k, agent, size in zip(kinds, names, sizes, strict=True)]
    elif len(set(sizes)) == 1:
        groups = [group("agent", kinds[0], names, sizes[0])]
    else:
        groups = [group(agent, kinds[0], [agent], size) for agent, size in zip(names, sizes, strict=True)]
    return EnvSpec(
        name=name,
        version=1,
        agents=tuple(names),
        groups=tuple(groups),
        kinds=tuple(TeamKind(kind, tuple(g.name for g in groups if g.kind == kind)) for kind in kinds),
        state_size=len(features),
        max_steps=options.max_cycles,
        metrics=tuple((metric, unit) for metric, (unit, _) in counts.items()),
        step_seconds=STEP_SECONDS,
        options=options_of(options),
    )


def params(options: MatrixOptions, payoff: Array, counts: Counts) -> Array:
    """Numbers for the kernels, one row: `payoff [N, J]` and `counts [M, J]` by number of the joint action."""
    agents, sizes = payoff.shape[0], payoff.shape[1:]
    flat = payoff.reshape(agents, -1)
    shares = np.stack([np.broadcast_to(amount, sizes).reshape(-1) for _, amount in counts.values()])
    fields = [
        ("payoff", np.float32, flat.shape),
        ("counts", np.float32, shares.shape),
        ("actions", np.int64, (agents,)),
        ("memory", np.uint8),
        ("one_shot", np.uint8),
    ]
    record = np.zeros(1, np.dtype(fields, align=True))
    record["payoff"] = flat
    record["counts"] = shares / options.max_cycles
    record["actions"] = sizes
    record["memory"] = options.memory
    record["one_shot"] = options.max_cycles == 1
    return record


def state_type(agents: int) -> np.dtype[Any]:
    """One copy's simulation state: `last [agents]`, everybody's last action, -1 before the first."""
    return np.dtype([("last", np.int64, (agents,))], align=True)


def optimal(payoff: Array) -> Counts:
    """`optimal`: share of the steps at which the agents' payoffs sum to the greatest sum there is."""
    total = payoff.sum(axis=0)
    rounding = 1e-12 * np.abs(payoff).max()
    return {"optimal": ("share of steps", total >= total.max() - rounding)}


def share_of(action: int, payoff: Array) -> Array:
    """`[K_0, ..., K_{N-1}]`: share of the agents who take an action, in every joint action."""
    taken = np.indices(payoff.shape[1:]) == action
    share: Array = taken.mean(axis=0)
    return share


def game(name: str, options: type, counts: Any, kinds: Sequence[str] = ("team",)) -> Game:
    """The game of that name's table. `counts`: payoffs -> what is measured."""

    def payoff_of(chosen: MatrixOptions) -> Array:
        return payoffs.PAYOFFS[name](options_of(chosen))

    return Game(
        name,
        options,
        lambda chosen: spec(name, chosen, counts(payoff_of(chosen)), kinds),
        lambda chosen: params(chosen, payoff_of(chosen), counts(payoff_of(chosen))),
        lambda chosen: state_type(len(payoff_of(chosen))),
        reset_one,
        step_one,
        observe_one,
    )
