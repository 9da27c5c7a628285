"""Rollouts without the interpreter: compiled policies in a compiled environment, a thread taking its copies through all
steps. The numbers are those of single steps, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup
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
    """Whether the environment and all who act are compiled, one player of each kind for all its seats."""
    return known(env) and all(len(held.players) == 1 and _compiled(held.players[0]) for held in seats.values())


def _compiled(player: Any) -> bool:
    return (
        isinstance(player, Policy)
        and player.acts_compiled
        and all(group.observation_space.dtype in SEEN for group in player.spec.groups)
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
    hows, groups, threads, moves = [], [], [], dict(actions)
    for kind in env.spec.kinds:
        policy: Any = seats[kind.name].players[0]
        for name in kind.groups:
            passes = policy.passes(env.spec.group(name))
            rows = len(log_prob[name]), env.num_envs * kind.teams, len(env.spec.group(name).agents) // kind.teams
            source = NoiseSource.of(env.spec, env.spec.group(name))
            seen = {what: x[:-1].reshape(*rows, -1) for what, x in views[name].items()}
            if isinstance(env.spec.group(name).action_space, spaces.Box):
                moves[name] = np.empty_like(actions[name])
            how = _how(env.spec.group(name), policy, seen["action_mask"], actions[name], moves[name], rows)
            hows.append(how)
            own = source.agents, kind.teams, source.draws, seen["obs"], log_prob[name].reshape(rows)
            groups.append(rollout.group(passes, how, *own))
            threads.append(passes.threads)
    rollout.take_all(env, key, hows, groups, tuple(moves[g.name] for g in env.spec.groups), out, min(threads))


def _how(
    group: AgentGroup,
    policy: Policy,
    mask: np.ndarray,
    action: np.ndarray,
    given: np.ndarray,
    rows: tuple[int, int, int],
) -> rollout.How:
    """How a group acts, its actions `[T, S, n, ..]` written to `action`, and to `given` as they are given."""
    space, action = group.action_space, action.reshape(*rows, -1)
    if not isinstance(space, spaces.Box):
        legal = mask if group.masked else np.zeros((rows[0], 0, 0, 0), np.bool_)
        return rollout.Choices(policy.choice_place(group, None)[0], legal, action)
    task = policy.box_task(group, policy.passes(group), action[0], action[0], np.zeros(rows[1:], np.float32))
    low, high = (x.reshape(-1).astype(np.float32) for x in (space.low, space.high))
    return rollout.Points(task, low, high, action, given.reshape(*rows, -1))
