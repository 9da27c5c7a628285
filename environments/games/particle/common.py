"""What the twelve particle games share in describing themselves: options and their checks, records, spaces, names.

Numbers that are not said otherwise are those of mpe2 1.1.1: a disc of size 0.05 and mass 1 that a full push
accelerates by 5 per second squared, without a greatest speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.errors import UsageError
from environments.games.particle.physics import MOVES, STEP_SECONDS
from environments.native import options_of
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

MOST = 256
"""Most agents or landmarks of one sort: beyond it one step of one copy takes a second."""

OWN_VELOCITY = ("velocity_x", "velocity_y")
OWN_POSITION = ("position_x", "position_y")


@dataclass(frozen=True, kw_only=True)
class ParticleOptions:
    """Options that all particle games have."""

    max_cycles: int = 25
    """Steps after which an episode is truncated; 1 to 1,000,000."""
    continuous_actions: bool = False
    """True for pushes and words of any strength in [0, 1], False for one move and one word at a time."""

    def __post_init__(self) -> None:
        check_count(self, "max_cycles", 1, 1_000_000)
        check_switch(self, "continuous_actions")


@dataclass(frozen=True, kw_only=True)
class SightOptions(ParticleOptions):
    """Options of games whose agents may see only what is nearest."""

    num_agent_neighbors: int | None = None
    """Number of nearest agents that an agent sees, 1 to 256; None: all."""
    num_landmark_neighbors: int | None = None
    """Number of nearest landmarks (obstacles) that an agent sees, 1 to 256; None: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self, "num_agent_neighbors", 1, optional=True)
        check_count(self, "num_landmark_neighbors", 1, optional=True)


def slots(options: SightOptions) -> dict[str, int]:
    """For kernels: places in an observation for agents and for landmarks; 0: one for each that there is."""
    return {"agent_slots": options.num_agent_neighbors or 0, "landmark_slots": options.num_landmark_neighbors or 0}


def check_count(options: Any, name: str, low: int, high: int = MOST, optional: bool = False) -> None:
    """UsageError unless the option is a whole number in [low, high], or None where it is optional."""
    value = getattr(options, name)
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        nothing = " or None" if optional else ""
        raise UsageError(f"{name} must be a whole number from {low} to {high}{nothing}, not {value!r}")


def check_share(options: Any, name: str) -> None:
    """UsageError unless the option is a number in [0, 1]."""
    value = getattr(options, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UsageError(f"{name} must be a number from 0 to 1, not {value!r}")


def check_switch(options: Any, name: str) -> None:
    """UsageError unless the option is True or False."""
    value = getattr(options, name)
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, not {value!r}")


@dataclass(frozen=True)
class Disc:
    """The body of an agent."""

    size: float = 0.05
    """Radius."""
    push: float = 5.0
    """Force of a full push."""
    max_speed: float = float("inf")
    """Greatest speed, per second."""
    mass: float = 1.0


def params_record(
    options: ParticleOptions, discs: Sequence[Disc], landmark_sizes: Sequence[float], **own: float | int | Array
) -> Array:
    """The record of numbers that kernels see, one row: bodies, `max_cycles`, and a game's own numbers by name.

    Whole numbers become int64, others float32.
    """
    numbers: dict[str, Any] = {
        **own,  # first, so that no game's record begins like another's: Numba would take it for a subtype
        "agent_size": [disc.size for disc in discs],
        "agent_push": [disc.push for disc in discs],
        "agent_max_speed": [disc.max_speed for disc in discs],
        "agent_response": [
            float(STEP_SECONDS) / disc.mass for disc in discs
        ],  # speed gained per step and unit of force
        "landmark_size": [float(size) for size in landmark_sizes],
        "max_cycles": options.max_cycles,
    }
    arrays = {name: np.asarray(value) for name, value in numbers.items()}
    kinds = {name: np.int64 if array.dtype.kind == "i" else np.float32 for name, array in arrays.items()}
    record = np.zeros(1, np.dtype([(name, kinds[name], array.shape) for name, array in arrays.items()], align=True))
    for name, array in arrays.items():
        record[name] = array
    return record


def state_type(agents: int, landmarks: int, words: int = 0, **own: Any) -> np.dtype[Any]:
    """Record of one copy's simulation state; `own` adds a game's arrays: name=(dtype,) or (dtype, shape)."""
    fields: list[Any] = [(name, *kind) for name, kind in own.items()]  # first: see `params_record`
    if words:
        fields.append(("communication", np.float32, (agents, words)))  # said in the step just taken
    fields += [
        ("agent_position", np.float32, (agents, 2)),
        ("agent_velocity", np.float32, (agents, 2)),  # per second
        ("force", np.float32, (agents, 2)),  # on each agent, in the step just taken
        ("landmark_position", np.float32, (landmarks, 2)),
    ]
    return np.dtype(fields, align=True)


def numbered(name: str, count: int) -> tuple[str, ...]:
    """`name_0`, `name_1`, ..."""
    return tuple(f"{name}_{i}" for i in range(count))


def offsets(things: Sequence[str]) -> tuple[str, ...]:
    """Column names of relative positions."""
    return tuple(f"{thing}_{axis}" for thing in things for axis in ("dx", "dy"))


def velocities(things: Sequence[str]) -> tuple[str, ...]:
    """Column names of other agents' velocities."""
    return tuple(f"{thing}_velocity_{axis}" for thing in things for axis in ("x", "y"))


def words(speakers: Sequence[str], count: int) -> tuple[str, ...]:
    """Column names of what each of the speakers says."""
    return tuple(f"{speaker}_word_{c}" for speaker in speakers for c in range(count))


def seen(things: Sequence[str], kind: str, slots: int | None) -> tuple[str, ...]:
    """Names of what fills the places of an observation: all `things`, or the `slots` nearest of their `kind`."""
    return tuple(things) if slots is None else numbered(f"nearest_{kind}", slots)


def actions(options: ParticleOptions, moves: bool = True, words: int = 0) -> spaces.Space[Any]:
    """Space of one agent's actions: moves, words, or each move with each word (`move + 5 * word`)."""
    if options.continuous_actions:
        return spaces.Box(0.0, 1.0, (MOVES * moves + words,), np.float32)
    return spaces.Discrete((MOVES if moves else 1) * max(words, 1))


def group(
    name: str, kind: str, agents: Sequence[str], features: Sequence[str], action_space: spaces.Space[Any]
) -> AgentGroup:
    """A group of agents whose observation has exactly the columns `features`."""
    space = spaces.Box(-np.inf, np.inf, (len(features),), np.float32)
    return AgentGroup(name, kind, tuple(agents), space, action_space, tuple(features))


def spec(
    name: str, options: ParticleOptions, groups: Sequence[AgentGroup], metrics: Sequence[tuple[str, str]]
) -> EnvSpec:
    """Description of a particle game; kinds of team are those that its groups name, with one team each."""
    kinds = list(dict.fromkeys(each.kind for each in groups))
    return EnvSpec(
        name=name,
        version=1,
        agents=tuple(agent for each in groups for agent in each.agents),
        groups=tuple(groups),
        kinds=tuple(TeamKind(kind, tuple(each.name for each in groups if each.kind == kind)) for kind in kinds),
        state_size=sum(len(each.agents) * len(each.features) for each in groups),
        max_steps=options.max_cycles,
        metrics=tuple(metrics),
        step_seconds=float(round(float(STEP_SECONDS), 6)),
        options=options_of(options),
    )
