"""Rollouts: what their sizes are called."""

from __future__ import annotations

import pytest

from tests.marl.rollouts import GAMES, kind_of, rollout_of


@pytest.mark.parametrize("name", GAMES)
def test_sizes(name: str) -> None:
    """`T+1` views, `T` events, one row per seat; a final view for every truncated life, and each in its place."""
    env, rollout = rollout_of(name)
    kind = env.spec.kind(kind_of(name))
    steps, seats = rollout.steps, rollout.seats
    assert (steps, seats) == (12, env.num_envs * kind.teams)
    assert tuple(rollout.groups) == kind.groups
    assert rollout.state.shape == (steps + 1, seats, env.spec.critic_size(kind.name))
    for group in rollout.groups.values():
        n = group.acting.shape[2]
        assert group.obs.shape[:3] == group.acting.shape == (steps + 1, seats, n)
        assert group.action.shape[:3] == (steps, seats, n)
        for x in (group.log_prob, group.reward, group.terminated, group.truncated):
            assert x.shape == (steps, seats, n)
        assert group.action_mask is None or group.action_mask.shape[:3] == (steps + 1, seats, n)
    count = len(rollout.finals.step)
    assert rollout.finals.seat.shape == (count,)
    assert rollout.finals.state.shape == (count, env.spec.critic_size(kind.name))
    assert all(len(x) == count for x in rollout.finals.obs.values())
    assert (count > 0) == (env.spec.max_steps is not None)
