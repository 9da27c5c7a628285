"""A replay's numbers for other programs: CSV (a row for every step and agent) or npz (whole arrays)."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from environments.replay import GroupTrack, Replay
from environments.spec import AgentGroup
from environments.vector import Array
from viz.drawings import drawing_of
from viz.files import replaced

Progress = Callable[[int], None]
FIELDS = ("step", "agent", "team", "policy", "acting", "action", "reward", "return", "terminated", "truncated", "value")
"""Columns of a CSV file, before those of probabilities."""


def save_csv(replay: Replay, path: Path, steps: range, progress: Progress | None = None) -> None:
    """Write a row for every one of these steps and every agent. StorageFailure where it cannot be written.

    Cells are empty where nothing is known: the value of a policy without one, the action of an agent that did not act.
    """
    width = max((track.probabilities.shape[-1] for track in replay.groups.values()), default=0)

    def save(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*FIELDS, *(f"probability_{k}" for k in range(width))])
            returns = {name: track.reward[: steps.start].sum(0, np.float64) for name, track in replay.groups.items()}
            groups = {group.name: _Agents.of(replay, group) for group in replay.spec.groups}
            for done, step in enumerate(steps, 1):
                for name, agents in groups.items():
                    returns[name] += agents.track.reward[step]
                    writer.writerows(_rows(agents, step, returns[name]))
                if progress:
                    progress(done)

    replaced(path, save)


class _Agents(NamedTuple):
    """What is the same for a group's agents in every row."""

    track: GroupTrack
    names: tuple[str, ...]
    teams: tuple[str, ...]
    policies: tuple[str, ...]
    actions: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, replay: Replay, group: AgentGroup) -> _Agents:
        teams = tuple(replay.spec.team_names[team] for team in replay.spec.team_of(group))
        players = replay.policies
        actions = drawing_of(replay.spec.name).actions(replay.spec, group)
        policies = tuple(players[team].name for team in teams)
        return cls(replay.groups[group.name], group.agents, teams, policies, actions)


def _rows(agents: _Agents, step: int, returns: Array) -> Iterator[list[Any]]:
    track = agents.track
    for n, name in enumerate(agents.names):
        acting, value = bool(track.acting[step, n]), float(track.value[step, n])
        yield [
            step,
            name,
            agents.teams[n],
            agents.policies[n],
            int(acting),
            _action(track.action[step, n], agents.actions) if acting else "",
            float(track.reward[step, n]),
            float(returns[n]),
            int(track.terminated[step, n]),
            int(track.truncated[step, n]),
            "" if np.isnan(value) else value,
            *("" if np.isnan(p) else float(p) for p in track.probabilities[step, n]),
        ]


def _action(action: Array, names: tuple[tuple[str, ...], ...]) -> str:
    """One action in words; several choices, or a continuous one's numbers, with blanks between them."""
    if action.dtype.kind == "f":
        return " ".join(f"{x:.7g}" for x in action.reshape(-1))
    chosen = zip(action.reshape(-1).tolist(), names, strict=True)
    return " ".join(words[k].replace(" ", "_") if k < len(words) else str(k) for k, words in chosen)


def save_npz(replay: Replay, path: Path, steps: range) -> None:
    """Write the arrays of these steps, compressed. StorageFailure where it cannot be written.

    `step`, and for every array of `docs/replay-format.md` its name with `_` for whatever is neither letter nor digit:
    `action_agent` for instance. `frame_...` have one row more than there are steps: before each of them, and after
    the last. `agents_...` and `features_...` name the columns. Large views are written one by one, up to the first that
    the replay does not hold.
    """
    arrays: dict[str, Array] = {"step": np.arange(steps.start, steps.stop)}
    for name, array in replay.tracks().items():
        if not name.startswith("frame/"):
            arrays[name] = array[steps.start : steps.stop]
    arrays |= {f"frame/{name}": array[steps.start : steps.stop + 1] for name, array in replay.frames.items()}
    for group in replay.spec.groups:
        arrays[f"agents/{group.name}"] = np.array(group.agents)
        if group.features:
            arrays[f"features/{group.name}"] = np.array(group.features)
    named: dict[str, Array] = {}
    for name, array in arrays.items():
        plain = _plain(name)
        named[plain if plain not in named else f"{plain}_{len(named)}"] = array

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **named)
        if replay.large_views is not None:
            _append_views(replay, temporary, steps)

    replaced(path, save)


def _append_views(replay: Replay, path: Path, steps: range) -> None:
    """Add `obs_...` and `mask_...` to an npz file, one step in memory at a time."""
    known = sum(1 for _ in takewhile(bool, map(replay.seen, steps)))
    if not known:
        return
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for group, view in replay.seen(steps.start).items():
            for k, (what, row) in enumerate(zip(("obs", "mask"), view, strict=True)):
                about = {
                    "descr": np.lib.format.dtype_to_descr(row.dtype),
                    "fortran_order": False,
                    "shape": (known, *row.shape),
                }
                with file.open(_plain(f"{what}/{group}") + ".npy", "w", force_zip64=True) as part:
                    np.lib.format.write_array_header_2_0(part, about)
                    for step in steps[:known]:
                        part.write(np.ascontiguousarray(replay.seen(step)[group][k]).tobytes())


def _plain(name: str) -> str:
    """A name that is one everywhere: those of a file may hold anything, and an npz is a folder of files."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII)
