"""The probes of `test_ppo` for every other learner from rollouts: the same games, the same numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from marl.config import ALGORITHMS
from tests.probes import test_ppo, train
from tests.probes.test_ppo import PROBES, own_number, prisoners, wages

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "happo": ("happo", {}),
    "hatrpo": ("hatrpo", {"kl_radius": 0.05}),
    "ia2c": ("ia2c", {"advantage_norm": "batch"}),
    "maa2c": ("maa2c", {"learning_rate": 0.02}),
    "dpo": ("dpo", {}),
    "mdpo": ("ippo", {"trust_region": "mdpo", "kl_weight": 0.1}),
    "fixpo": ("ippo", {"trust_region": "fixpo"}),
    "vtrace": ("mappo", {"returns": "vtrace"}),
    "nstep": ("mappo", {"returns": "nstep", "n_step": 8}),
}
ONE_PER_CORE = {"happo": PROBES, "hatrpo": PROBES}
"""What CI runs: all probes of the cores that are not PPO's; `PROBES=all` (`make probes`) runs everything."""
UNFIT = {("maa2c", test_ppo.reward_scale)}
"""With advantages as they are, the size of rewards is meant to matter."""
WHOLE = os.environ.get("PROBES") == "all"
CASES = [
    (which, probe)
    for which in OTHERS
    for probe in (PROBES if WHOLE else ONE_PER_CORE.get(which, [test_ppo.echo]))
    if (which, probe) not in UNFIT
]


@pytest.fixture
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The critic of another learner, which probes train from now on."""
    name, settings = OTHERS[request.param]
    monkeypatch.setattr(train, "LEARNER", name)
    monkeypatch.setattr(train, "CHANGES", settings)
    critic: str = ALGORITHMS[name].critic
    return critic


@pytest.mark.parametrize(
    ("other", "probe"), CASES, indirect=["other"], ids=lambda x: x if isinstance(x, str) else x.__name__
)
def test_probe(other: str, probe: Callable[[str], None]) -> None:
    probe(other)


@pytest.mark.parametrize("other", list(OTHERS) if WHOLE else ["happo", "hatrpo"], indirect=True)
def test_rewards_reach_whom_they_are_for(other: str) -> None:
    for reward in ("agent", "team_sum", "team_mean"):
        wages(other, reward)
    assert prisoners(other, "agent") > 0.95
    assert prisoners(other, "team_sum") < 0.05


@pytest.mark.parametrize("other", ["happo", "hatrpo"], indirect=True)
def test_agents_with_parameters_of_their_own_know_who_they_are(other: str) -> None:
    assert own_number(other, agent_id=False) > 0.95
