"""The environments that the contract is tested on: every name of the registry and every toy, and some options.

A name that is added to the registry is tested from that moment on; nothing is listed here by hand but what cannot be
known from the outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import environments
from environments.facade import AECFacade, ParallelFacade
from environments.vector import VectorEnv

Factory = Callable[..., VectorEnv]
"""`make(num_envs=1, seed=0, first_copy=0, num_threads=None) -> VectorEnv`."""

STARTS = dict.fromkeys(["toy/meet", "toy/noughts", "toy/siege", "particle/crypto"], 2)
STARTS["memory/recall"] = 8
STARTS |= {name: 1 for name in environments.names() if name.startswith(("matrix/", "board/", "roshambo/"))}
"""Games with so few first views (in crypto: a key and a colour; in a matrix or board game nothing) that two copies may
well begin alike, and how many starts 64 copies show at least."""


SHORT: dict[str, dict[str, Any]] = {
    "colorgrid/leader_follower": {"max_cycles": 25},
    "roshambo/repeated": {"throws": 25},
    "warehouse/robots": {"max_cycles": 50},
}
"""Games whose episodes are too long for checks that wait for their ends, and what makes them shorter."""


@dataclass(frozen=True)
class Case:
    """One environment with its options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])

    @property
    def starts(self) -> int:
        """How many different first views 64 copies show at least; 1 where nothing is left to chance."""
        return STARTS.get(str(self), STARTS.get(self.name, 64))

    @property
    def make(self) -> Factory:
        """Makes batches of it."""
        return partial(environments.make, self.name, **self.options)

    def parallel(self, **more: Any) -> ParallelFacade:
        """Its PettingZoo ParallelEnv."""
        return environments.parallel_env(self.name, **{**self.options, **more})

    def aec(self, **more: Any) -> AECFacade:
        """Its PettingZoo AECEnv."""
        return environments.env(self.name, **{**self.options, **more})


CONTINUOUS = [Case(name, {"continuous_actions": True}) for name in ("particle/spread", "particle/world_comm")]
TABLES = [
    Case("matrix/prisoners_dilemma", {"memory": True, "max_cycles": 6}),
    Case("matrix/matching_pennies", {"max_cycles": 1}),
    Case("matrix/game", {"payoff": (((1, 2), (3, 4), (5, 6)),) * 2, "memory": True}),  # groups of unequal agents
]
BOARDS = [Case("board/hex", {"size": 3})]
FIELDS = [
    Case("foraging/field", {"timeout_terminates": False, "sight": 2, "coop": True, "action_masks": False}),
    Case("foraging/field", {"rows": 5, "columns": 5, "players": 4, "grid_observation": True, "penalty": 0.1}),
]
CASES = (
    [Case(name, SHORT.get(name, {})) for name in environments.names(toys=True)] + CONTINUOUS + TABLES + FIELDS + BOARDS
)
POPULATION = Case("roshambo/repeated", {"opponent": "population", "recall": 3, "throws": 25})
STARTS[str(POPULATION)] = 2
EVERY_UNIT = {
    "allies": "3 random",
    "enemies": "3 random",
    "urn": "1 marine, 1 marauder, 1 medivac, 1 stalker, 1 zealot, 1 colossus, 1 zergling, 1 hydralisk",
}
"""Of a battle: compiled once, also for the battles of tests/environments/skirmish."""
CASES += [
    POPULATION,
    Case("colorgrid/leader_follower", {"sight": 2, "last_taken": True, "max_cycles": 25}),
    Case("warehouse/robots", {"max_cycles": 40, "max_inactivity_steps": 30, "timeout_terminates": False}),
    Case("skirmish/battle", {**EVERY_UNIT, "opponent": "team", "start": "scattered", "max_cycles": 40}),
    Case("skirmish/battle", {**EVERY_UNIT, "opponent": "self", "reward": "sparse", "max_cycles": 40}),
]
TOYS = [case for case in CASES if case.name.startswith("toy/")]
