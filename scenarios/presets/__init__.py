"""Tuned settings as plain data, by (algorithm, scenario): `marl train ALGORITHM SCENARIO --preset tuned`.

A preset names fields of the algorithm's settings and of the run's; the roof checks them like typed options, and what a
person types still wins. There is one only where a measurement in `results/` shows what it buys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from environments.errors import UsageError

OFF_POLICY = {"num_envs": 20}
"""Few copies, for updates are what takes time."""
SOFT_SPREAD = {**OFF_POLICY, "reward": "team_sum"}
"""The team's mean would weigh entropy three times as much."""
SOFT_WORDS = {**SOFT_SPREAD, "temperature": 0.1, "temperature_learning_rate": 1e-3}
"""Words mean nothing before they are kept apart: under a temperature that falls slowly from 1 they stay noise."""
DETERMINISTIC = {**OFF_POLICY, "gamma": 0.95, "critic_learning_rate": 1e-3}
"""Nearer ends and faster critics: who only climbs Q goes where Q is wrong."""
MATRIX = {"num_envs": 20, "hidden": (64, 64), "batch_size": 128, "warmup_steps": 1000, "updates_per_step": 0.1}
"""Two agents that see nothing: small networks, small batches."""
MATRIX_SOFT = {
    **MATRIX,
    "actor_learning_rate": 5e-3,
    "critic_learning_rate": 5e-3,
    "gamma": 0.9,
    "n_step": 1,
    "polyak": 0.05,
    "entropy_per_choice": 0.1,
    "temperature_learning_rate": 3e-3,
}
MATRIX_ANSWERS = {**MATRIX_SOFT, "later_agents": "answering", "fixed_order": True}
"""From near uniform every way up the table leads past -30, unless who goes first counts on the answer."""
MATRIX_VALUES = {
    **MATRIX,
    "learning_rate": 1e-3,
    "gamma": 0.9,
    "n_step": 1,
    "polyak": 0.05,
    "epsilon_steps": 10_000,
}
"""The same game again and again: what is far ahead tells nothing, and would be all that values are of."""

MATRIX_ROLLOUTS = {"num_envs": 20, "hidden": (64, 64), "rollout_length": 25, "gamma": 0.9}
"""The same game for learners from rollouts: one episode of every copy each."""

CHEETAH = {"reward": "team_mean"}
"""Both players are paid the same."""
CHEETAH_SOFT = {
    **CHEETAH,
    "num_envs": 10,
    "hidden": (256, 256),
    "batch_size": 256,
    "updates_per_step": 0.1,
    "actor_learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "warmup_steps": 5000,
}
"""As published but for smaller batches and twice as many updates of them: that is cheaper on a core."""
CHEETAH_ROLLOUTS = {**CHEETAH, "minibatches": 16, "epochs": 10, "entropy": 0.0, "learning_rate": 5e-4}

PRESETS: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {
    ("mappo", "particle/spread"): {
        "tuned": {"epochs": 10, "learning_rate": 7e-4, "entropy": 0.003},  # the best return at 10M steps
        "sample": {  # the best return at 1M steps: small rollouts, many updates
            "num_envs": 32,
            "rollout_length": 100,
            "epochs": 10,
            "learning_rate": 7e-4,
        },
    },
    **{(name, "particle/spread"): {"tuned": SOFT_SPREAD} for name in ("isac", "masac", "hasac")},
    **{("hasac", f"particle/{task}"): {"tuned": SOFT_WORDS} for task in ("reference", "speaker_listener")},
    **{(name, "particle/spread"): {"tuned": DETERMINISTIC} for name in ("maddpg", "matd3", "haddpg", "hatd3")},
    ("hatd3", "particle/reference"): {"tuned": DETERMINISTIC},
    ("hatd3", "particle/speaker_listener"): {"tuned": OFF_POLICY},
    **{(name, "matrix/climbing"): {"tuned": MATRIX_SOFT} for name in ("isac", "masac")},
    ("hasac", "matrix/climbing"): {"tuned": MATRIX_ANSWERS, "published": MATRIX_SOFT},
    **{(name, "matrix/penalty"): {"tuned": MATRIX_SOFT} for name in ("isac", "masac", "hasac")},
    **{
        (name, f"matrix/{game}"): {"tuned": MATRIX_VALUES}
        for name in ("iql", "vdn", "qmix")
        for game in ("climbing", "penalty")
    },
    ("hasac", "pettingzoo:gymnasium_robotics.mamujoco_v1"): {"halfcheetah": CHEETAH_SOFT},
    ("happo", "pettingzoo:gymnasium_robotics.mamujoco_v1"): {"halfcheetah": CHEETAH_ROLLOUTS},
    **{
        (name, f"matrix/{game}"): {"tuned": MATRIX_ROLLOUTS}
        for name in ("ippo", "mappo", "happo", "hatrpo", "ia2c", "maa2c", "dpo")
        for game in ("climbing", "penalty")
    },
}
"""(algorithm, scenario) -> preset's name -> setting -> value."""


def names(algorithm: str, scenario: str) -> list[str]:
    """Presets of an algorithm in a scenario."""
    return sorted(PRESETS.get((algorithm, scenario), {}))


def find(algorithm: str, scenario: str, name: str) -> Mapping[str, Any]:
    """Settings of a preset. UsageError where there is none of that name."""
    known = PRESETS.get((algorithm, scenario), {})
    if name not in known:
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise UsageError(f"no preset {name!r} for {algorithm} in {scenario}; {has}")
    return known[name]
