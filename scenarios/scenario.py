"""What a scenario is, as plain frozen data. Imports nothing of ours but errors, and those only where one is raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a scenario's policies are measured unless a person says otherwise."""

    episodes: int = 1000
    """Whole episodes, their number fixed before the first is played."""
    greedy: bool = False
    """True where the likeliest action is taken instead of a sampled one."""


@dataclass(frozen=True)
class Scenario:
    """A named use of an environment."""

    name: str
    summary: str
    """One line for people."""
    environment: str
    """Name that `environments.make` knows."""
    teams: tuple[str, ...]
    """Kinds of team, in the environment's order."""
    reward: Literal["agent", "team_sum", "team_mean"]
    """Whose reward an agent learns from: its own, or its team's sum or mean."""
    horizon: int
    """Steps of an episode, at most."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Environment options that differ from the environment's own defaults."""
    evaluation: EvaluationProtocol = EvaluationProtocol()
