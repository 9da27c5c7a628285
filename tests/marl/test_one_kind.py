"""Kinds of team that are alike, as one: the contract holds, nothing is mixed up, weights find their way back."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import environments
from environments.vector import VectorEnv
from marl.one_kind import OneKind, alike, merged_spec
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.seats import NoiseSource, seat_view
from marl.self_play import as_kind
from tests.contracts import checks, play

PENNIES = partial(environments.make, "matrix/matching_pennies", memory=True, max_cycles=6)
BOTH = ("even", "odd")


def merged(**keywords: int) -> VectorEnv:
    return OneKind(PENNIES(**keywords), BOTH)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_every_element_is_written,
        checks.check_view_is_a_function_of_the_state,
        checks.check_an_episode_leaves_nothing_behind,
        checks.check_copies_are_independent,
        checks.check_lives,
        checks.check_rows,
        checks.check_return,
        checks.check_garbage_actions,
    ],
    ids=lambda check: check.__name__,
)
def test_the_contract_holds(check) -> None:
    check(merged)


def test_every_array_is_the_environments() -> None:
    env, whole = PENNIES(num_envs=5, seed=2), merged(num_envs=5, seed=2)
    assert [kind.name for kind in whole.spec.kinds] == ["even"] and whole.spec.kinds[0].teams == 2
    assert whole.spec.team_names == ("even_0", "even_1") and whole.spec.agents == env.spec.agents
    rng = np.random.default_rng(2)
    for _ in range(20):
        actions = rng.integers(0, 2, (5, 2)).astype(np.int32)
        a = env.step({"even": actions[:, :1], "odd": actions[:, 1:]})
        b = whole.step({"even": actions})
        for field in ("obs", "acting", "reward", "truncated", "terminated"):
            joined = np.concatenate([getattr(group, field) for group in a.groups], 1)
            assert play.same_bits(joined, getattr(b.groups[0], field)), field
        for field in ("state", "episode_over", "episode_truncated", "outcome", "metrics"):
            assert play.same_bits(getattr(a, field), getattr(b, field)), field
        ended = b.groups[0].truncated
        assert play.same_bits(
            np.concatenate([group.final_obs for group in a.groups], 1)[ended], b.groups[0].final_obs[ended]
        )
    assert (env.episode_seed == whole.episode_seed).all() and (env.episode_step == whole.episode_step).all()
    draws = [NoiseSource.of(env.spec, group).draw(env, env.spec.kind(group.kind), 7) for group in env.spec.groups]
    together = NoiseSource.of(whole.spec, whole.spec.groups[0]).draw(whole, whole.spec.kinds[0], 7)
    assert torch.equal(together.reshape(5, 2), torch.cat([x.reshape(5, 1) for x in draws], 1))


def test_columns_follow_their_teams() -> None:
    spec = environments.make("particle/tag").spec
    with_three = merged_spec(environments.make("matrix/matching_pennies").spec, ("odd", "even"))
    assert with_three.groups[0].agents == ("odd_0", "even_0")
    whole = OneKind(PENNIES(num_envs=3), ("odd", "even"))
    out = whole.step({"odd": np.zeros((3, 2), np.int32)})
    assert out.groups[0].reward.tolist() == [[-1, 1]] * 3  # the same side: even wins
    assert not alike(spec, "adversary", "good") and alike(PENNIES().spec, *BOTH)
    with pytest.raises(ValueError, match=r"the teams \['adversary', 'good'\] are not alike"):
        OneKind(environments.make("particle/tag"), ("adversary", "good"))


def test_weights_find_their_way_back() -> None:
    env = PENNIES(num_envs=4, seed=1)
    whole = OneKind(env, BOTH)
    policy = Policy(PolicySpec.of(whole.spec, "even"), torch.Generator().manual_seed(3))
    for _ in range(3):
        env.step({"even": np.ones((4, 1), np.int32), "odd": np.zeros((4, 1), np.int32)})
    for kind in env.spec.kinds:
        alone = as_kind(policy, env.spec, kind.name)
        assert alone.spec == PolicySpec.of(env.spec, kind.name)
        group, shown = env.spec.group(kind.name), env.buffers.groups[0 if kind.name == "even" else 1]
        view = seat_view(group, kind, shown.obs, shown.action_mask, shown.acting)
        theirs = alone.distribution(group, view.obs, None).probs
        ours = policy.distribution(whole.spec.groups[0], view.obs, None).probs
        assert torch.equal(theirs, ours)
