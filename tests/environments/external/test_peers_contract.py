"""The contract's checks over one of each kind of other people's environments: briefly, their episodes are cut short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from environments.external import named
from environments.vector import VectorEnv
from tests.contracts import checks

SMALL = ["color_reduction", "resize:36x36"]
MAMUJOCO = {"scenario": "HalfCheetah", "agent_conf": "2x3", "max_episode_steps": 8}
ONE_OF_EACH: dict[str, tuple[str, dict[str, Any], int]] = {
    "parallel": ("pettingzoo:mpe2.simple_tag_v3", {"max_cycles": 8}, 8),
    "masks": ("pettingzoo:classic.tictactoe_v3", {}, 0),
    "deaths": ("pettingzoo:magent2.environments.battle_v4", {"map_size": 12, "max_cycles": 8}, 8),
    "image": ("pettingzoo:butterfly.cooperative_pong_v6", {"max_cycles": 8, named.WRAP: SMALL}, 8),
    "mujoco": ("pettingzoo:gymnasium_robotics.mamujoco_v1", MAMUJOCO, 8),
    "grid": ("gymnasium:rware-tiny-2ag-v2", {"max_steps": 8}, 8),
}
"""Kind -> name, options, steps after which an episode is cut off (0: never)."""
ENDS = [
    partial(checks.check_every_element_is_written, steps=12),
    partial(checks.check_autoreset, steps=12),
    partial(checks.check_lives, steps=12),
    partial(checks.check_rows, steps=12),
    partial(checks.check_return, steps=12),
    partial(checks.check_capture_and_restore, steps=12),
    checks.check_an_episode_leaves_nothing_behind,
    checks.check_rekey,
    checks.check_refusals,
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves MUJOCO_LOG.TXT where it is used."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("check", ENDS, ids=lambda check: getattr(check, "func", check).__name__.removeprefix("check_"))
@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_contract(kind: str, check: Callable[..., None]) -> None:
    name, options, longest = ONE_OF_EACH[kind]
    made: list[VectorEnv] = []

    def make(num_envs: int = 1, seed: int = 0, first_copy: int = 0, num_threads: int = 1) -> VectorEnv:
        env: Any = named.make(name, num_envs, seed, first_copy, options)
        env.spec = replace(env.spec, max_steps=longest)  # the environment does not say it; the checks ask
        made.append(env)
        return made[-1]

    check(make)
    assert not any(env.faults for env in made)  # type: ignore[attr-defined]
    for env in made:
        env.close()
