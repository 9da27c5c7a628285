"""Two replays of one environment side by side: where they first differ, and what differed there."""

from __future__ import annotations

import numpy as np

from environments.errors import UsageError
from environments.replay import Replay
from viz.moment import ReplayMoments
from viz.page import Mark
from viz.panel import action_text


def check_comparable(one: Replay, other: Replay) -> None:
    """UsageError where two replays do not show the same agents of the same environment."""
    if one.spec.name != other.spec.name:
        raise UsageError(f"only replays of one environment can be compared, not {one.spec.name} and {other.spec.name}")
    spaces = [[group.action_space for group in replay.spec.groups] for replay in (one, other)]
    if one.spec.agents != other.spec.agents or spaces[0] != spaces[1]:
        raise UsageError(
            f"only replays with the same agents can be compared, here are {len(one.spec.agents)} and "
            f"{len(other.spec.agents)}, or others; record both with the same scenario"
        )


def first_difference(one: Replay, other: Replay) -> Mark | None:
    """Where two replays part, and by what: the start, an agent's action, or the state; None where they are equal."""
    steps = min(one.steps, other.steps)
    if one.initial.clock["seed"] != other.initial.clock["seed"] or one.digests[0] != other.digests[0]:
        return Mark(0, "they begin differently", "difference")
    acted = _first_action(one, other, steps)
    states = np.flatnonzero(one.digests[: steps + 1] != other.digests[: steps + 1])
    if acted is not None and not (len(states) and states[0] <= acted):
        return Mark(acted, _told(one, other, acted), "difference")
    if len(states):
        return Mark(int(states[0]), "first difference: the state, after the same actions", "difference")
    if one.steps != other.steps:
        return Mark(steps, "first difference: one of them ends here", "difference")
    return None


def _first_action(one: Replay, other: Replay, steps: int) -> int | None:
    """The first step in which an agent that acts does something else."""
    found = []
    for name, track in one.groups.items():
        theirs = other.groups[name]
        other_action = (track.action[:steps] != theirs.action[:steps]).reshape(steps, track.acting.shape[1], -1).any(2)
        differs = np.flatnonzero((other_action & track.acting[:steps]).any(1))
        found += [int(differs[0])] if len(differs) else []
    return min(found, default=None)


def _told(one: Replay, other: Replay, step: int) -> str:
    """`first difference: agent_1 left | right`."""
    here, there = ReplayMoments(one)[step], ReplayMoments(other)[step]
    parts = [
        f"{row.name} {action_text(here, row)} | {action_text(there, twin)}"
        for row, twin in zip(here.agents, there.agents, strict=True)
        if row.acting and np.any(np.asarray(row.action) != np.asarray(twin.action))
    ]
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    return f"first difference: {parts[0]}{more}"
