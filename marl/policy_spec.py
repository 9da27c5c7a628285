"""What a policy is for and how its networks are built, as plain data that travels in its file."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from gymnasium import spaces

from environments.errors import RefusedFile, UsageError
from environments.spec import AgentGroup, EnvSpec

SCHEMA = 1
"""Of policy files."""
MOST_LAYERS, WIDEST, MOST_NUMBERS = 64, 2**16, 2**24
"""What a file may ask for: hidden layers, their width, and numbers in an observation or an action. Read before any
memory is taken for them."""
MOST_JOINT, MOST_OWN, MOST_SUMMED = 16, 32, 1024
"""Joint actions of a team, and own actions of an agent, over which expectations are summed where nothing else is said,
and the most of either where it is."""
NETWORK = ("parameters", "agent_id", "hidden", "activation", "recurrent", "recurrent_layers")
"""Fields that a policy's spec has from its learner's settings."""


@dataclass(frozen=True)
class PolicySpec:
    """All that is needed to rebuild a policy's networks and to know what it is for."""

    environment: str
    kind: str
    teams: int
    groups: tuple[AgentGroup, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: str = "shared"
    agent_id: bool = True
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    recurrent: str = "none"
    """Kind of the layers that remember, between the last hidden layer and the output and as wide: `none` or `gru`."""
    recurrent_layers: int = 1
    box: str = "gaussian"
    """Distribution over Box actions: normals whose draws are clipped, or `squashed` into the bounds by tanh, or a
    `deterministic` point, squashed too."""
    epsilon: float | None = None
    """Discrete actions: None where the networks give logits; where they give values of actions, the share of actions
    that play which is not greedy takes at random."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: algorithm, scenario, steps, parent; not used to rebuild it."""

    @classmethod
    def of(cls, env: EnvSpec, kind: str, **network: Any) -> PolicySpec:
        """Spec of a policy for that kind of team of an environment."""
        team = env.kind(kind)
        groups = tuple(env.group(name) for name in team.groups)
        return cls(env.name, kind, team.teams, groups, dict(env.options), **network)

    @property
    def memory(self) -> int:
        """Numbers that recurrent networks carry for each agent from one step to the next; else 0."""
        return 0 if self.recurrent == "none" else self.recurrent_layers * self.hidden[-1]

    def members(self, group: AgentGroup) -> int:
        """Agents of the group in one team."""
        return len(group.agents) // self.teams

    @cached_property
    def build(self) -> str:
        """What policies have in common whose networks have one shape and whose actions mean the same."""
        unused = dict.fromkeys(("environment", "kind", "options", "about"))
        return json.dumps(self.to_json() | unused, sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return asdict(self) | {"groups": [_group_to_json(group) for group in self.groups]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PolicySpec:
        """An exception of some kind where the data is not what `to_json` writes."""
        groups = tuple(_group_from_json(dict(group)) for group in data["groups"])
        spec = cls(**{**data, "groups": groups, "hidden": tuple(data["hidden"])})
        if len(spec.hidden) > MOST_LAYERS or not all(1 <= width <= WIDEST for width in spec.hidden):
            raise ValueError(f"hidden layers {spec.hidden[:MOST_LAYERS]}")
        if spec.recurrent not in ("none", "gru") or not 1 <= spec.recurrent_layers <= MOST_LAYERS:
            raise ValueError(f"recurrent layers {spec.recurrent!r}, {spec.recurrent_layers} of them")
        if spec.recurrent != "none" and not spec.hidden:
            raise ValueError("recurrent layers without a hidden one below them")
        if spec.parameters not in ("shared", "per_agent"):
            raise ValueError(f"parameters {spec.parameters!r}")
        if spec.box not in ("gaussian", "squashed", "deterministic"):
            raise ValueError(f"distribution over Box actions {spec.box!r}")
        if spec.epsilon is not None and not (isinstance(spec.epsilon, float) and 0.0 <= spec.epsilon <= 1.0):
            raise ValueError(f"share of random actions {spec.epsilon!r}")
        if spec.teams < 1 or any(len(group.agents) % spec.teams or not group.agents for group in groups):
            raise ValueError(f"{spec.teams} teams do not share the agents")
        return spec


def network_of(config: Any) -> dict[str, Any]:
    """What a learner's settings say of its policy's networks, as fields of its spec."""
    return {name: getattr(config, name) for name in (*NETWORK, "box") if hasattr(config, name)}


def choices(space: spaces.Space[Any]) -> tuple[int, ...]:
    """Number of actions of each discrete choice; none for a Box."""
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiBinary):
        return (2,) * math.prod(space.shape)
    return tuple(int(n) for n in space.nvec.flat) if isinstance(space, spaces.MultiDiscrete) else ()


def check_bounded(spec: PolicySpec) -> None:
    """UsageError where a squashed policy has no bounds to squash into."""
    for group in spec.groups:
        space = group.action_space
        if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise UsageError(
                f"the actions {space} of {group.agents[0]!r} have no bounds to squash into: "
                "give the space finite ones, or train with ippo or mappo"
            )


def check_mixed(spec: PolicySpec, mixer: str, reward: str) -> None:
    """UsageError where a value-based learner has nothing to choose from, or nothing that a team's value could be of."""
    for group in spec.groups:
        if not choices(group.action_space):
            raise UsageError(
                f"values are learnt of discrete actions, and {group.agents[0]!r} has {group.action_space}: "
                "train with ippo, mappo or hasac"
            )
    members = sum(spec.members(group) for group in spec.groups)
    if mixer != "none" and reward == "agent" and members > 1:
        raise UsageError(
            f"the {members} agents of {spec.kind!r} each earn their own reward, and one value of the team is to be "
            "learnt: set --reward team_sum or team_mean, or train with iql"
        )


def expectation(spec: PolicySpec, central: bool, asked: str) -> str:
    """How a soft learner takes expectations over discrete actions: `joint`, `own` or `drawn` (`SACConfig.expectation`).

    `auto` is the first of them that stays small. UsageError where what is asked for cannot be.
    """
    sizes = {group.name: math.prod(choices(group.action_space)) for group in spec.groups}
    boxes = [group.name for group in spec.groups if not choices(group.action_space)]
    joint = math.prod(sizes[g.name] ** spec.members(g) for g in spec.groups) if central else max(sizes.values())
    own = max(sizes.values())
    if asked == "auto":
        if not boxes and joint <= MOST_JOINT:
            return "joint"
        return "own" if own <= MOST_OWN else "drawn"
    if asked == "joint" and boxes:
        raise UsageError(f"group {boxes[0]!r} has continuous actions: set --expectation own, drawn or auto")
    if asked != "drawn" and (joint if asked == "joint" else own) > MOST_SUMMED:
        raise UsageError(
            f"{joint if asked == 'joint' else own} actions are too many to sum over: set --expectation auto"
        )
    return asked


def bytes_per_sample(spec: PolicySpec, state_size: int, rows: int, span: int = 1) -> float:
    """Memory of one joint sample of a replay buffer, views of truncated lives aside.

    `rows` is the number of rewards: one per agent, or one for the team. What recurrent policies carry is kept every
    `span` steps.
    """
    total = 4 * state_size + 5 * rows + 9.0
    total += 0 if spec.recurrent == "none" else 1 + 4 * spec.memory * sum(map(spec.members, spec.groups)) / span
    for group in spec.groups:
        sight = group.observation_space
        view = math.prod(sight.shape) * np.dtype(sight.dtype).itemsize + group.mask_size + 1
        total += spec.members(group) * (view + 4 * math.prod(group.action_space.shape or ()))
    return total


NUMBERS = "biuf"
"""Kinds of numbers that other people's environments may take."""
PLAIN_FIELDS = ("name", "kind", "agents", "features", "masked", "agent_state_size")


def read_spec(path: Path | str) -> tuple[PolicySpec, Any]:
    """What a policy file says of itself: its spec, and its critic's shape as plain data or None.

    Imports no torch, but checks the weights: their checksum, and that all are finite. RefusedFile where the file is
    missing, damaged or not one of ours.
    """
    with refused(path), safetensors.safe_open(str(path), "np") as file:
        metadata = file.metadata() or {}
        if "schema" not in metadata:
            raise ValueError("written by another program")
        if metadata["schema"] != str(SCHEMA):
            raise RefusedFile(f"{path}: policy of another schema; this version reads schema {SCHEMA}")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if metadata["sha256"] != checksum(metadata, weights.items()):
            raise ValueError("damaged: its checksum does not match")
        for name, values in weights.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} is not finite")
        return PolicySpec.from_json(json.loads(metadata["policy"])), json.loads(metadata["critic"])


@contextmanager
def refused(path: Path | str) -> Iterator[None]:
    """Turn whatever a missing, damaged or hostile policy file makes fail into a RefusedFile of one line."""
    if Path(path).is_dir():
        raise RefusedFile(f"{path} is a folder, not a policy file")
    try:
        yield
    except RefusedFile:
        raise
    except FileNotFoundError:
        raise RefusedFile(f"no policy file at {path}") from None
    except Exception as error:
        from environments.replay import is_replay  # takes as long to import as all else here

        if is_replay(path):
            raise RefusedFile(f"{path} is a replay, not a policy: marl watch {shlex.quote(str(path))}") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RefusedFile(f"{path} is not a policy file that can be read ({reason})") from None


def checksum(metadata: Mapping[str, str], weights: Iterable[tuple[str, np.ndarray]]) -> str:
    """sha256 over a policy file's spec, critic and weights, whatever their order: safetensors has none of its own."""
    digest = hashlib.sha256()
    for text in (metadata["policy"], metadata["critic"]):
        digest.update(f"{len(text)}:{text}".encode())
    for name, values in sorted(weights, key=lambda item: item[0]):
        digest.update(f"{name}{values.dtype.str}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def settled(file: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order: the library has them in any, which differs from one
    process to the next, and equal policies are to be equal files."""
    (length,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + file[8 + length :]


def check_fits(policy: PolicySpec, env: EnvSpec, kind: str) -> None:
    """RefusedFile where the policy's groups do not match the environment's kind of team."""
    wanted = PolicySpec.of(env, kind)
    have = {group.name: group for group in policy.groups}
    foreign = sorted(have.keys() - {group.name for group in wanted.groups})
    if foreign:
        raise RefusedFile(f"policy for {policy.environment} has a group {foreign[0]!r}, {env.name}'s {kind} has none")
    for group in wanted.groups:
        own = have.get(group.name)
        if own is None:
            raise RefusedFile(f"policy for {policy.environment} has no group {group.name!r}, {env.name} needs it")
        for what, mine, theirs in [
            ("observation", own.observation_space, group.observation_space),
            ("action", own.action_space, group.action_space),
        ]:
            if mine != theirs:
                raise RefusedFile(
                    f"group {group.name!r}: the policy's {what} space is {mine}, {env.name}'s is {theirs}"
                )
        if policy.members(own) != wanted.members(group) and (policy.parameters == "per_agent" or policy.agent_id):
            raise RefusedFile(
                f"group {group.name!r}: the policy has {policy.members(own)} agents, "
                f"{env.name} has {wanted.members(group)}"
            )


def _group_to_json(group: AgentGroup) -> dict[str, Any]:
    spaces_of = {"observation": group.observation_space, "action": group.action_space}
    plain = {name: getattr(group, name) for name in PLAIN_FIELDS}
    own = {agent: _own_to_json(space) for agent, space in group.own_action_spaces.items()}
    told = {"own_actions": own} if own else {}
    return plain | {name: _space_to_json(space) for name, space in spaces_of.items()} | told


def _group_from_json(data: dict[str, Any]) -> AgentGroup:
    fields: dict[str, Any] = {name: data[name] for name in PLAIN_FIELDS}
    fields |= {name: tuple(data[name]) for name in ("agents", "features")}
    fields |= {f"{name}_space": _space_from_json(data[name]) for name in ("observation", "action")}
    own = {agent: _own_from_json(space) for agent, space in data.get("own_actions", {}).items()}
    for agent, space in own.items():
        if _form(space) != _form(fields["action_space"]):
            raise ValueError(f"actions {space} of {agent!r} are none of {fields['action_space']}")
    return AgentGroup(**fields, own_action_spaces=own)


def _space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound_to_json(space.low), "high": _bound_to_json(space.high)}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    raise TypeError(f"cannot store space {space}")


def _form(space: spaces.Space[Any]) -> tuple[Any, ...]:
    """What a space and the one that learners see instead have in common."""
    return choices(space), space.shape if isinstance(space, spaces.Box) else None


def _own_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": np.asarray(space.n).tolist()}
    return _space_to_json(space) | {"dtype": str(space.dtype)}


def _bound_to_json(bound: np.ndarray) -> Sequence[str]:
    flat = [repr(float(x)) for x in np.asarray(bound).reshape(-1)]
    return flat[:1] if len(set(flat)) == 1 else flat


def _own_from_json(data: dict[str, Any]) -> Any:
    if data["type"] == "MultiBinary":
        _check_size("actions", math.prod(np.atleast_1d(data["n"]).tolist()))
        return spaces.MultiBinary(data["n"])
    return _space_from_json(data, NUMBERS)


def _space_from_json(data: dict[str, Any], kinds: str = "") -> Any:
    """The space; a Box is of float32, of bytes, or of one of those kinds of numbers."""
    if data["type"] == "Discrete":
        _check_size("actions", data["n"])
        return spaces.Discrete(data["n"], start=data["start"], dtype=data.get("dtype", "int64"))
    if data["type"] == "MultiDiscrete":
        _check_size("actions", sum(np.ravel(data["nvec"]).tolist()))
        return spaces.MultiDiscrete(data["nvec"], data.get("dtype", "int64"), start=data["start"])
    shape, dtype = tuple(data["shape"]), np.dtype(data["dtype"])
    _check_size("numbers", math.prod(shape))
    if dtype not in (np.dtype(np.float32), np.dtype(np.uint8)) and dtype.kind not in kinds:
        raise ValueError(f"a space of numbers of type {dtype}")
    low, high = (_bound_from_json(data[side], shape, dtype) for side in ("low", "high"))
    return spaces.Box(low, high, shape, dtype.type)


def _check_size(what: str, count: int) -> None:
    if not 0 < count <= MOST_NUMBERS:
        raise ValueError(f"a space with {count} {what}")


def _bound_from_json(texts: Sequence[str], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    numbers: list[float] = [float(text) for text in texts]
    if dtype.kind in "iu":  # the largest ones, as floats, are too large by one
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        numbers = [min(max(int(x), least), most) for x in numbers]
    values = np.array(numbers, dtype)
    return np.full(shape, values[0]) if len(texts) == 1 else values.reshape(shape)
