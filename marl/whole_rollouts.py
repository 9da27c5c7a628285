"""Rollouts without the interpreter: compiled policies in a compiled environment, a thread taking its copies through all
steps. The numbers are those of single steps, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.spec import TeamKind
from environments.vector import StepBuffers, VectorEnv
from marl.engine import rollout
from marl.policy import Policy
from marl.seats import NoiseSource, Seats

SEEN = (np.float32, np.uint8)
"""Kinds of numbers of which views may be made."""


def known(env: VectorEnv) -> bool:
    """Whether an environment can be stepped by compiled code."""
    return hasattr(env, "block")


def possible(env: VectorEnv, seats: Mapping[str, Seats]) -> bool:
    """Whether the environment and all who act are compiled, one player of each kind for all its seats, and they choose
    among discrete actions."""
    return known(env) and all(len(held.players) == 1 and _compiled(held.players[0]) for held in seats.values())


def _compiled(player: Any) -> bool:
    return (
        isinstance(player, Policy)
        and player.acts_compiled
        and all(
            isinstance(group.action_space, spaces.Discrete | spaces.MultiDiscrete)
            and group.observation_space.dtype in SEEN
            for group in player.spec.groups
        )
    )


def play(
    env: VectorEnv,
    seats: Mapping[str, Seats],
    key: int,
    views: Mapping[str, Mapping[str, np.ndarray]],
    actions: Mapping[str, np.ndarray],
    log_prob: Mapping[str, np.ndarray],
    out: StepBuffers,
) -> None:
    """Take all copies through T steps: writes each group's `actions` and `log_prob`, and `out`, all `[T, E, ..]`.

    `views [T + 1, E, ..]` are what groups act on; their later rows are those of `out`. `key` is of the acting noise.
    """
    groups, threads = [], []
    for kind in env.spec.kinds:
        policy: Any = seats[kind.name].players[0]
        for name in kind.groups:
            seen = {what: x[:-1] for what, x in views[name].items()}
            groups.append(_group(env, kind, name, policy, seen, actions[name], log_prob[name]))
            threads.append(policy.passes(env.spec.group(name)).threads)
    moves = tuple(actions[group.name] for group in env.spec.groups)
    rollout.take_all(env, key, groups, moves, out, min(threads))


def _group(
    env: VectorEnv,
    kind: TeamKind,
    name: str,
    policy: Policy,
    views: Mapping[str, np.ndarray],
    action: np.ndarray,
    log_prob: np.ndarray,
) -> rollout.Group:
    group = env.spec.group(name)
    source = NoiseSource.of(env.spec, group)
    sizes, _ = policy.choice_place(group, None)
    rows = len(log_prob), env.num_envs * kind.teams, len(group.agents) // kind.teams
    mask = views["action_mask"].reshape(*rows, -1) if group.masked else np.zeros((len(log_prob), 0, 0, 0), np.bool_)
    return rollout.group(
        policy.passes(group),
        sizes,
        source.agents,
        kind.teams,
        inputs=views["obs"].reshape(*rows, -1),
        mask=mask,
        action=action.reshape(*rows, -1),
        log_prob=log_prob.reshape(rows),
    )
