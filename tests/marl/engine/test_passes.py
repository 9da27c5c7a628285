"""Forward passes by the engine: what becomes of a row is its own affair."""

from __future__ import annotations

import pytest
import torch

import environments
from environments.spec import AgentGroup
from marl.acting import View
from marl.distributions import noise_size
from marl.policy import Policy
from marl.policy_spec import PolicySpec

SEATS = 200


def log_probs(policy: Policy, group: AgentGroup, obs: torch.Tensor, noise: torch.Tensor, most: int) -> torch.Tensor:
    """Of what is done in all seats, so many of them at a time."""
    parts = []
    for seen, drawn in zip(obs.split(most), noise.split(most), strict=True):
        acting = torch.ones(seen.shape[:2], dtype=torch.bool)
        parts.append(policy.step_of(group, View(seen, None, acting), drawn).log_prob)
    return torch.cat(parts)


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
@pytest.mark.parametrize("hidden", [(33, 7), (100, 50), (128, 128), (256, 256)])
def test_a_row_is_the_same_to_the_bit_among_any_others(hidden: tuple[int, ...], parameters: str) -> None:
    """However many are asked together, and on however many threads: BLAS itself makes a difference."""
    generator = torch.Generator().manual_seed(0)
    for game in ("particle/spread", "particle/speaker_listener"):
        spec = PolicySpec.of(environments.make(game).spec, "team", hidden=hidden, parameters=parameters)
        policy = Policy(spec)
        for group in spec.groups:
            shape = SEATS, spec.members(group)
            obs = torch.randn(*shape, *group.observation_space.shape, generator=generator)
            noise = torch.rand(*shape, noise_size(group.action_space), generator=generator)
            policy.passes(group, 1)
            whole = log_probs(policy, group, obs, noise, SEATS)
            assert all(torch.equal(log_probs(policy, group, obs, noise, most), whole) for most in (1, 2, 3, 7, 50, 86))
            for threads in (2, 3):
                policy.passes(group, threads)
                assert torch.equal(log_probs(policy, group, obs, noise, SEATS), whole)
