"""A recorded episode as plain arrays, and how it is read from a file. See `environments.replay`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from gymnasium import spaces

from environments import replay_file
from environments.errors import RefusedFile, UsageError
from environments.replay_header import Identity, Parent, identity_of, parent_of, scenario_of, spec_of
from environments.replay_pictures import Pictures
from environments.replay_views import GroupView, Views, ViewTrack
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array, SimState, action_shape


class PolicyTrace(NamedTuple):
    """What a policy thought at one step, for the agents of one group in the recorded copy."""

    probabilities: Array
    """`[N, K]`: probability of each discrete action (MultiDiscrete: `[N, sum K]`); Box: `[N, 2 * dims]`, the mean and
    then the standard deviation of a Gaussian. NaN in rows of agents for which no policy acted."""
    value: Array
    """`[N]`: the critic's value, NaN where there is none."""


class GroupTrack(NamedTuple):
    """What one group did and got at every step `t`."""

    action: Array  # [T, N] int32, [T, N, dims] int32 or float32: applied in step t
    acting: Array  # [T, N] bool: the action counted
    reward: Array  # [T, N] float32: paid by step t
    terminated: Array  # [T, N] bool
    truncated: Array  # [T, N] bool
    probabilities: Array  # [T, N, K] float16, NaN where no policy acted; K = 0 where none ever did
    value: Array  # [T, N] float32, NaN where there is none


@dataclass(frozen=True)
class Replay:
    """One recorded episode of `T` steps."""

    header: Mapping[str, Any]
    """Plain JSON data: environment, options, seeds, machine, outcome, and what the caller added."""
    spec: EnvSpec
    """The environment's description, as far as a viewer needs it."""
    initial: SimState
    """Complete simulation state of the episode's start."""
    groups: Mapping[str, GroupTrack]
    frames: Mapping[str, Array]
    """The game's named state arrays, `[T + 1, ...]`: before every step, and the final ones."""
    digests: Array
    """`[T + 1]` uint64: `state_digest` of the complete simulation state at every frame."""
    metrics: Array
    """`[T, M]` float32: `spec.metrics`, summed over the episode so far."""
    damage: str | None = None
    """What could not be read of the file, or None."""
    views: Mapping[str, ViewTrack] = field(default_factory=dict)
    """What agents saw, by group, where it was recorded: of somebody else's environment. Ours can be played again."""
    large_views: Views | None = None
    """The same where it is too large to be all in memory. `seen` tells either."""
    pictures: Pictures | None = None
    """What somebody else's environment drew; None where it drew nothing."""
    vouched: str = ""
    """Name of somebody else's environment that may be made, as whoever reads the file knows it: it is code."""

    @property
    def steps(self) -> int:
        """`T`: steps of the episode that are here."""
        return len(self.digests) - 1

    def seen(self, step: int) -> dict[str, GroupView]:
        """What every group saw before a step (0 to `steps` - 1), where that is in the file; else empty."""
        if not 0 <= step < self.steps:
            return {}
        if self.large_views is not None:
            return self.large_views.at(step)
        return {name: GroupView(track.obs[step], track.action_mask[step]) for name, track in self.views.items()}

    @property
    def outcome(self) -> Array:
        """`[teams]` float32: the episode's score for each of `spec.team_names`; NaN where its end is missing."""
        said = self.header.get("outcome", [np.nan] * self.spec.num_teams)
        return np.asarray(said, np.float32)

    @property
    def left_open(self) -> bool:
        """True where somebody stopped before the episode's end; all that was played is here."""
        return self.header.get("left_open") is True

    @property
    def policies(self) -> dict[str, Identity]:
        """Who sat where: `spec.team_names` -> name, file and steps of training, as far as the recorder was told."""
        listed = self.header.get("policies")
        said = listed if isinstance(listed, Mapping) else {}
        return {
            team: identity_of(said.get(team, said.get(kind)))
            for team, kind in zip(self.spec.team_names, self.spec.team_kinds, strict=True)
        }

    @property
    def scenario(self) -> str:
        """What was played, by the scenario's name; the environment's where none is known."""
        return scenario_of(self.header.get("scenario")) or self.spec.name

    @property
    def parent(self) -> Parent | None:
        """The replay that this one left at a step to go its own way (a fork), or None."""
        return parent_of(self.header.get("parent"))

    @property
    def identity(self) -> str:
        """16 hex digits that name this episode: a hash of its environment, its start and all its actions."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.initial.digest.encode() + state_digest(self.initial).tobytes())
        for name in sorted(self.groups):
            digest.update(name.encode() + np.ascontiguousarray(self.groups[name].action).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write to a file, whole or not at all. StorageFailure where it cannot be written."""
        if self.damage:
            raise UsageError(f"a damaged replay is not written again ({self.damage})")
        large = None if self.large_views is None else self.large_views.stream
        replay_file.write(Path(path), self.header, self.start(), self.tracks(), self.pictures, large)

    def start(self) -> dict[str, Array]:
        """The arrays of the start as they are called in a file."""
        arrays = {f"state/{name}": array for name, array in self.initial.arrays.items()}
        return arrays | {f"clock/{name}": array for name, array in self.initial.clock.items()}

    def tracks(self) -> dict[str, Array]:
        """The per-step arrays `[T, ...]` as they are called in a file."""
        arrays = {f"{name}/{group}": x for group, track in self.groups.items() for name, x in track._asdict().items()}
        for group, view in self.views.items():
            arrays |= {f"obs/{group}": view.obs, f"mask/{group}": view.action_mask}
        arrays |= {f"frame/{name}": array[1:] for name, array in self.frames.items()}
        return arrays | {"digest": self.digests[1:], "metrics": self.metrics}


def load(source: str | Path | BinaryIO, vouched: str = "") -> Replay:
    """Read a replay. A cut or damaged one, or one still being recorded, holds its whole chunks and says so in `damage`.

    `vouched`: see `Replay`; what a file itself says never gets there.
    RefusedFile where the file is no replay, belongs to a later schema or holds nothing that can be shown.
    """
    path = Path(source) if isinstance(source, str | Path) else None
    contents = replay_file.read(path or cast(BinaryIO, source))
    try:
        return replace(_replay_of(contents), vouched=vouched)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RefusedFile(
            f"{path or 'the replay'}: this replay contradicts itself ({type(error).__name__}: {error})"
        ) from error


def _replay_of(contents: replay_file.Contents) -> Replay:
    header, start, tracks = contents.about, contents.start, contents.tracks
    spec = spec_of(header["environment"])
    initial = SimState(_under("state/", start), _under("clock/", start), str(header["spec_digest"]))
    after = _under("frame/", tracks)
    if set(after) != set(initial.arrays):
        raise ValueError("frames and start hold different arrays")
    damage = contents.damage
    if damage is None and "left_out" in header:
        damage = f"the recording stops after step {len(tracks['digest'])}: {int(header['left_out'])} more were too many"
    replay = Replay(
        header=header,
        spec=spec,
        initial=initial,
        groups={g.name: GroupTrack(*(tracks[f"{f}/{g.name}"] for f in GroupTrack._fields)) for g in spec.groups},
        frames={name: np.concatenate([initial.arrays[name][None], later]) for name, later in after.items()},
        digests=np.concatenate([np.asarray([state_digest(initial)], np.uint64), tracks["digest"]]),
        metrics=tracks["metrics"],
        damage=damage,
        views={g.name: _views_of(g, tracks) for g in spec.groups if f"obs/{g.name}" in tracks},
        large_views=None if contents.views is None else Views(contents.views, spec.groups),
        pictures=contents.pictures,
    )
    if initial.clock["key"].shape != () or initial.clock["episode"].shape != ():
        raise ValueError("the start names no episode")
    if replay.metrics.shape != (replay.steps, len(spec.metrics)) or replay.outcome.shape != (spec.num_teams,):
        raise ValueError("metrics or outcome have the wrong shape")
    for group in spec.groups:
        _check_track(group, replay.groups[group.name], replay.steps)
    return replay


def _views_of(group: AgentGroup, tracks: Mapping[str, Array]) -> ViewTrack:
    obs, mask = tracks[f"obs/{group.name}"], tracks[f"mask/{group.name}"]
    rows, space = (*obs.shape[:1], len(group.agents)), group.observation_space
    if obs.shape != (*rows, *space.shape) or obs.dtype != space.dtype or mask.dtype != np.bool_:
        raise ValueError(f"group {group.name!r} saw {obs.dtype}{obs.shape}")
    if mask.shape != (*rows, group.mask_size):
        raise ValueError(f"group {group.name!r} has masks {mask.shape}")
    return ViewTrack(obs, mask)


def trace_width(group: AgentGroup) -> int:
    """Columns of `PolicyTrace.probabilities`."""
    space = group.action_space
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return 2 * int(np.prod(space.shape or ()))


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check_track(group: AgentGroup, track: GroupTrack, steps: int) -> None:
    """Shapes and types as the group says, and actions inside its space: compiled rules do not check them again."""
    shape, dtype = action_shape(group, steps)
    rows = (steps, len(group.agents))
    wanted = [(shape, dtype), (rows, np.bool_), (rows, np.float32), (rows, np.bool_), (rows, np.bool_)]
    for (wanted_shape, wanted_dtype), array in zip(wanted, track[:5], strict=True):
        if array.shape != wanted_shape or array.dtype != wanted_dtype:
            raise ValueError(f"group {group.name!r} holds {array.dtype}{array.shape}")
    if track.probabilities.shape not in ((*rows, 0), (*rows, trace_width(group))) or track.value.shape != rows:
        raise ValueError(f"group {group.name!r}: policy trace of the wrong shape")
    space = group.action_space
    if isinstance(space, spaces.Box):
        return
    ends = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec)  # type: ignore[attr-defined]
    if ((track.action < 0) | (track.action >= ends)).any():
        raise ValueError(f"group {group.name!r}: actions outside {space}")


def state_digest(state: SimState) -> np.uint64:
    """64-bit hash (BLAKE2b) of a complete simulation state, bit for bit."""
    digest = hashlib.blake2b(digest_size=8)
    for arrays in (state.arrays, state.clock):
        for name in sorted(arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.uint64(int.from_bytes(digest.digest(), "little"))
