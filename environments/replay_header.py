"""What a replay's header says, as plain JSON data: the environment's description, and the machine that recorded it.

A header from a file is checked field by field before anything relies on it; see `environments.replay_file`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec, TeamKind

PACKAGES = ("marl", "numpy", "numba", "llvmlite", "gymnasium", "torch")
MAX_AGENTS = 10_000
MAX_ACTIONS = 2**17
"""Choices that an agent has: whoever shows them gives each a name."""
MAX_FEATURES = 256
"""Names of an observation's columns that are kept: a header has its limits."""
SHORTEST_STEP, LONGEST_STEP = 1e-3, 60.0
"""Seconds that a step may take: films repeat a picture for as long."""

LONGEST_TEXT = 200
HEX = frozenset("0123456789abcdef")


class Identity(NamedTuple):
    """Who sat in a team's seats, as the recorder was told."""

    name: str
    """What the player was called: a policy's file, a bot, `random`; "" where nothing is known."""
    sha256: str | None
    """Of the policy's file, where it was one."""
    steps: int | None
    """Environment steps that the policy had been trained for."""


class Parent(NamedTuple):
    """Where a fork comes from."""

    identity: str
    """`Replay.identity` of the replay that was left."""
    step: int
    """Steps that both have in common."""


def identity_of(said: Any) -> Identity:
    """What a header's entry under `policies` says; fields that make no sense are left out, so that it always plays."""
    if isinstance(said, str):
        return Identity(_printable(said), None, None)
    if not isinstance(said, Mapping):
        return Identity("", None, None)
    name, digest, steps = (said.get(key) for key in ("player", "sha256", "steps"))
    name = name if isinstance(name, str) else said.get("algorithm")
    return Identity(
        _printable(name) if isinstance(name, str) else "",
        digest if isinstance(digest, str) and len(digest) == 64 and set(digest) <= HEX else None,
        steps if type(steps) is int and 0 <= steps < 2**62 else None,
    )


def parent_of(said: Any) -> Parent | None:
    """What a header says under `parent`; None where that is nothing, or no sense."""
    identity, step = (said.get("identity"), said.get("step")) if isinstance(said, Mapping) else (None, None)
    if not isinstance(identity, str) or len(identity) != 16 or not set(identity) <= HEX:
        return None
    return Parent(identity, step) if type(step) is int and 0 <= step < 2**62 else None


def scenario_of(said: Any) -> str:
    """What a header says under `scenario`; "" where that is nothing, or no name."""
    return _printable(said) if isinstance(said, str) else ""


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_TEXT])


def describe(spec: EnvSpec) -> dict[str, Any]:
    """An environment's description as JSON data; `spec_of` reads it back."""
    return {
        "name": spec.name,
        "version": spec.version,
        "groups": [
            {
                "name": group.name,
                "kind": group.kind,
                "agents": list(group.agents),
                "observation": [str(group.observation_space.dtype), list(group.observation_space.shape)],
                "action": _describe_space(group.action_space),
                "masked": group.masked,
                "features": list(group.features) if len(group.features) <= MAX_FEATURES else [],
            }
            for group in spec.groups
        ],
        "kinds": [{"name": k.name, "groups": list(k.groups), "teams": k.teams} for k in spec.kinds],
        "max_steps": spec.max_steps,
        "turn_based": spec.turn_based,
        "metrics": [list(metric) for metric in spec.metrics],
        "outcome": spec.outcome,
        "step_seconds": spec.step_seconds,
        "options": dict(spec.options),
    }


def _describe_space(space: spaces.Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"discrete": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"multi_discrete": [int(n) for n in space.nvec]}
    assert isinstance(space, spaces.Box)
    return {"low": _finite_or_word(space.low), "high": _finite_or_word(space.high)}


def _finite_or_word(bounds: Any) -> list[float | str]:
    """JSON has no infinity."""
    return [float(x) if np.isfinite(x) else str(float(x)) for x in np.ravel(bounds)]


def spec_of(data: Mapping[str, Any]) -> EnvSpec:
    """The description back from JSON data. ValueError, TypeError or KeyError where it makes no sense."""
    groups = tuple(_group_of(group) for group in data["groups"])
    agents = tuple(agent for group in groups for agent in group.agents)
    kinds = tuple(
        TeamKind(_word(kind["name"]), tuple(map(_word, kind["groups"])), _number(kind["teams"], 1, MAX_AGENTS))
        for kind in data["kinds"]
    )
    if not groups or len(agents) > MAX_AGENTS or len(set(agents)) != len(agents):
        raise ValueError(f"{len(agents)} agents, {len(set(agents))} names")
    step_seconds = float(data["step_seconds"])
    if not SHORTEST_STEP <= step_seconds <= LONGEST_STEP:
        raise ValueError(f"step_seconds {step_seconds}")
    spec = EnvSpec(
        name=_word(data["name"]),
        version=_number(data["version"], 0, 2**31),
        agents=agents,
        groups=groups,
        kinds=kinds,
        max_steps=None if data["max_steps"] is None else _number(data["max_steps"], 0, 2**62),
        turn_based=bool(data["turn_based"]),
        metrics=tuple((_word(name), _word(unit)) for name, unit in data["metrics"]),
        outcome=_word(data["outcome"]),
        step_seconds=step_seconds,
        options=dict(data["options"]),
    )
    for group in groups:
        if len(group.agents) % spec.kind(group.kind).teams:
            raise ValueError(f"{len(group.agents)} agents in {spec.kind(group.kind).teams} teams")
        spec.team_of(group)
    return spec


def _group_of(data: Mapping[str, Any]) -> AgentGroup:
    dtype, shape = data["observation"]
    if dtype not in ("float32", "uint8"):
        raise ValueError(f"observation dtype {dtype!r}")
    size = tuple(_number(n, 0, 2**20) for n in shape)
    if int(np.prod(size, dtype=object)) > 2**24:  # a space keeps its bounds in memory
        raise ValueError(f"observation shape {size}")
    low, high = (0, 255) if dtype == "uint8" else (-np.inf, np.inf)
    return AgentGroup(
        name=_word(data["name"]),
        kind=_word(data["kind"]),
        agents=tuple(map(_word, data["agents"])),
        observation_space=spaces.Box(low, high, size, np.dtype(dtype).type),
        action_space=_space_of(data["action"]),
        masked=bool(data["masked"]),
        features=_features(data.get("features", []), size),
    )


def _features(said: Any, size: tuple[int, ...]) -> tuple[str, ...]:
    """Names of an observation's columns; none where there is not one for each."""
    names = tuple(map(_word, said))
    return names if size == (len(names),) else ()


def _space_of(data: Mapping[str, Any]) -> spaces.Space[Any]:
    if "discrete" in data:
        return spaces.Discrete(_number(data["discrete"], 1, MAX_ACTIONS))
    if "multi_discrete" in data:
        sizes = [_number(n, 1, MAX_ACTIONS) for n in data["multi_discrete"]]
        _number(sum(sizes), 1, MAX_ACTIONS)
        return spaces.MultiDiscrete(sizes)
    low, high = (np.asarray([float(x) for x in data[end]], np.float32) for end in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float32)


def _word(text: Any) -> str:
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or not text.isprintable():
        raise ValueError(f"{str(text)[:80]!r} is not a name")
    return text


def _number(number: Any, low: int, high: int) -> int:
    if type(number) is not int or not low <= number <= high:
        raise ValueError(f"{str(number)[:80]!r} is not a number from {low} to {high}")
    return number


def machine() -> dict[str, Any]:
    """Versions and processor of this machine: what the last bit of a result may depend on. Opens numba's LLVM."""
    import llvmlite.binding as llvm

    features = sorted(name for name, present in llvm.get_host_cpu_features().items() if present)
    # Numba lets people compile for another processor than the one it runs on.
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name(),
        "cpu_features": os.environ.get("NUMBA_CPU_FEATURES") or " ".join(features),
    }


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine_differences(recorded: Any, here: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between two machines, in words: `numba 0.61.0 there, 0.68.1 here`."""
    if not isinstance(recorded, Mapping):
        return ("the recording machine is unknown",)
    found = [
        f"{name} {recorded.get(name)} there, {here[name]} here"
        for name in ("python", "system", "cpu")
        if recorded.get(name) != here[name]
    ]
    packages = recorded.get("packages")
    packages = packages if isinstance(packages, Mapping) else {}
    found += [
        f"{name} {packages.get(name)} there, {here['packages'][name]} here"
        for name in ("numpy", "numba", "llvmlite")
        if packages.get(name) != here["packages"][name]
    ]
    there, own = (set(str(m.get("cpu_features", "")).split()) for m in (recorded, here))
    if there != own:
        found.append(f"processor features {_some(there ^ own)} on one side only")
    return tuple(found)


def _some(words: Sequence[str] | set[str]) -> str:
    listed = sorted(words)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
