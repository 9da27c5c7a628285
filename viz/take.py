"""One replay with all that it takes to show it: its moments, its view, what happened, what is known beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from environments.replay import Replay
from environments.vector import Array
from viz.camera import Camera
from viz.drawings import Spot, draw, drawing_of, marks_of
from viz.insight import Insight, Insights
from viz.moment import Moment, ReplayMoments
from viz.page import Mark
from viz.scene import GOLD, INK, WHITE, Circle, Point, Polygon, Scene, Shape, View
from viz.teams import team_color

LONGEST_NOTE = 60
"""Letters of what a header says."""
VEIL = INK.faded(0.22)


class Take:
    """What is shown of one replay."""

    def __init__(self, replay: Replay, view: View, name: str = "", insights: Insights | None = None) -> None:
        """RefusedFile where the recorded states cannot be drawn."""
        self.replay = replay
        self.view = view
        self.name = name
        self.insights = insights
        self.moments = ReplayMoments(replay)
        self.marks = [*marks_of(replay), *self._end()]

    def _end(self) -> list[Mark]:
        """The episode's end, with how it went, or where somebody stopped; none where the file is cut."""
        if self.replay.left_open and self.replay.damage is None:
            return [Mark(self.replay.steps, "left open here: the episode had not ended", "end")]
        if self.replay.damage is not None or not np.isfinite(self.replay.outcome).all():
            return []
        spec = self.replay.spec
        cut = any(track.truncated[-1].any() for track in self.replay.groups.values())
        scores = ", ".join(f"{t} {x:+.4g}" for t, x in zip(spec.team_names[:4], self.replay.outcome, strict=False))
        return [Mark(self.replay.steps, f"{'time is up' if cut else 'the end'}: {scores}", "end")]

    @cached_property
    def team_rewards(self) -> tuple[Array, ...]:
        """`[T]` by team: what its agents were paid by each step, summed."""
        spec = self.replay.spec
        totals = [np.zeros(self.replay.steps) for _ in range(spec.num_teams)]
        for group in spec.groups:
            for n, team in enumerate(spec.team_of(group)):
                totals[team] += self.replay.groups[group.name].reward[:, n]
        return tuple(totals)

    def rewards(self, place: int) -> Array:
        """`[T]`: what an agent was paid by each step."""
        track, n = self.moments.track(place)
        return track.reward[:, n]

    def spot(self, moment: Moment, place: int | None) -> Spot | None:
        """Where an agent is drawn, if it has a place."""
        if place is None:
            return None
        spot = drawing_of(self.replay.spec.name).spot(moment, place)
        return spot if spot is not None and np.isfinite([*spot.at, spot.radius]).all() else None

    def agent_at(self, moment: Moment, point: Point, slack: float) -> int | None:
        """The agent that is drawn at a point, or nearest to it within `slack`."""
        found: list[tuple[float, int]] = []
        for row in moment.agents:
            spot = self.spot(moment, row.place)
            if spot is not None:
                gap = float(np.hypot(spot.at[0] - point[0], spot.at[1] - point[1]))
                if gap <= spot.radius + slack:
                    found.append((gap, row.place))
        return min(found)[1] if found else None

    def insight(self, frame: int) -> Mapping[str, Insight] | None:
        """What agents see and think at a frame, where the replay says it or somebody knows."""
        if self.insights is not None:
            return self.insights.at(frame)
        told = {}
        for name, seen in self.replay.seen(frame).items():
            mask = seen.action_mask if seen.action_mask.shape[-1] else None
            told[name] = Insight(self.replay.spec.group(name).features, seen.obs, mask)
        return told or None

    @property
    def unseen(self) -> str:
        """Why the replay does not hold what agents saw, where it says so."""
        said = self.replay.header.get("no_observations")
        return said[:LONGEST_NOTE] if isinstance(said, str) and said.isprintable() else ""

    def scene(self, moment: Moment, camera: Camera, place: int | None, sight: bool) -> Scene:
        """The picture as the camera sees it, the selected agent in a ring; with `sight`, what it cannot see veiled."""
        drawn = draw(moment, self.view)
        spot = self.spot(moment, place)
        shapes: list[Shape] = list(drawn.shapes)
        if place is not None and sight:
            shapes += self._veil(moment, place)
        if spot is not None:
            wide = min(max(0.16 * spot.radius, 0.004 * self.view.height), 0.012 * self.view.height)
            shapes.append(Circle(spot.at, spot.radius + 1.6 * wide, None, WHITE, 2 * wide))
            shapes.append(Circle(spot.at, spot.radius + 1.6 * wide, None, GOLD, wide))
        return replace(drawn, shapes=shapes, view=camera.view(self.view, spot.at if spot else None))

    def _veil(self, moment: Moment, place: int) -> list[Shape]:
        """Everything outside an agent's field of view, darkened: one shape with a hole."""
        hole = drawing_of(self.replay.spec.name).sight(moment, place)
        if len(hole) < 3:
            return []
        far = 4 * max(self.view.width, self.view.height)
        x, y = (self.view.left + self.view.right) / 2, (self.view.bottom + self.view.top) / 2
        rim = [(x - far, y - far), (x + far, y - far), (x + far, y + far), (x - far, y + far), (x - far, y - far)]
        near = min(range(len(hole)), key=lambda k: math.dist(hole[k], rim[0]))
        hole = (*hole[near:], *hole[:near])  # the way from rim to hole must not cross the hole
        edge = team_color(moment.spec, moment.agents[place].team)
        width = 0.004 * self.view.height
        return [Polygon((*rim, *hole, hole[0], rim[0]), VEIL), Polygon(tuple(hole), None, edge, width)]
