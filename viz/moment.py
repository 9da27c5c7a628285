"""What there is to show at one instant: plain data, made from a replay's frame or from a live environment.

Imports no environment and no screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments.replay import GroupTrack, Replay
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array, SimState, VectorEnv
from viz.teams import policy_names

TRAIL_FRAMES = 12


class Film(NamedTuple):
    """What the environment itself drew."""

    size: tuple[int, int]
    """Height and width of all its pictures."""
    pixels: NDArray[np.uint8] | None
    """This instant's picture `[H, W, 3]`, None where it is missing."""


class AgentRow(NamedTuple):
    """One agent at one instant."""

    name: str
    group: AgentGroup
    place: int
    """Its place in `spec.agents`."""
    team: int
    """Column of `spec.team_names`."""
    acting: bool
    """Its action counts now (in a final frame: False)."""
    action: Array | None
    """What it does next, None where not known."""
    probabilities: Array | None
    """`[K]`, what its policy thought of each action; None where not known."""
    value: float | None
    reward: float | None
    """Paid by the last step, None at the start or where not known."""
    total: float | None
    """Rewards so far in this episode."""


@dataclass(frozen=True)
class Moment:
    """Everything that a drawing or a panel may show."""

    spec: EnvSpec
    step: int
    """Steps made so far."""
    steps: int | None
    """Steps of the whole episode, where known."""
    arrays: Mapping[str, Array]
    """The game's named state arrays now."""
    past: Mapping[str, Array]
    """The same at up to `TRAIL_FRAMES` instants before, oldest first, `[k, ...]`."""
    agents: tuple[AgentRow, ...]
    """In the order of `spec.agents`."""
    scores: Array
    """`[teams]`: rewards so far, summed over each team's agents."""
    outcome: Array | None
    """`[teams]`, once the episode is over."""
    metrics: tuple[tuple[str, float], ...] = ()
    """Named sums over the episode so far."""
    policies: tuple[str, ...] = ()
    """Who plays for each of `spec.team_names`, in a few words; empty where that is not known."""
    share: float = 0.0
    """How far it is on the way to the next instant, in [0, 1)."""
    ahead: Mapping[str, Array] = field(default_factory=dict)
    """The named state arrays of the next instant, where `share` is more than 0."""

    film: Film | None = None
    """What the environment itself drew, where that was recorded."""
    scenario: str = ""
    """Name of what is played; empty where nothing but the environment is known."""

    @property
    def title(self) -> str:
        """What is played: a scenario, or an environment."""
        return self.scenario or self.spec.name

    def smooth(self, name: str, leap: float = 1.5) -> Array:
        """A state array of places, on its way to the next instant; what goes further than `leap` waits until then."""
        now = self.arrays[name]
        if self.share <= 0 or name not in self.ahead:
            return now
        gap = np.asarray(self.ahead[name], np.float64) - now
        moved: Array = now + np.where(np.abs(gap) <= leap, self.share * gap, 0.0)
        return moved

    @property
    def over(self) -> bool:
        """True in the final state."""
        return self.outcome is not None


class ReplayMoments:
    """Moments of a replay by frame number, with what has to be summed only once."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self._held: Moment | None = None
        """The last one that was asked for: a page asks for it several times."""
        self._policies = policy_names(replay)
        self._places = {name: place for place, name in enumerate(replay.spec.agents)}
        self._totals = {
            name: np.concatenate(
                [np.zeros((1, track.reward.shape[1])), np.cumsum(track.reward, axis=0, dtype=np.float64)]
            )
            for name, track in replay.groups.items()
        }

    def __len__(self) -> int:
        return self.replay.steps + 1

    def __getitem__(self, frame: int) -> Moment:
        """The moment before step `frame`; the last one is the final state. IndexError outside."""
        replay = self.replay
        if not 0 <= frame <= replay.steps:
            raise IndexError(f"frame {frame} of a replay with frames 0 to {replay.steps}")
        if self._held is None or self._held.step != frame:
            self._held = self._moment(frame)
        return self._held

    def _moment(self, frame: int) -> Moment:
        replay = self.replay
        spec = replay.spec
        agents = [
            self._row(group, n, team, frame) for group in spec.groups for n, team in enumerate(spec.team_of(group))
        ]
        scores = np.zeros(spec.num_teams)
        for row in agents:
            scores[row.team] += row.total or 0.0
        known = frame > 0 and len(spec.metrics) > 0
        first = max(0, frame - TRAIL_FRAMES)
        return Moment(
            spec=spec,
            step=frame,
            steps=replay.steps,
            arrays={name: array[frame] for name, array in replay.frames.items()},
            past={name: array[first:frame] for name, array in replay.frames.items()},
            agents=tuple(sorted(agents, key=lambda row: row.place)),
            scores=scores,
            outcome=replay.outcome if frame == replay.steps and not (replay.damage or replay.left_open) else None,
            metrics=_named(spec, replay.metrics[frame - 1]) if known else (),
            policies=self._policies,
            film=None if replay.pictures is None else Film(replay.pictures.size, replay.pictures.at(frame)),
            scenario=replay.scenario,
        )

    def at(self, frame: int, share: float) -> Moment:
        """The moment before step `frame`, `share` of the way to the next; beyond the end, the final one."""
        moment = self[min(frame, self.replay.steps)]
        if share <= 0 or frame >= self.replay.steps:
            return moment
        return replace(moment, share=share, ahead={n: a[frame + 1] for n, a in self.replay.frames.items()})

    def track(self, place: int) -> tuple[GroupTrack, int]:
        """What is recorded of an agent's group, and the agent's number in it."""
        name = self.replay.spec.agents[place]
        for group in self.replay.spec.groups:
            if name in group.agents:
                return self.replay.groups[group.name], group.agents.index(name)
        raise IndexError(f"no group holds {name}")

    def _row(self, group: AgentGroup, n: int, team: int, frame: int) -> AgentRow:
        track = self.replay.groups[group.name]
        last = frame == self.replay.steps
        acting = not last and bool(track.acting[frame, n])
        probabilities = track.probabilities[frame, n] if acting else np.zeros(0)
        known = probabilities.size > 0 and not np.isnan(probabilities).any()
        value = float(track.value[frame, n]) if acting else np.nan
        return AgentRow(
            name=group.agents[n],
            group=group,
            place=self._places[group.agents[n]],
            team=team,
            acting=acting,
            action=track.action[frame, n] if acting else None,
            probabilities=probabilities.astype(np.float32) if known else None,
            value=None if np.isnan(value) else value,
            reward=float(track.reward[frame - 1, n]) if frame > 0 else None,
            total=float(self._totals[group.name][frame, n]),
        )


def live_moment(vector: VectorEnv, copy: int) -> Moment:
    """What a running environment's copy looks like. Actions and single agents' returns are not known to it."""
    spec, buffers = vector.spec, vector.buffers
    # Of somebody else's environment nothing is known but what agents see, and capturing may be impossible.
    state = SimState({}, {}, spec.digest) if ":" in spec.name else vector.capture(copy)
    over = bool(buffers.episode_over[copy])
    places = {name: place for place, name in enumerate(spec.agents)}
    agents = [
        AgentRow(
            name=group.agents[n],
            group=group,
            place=places[group.agents[n]],
            team=team,
            acting=bool(out.acting[copy, n]) and not over,
            action=None,
            probabilities=None,
            value=None,
            reward=float(out.reward[copy, n]),
            total=None,
        )
        for group, out in zip(spec.groups, buffers.groups, strict=True)
        for n, team in enumerate(spec.team_of(group))
    ]
    return Moment(
        spec=spec,
        step=int(vector.episode_step[copy]),
        steps=spec.max_steps,
        arrays=state.arrays,
        past={},
        agents=tuple(sorted(agents, key=lambda row: row.place)),
        scores=np.asarray(state.clock.get("score", np.zeros(spec.num_teams)), np.float64),
        outcome=np.array(buffers.outcome[copy]) if over else None,
        metrics=_named(spec, buffers.metrics[copy]),
    )


def _named(spec: EnvSpec, values: Array) -> tuple[tuple[str, float], ...]:
    return tuple((name, float(value)) for (name, _), value in zip(spec.metrics, values, strict=True))
