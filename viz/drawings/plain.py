"""The drawing for environments that nobody drew: agents as tokens in a ring, with names, teams and who acts."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import Moment
from viz.page import Mark
from viz.scene import EDGE, INK, SOFT_INK, WHITE, Circle, Scene, Shape, Text, View
from viz.teams import team_color


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """A fixed square."""
    return View(-1.4, -1.4, 1.4, 1.4)


def draw(moment: Moment, view: View) -> Scene:
    """Every agent on a ring; who acts is in full colour."""
    count = len(moment.agents)
    shapes: list[Shape] = [Circle((0, 0), 1, None, EDGE, 0.01)]
    for i, row in enumerate(moment.agents):
        at, size = _on_ring(count, i)
        color = team_color(moment.spec, row.team)
        shapes.append(Circle(at, size, color if row.acting else color.mixed(WHITE, 0.7), WHITE, 0.015))
        if count <= 24:
            outside = (1.25 * at[0], 1.25 * at[1])
            shapes.append(Text(outside, row.name, 0.09, INK if row.acting else SOFT_INK))
    shapes.append(Text((0, 0), f"{moment.spec.name} has no drawing", 0.1, SOFT_INK))
    return Scene(view, shapes)


def spot(moment: Moment, place: int) -> Spot | None:
    """A place on the ring; in a recorded picture nobody knows."""
    if moment.film is not None:
        return None
    return _on_ring(len(moment.agents), place)


def _on_ring(count: int, place: int) -> Spot:
    angle = math.pi / 2 - 2 * math.pi * place / count
    return Spot((math.cos(angle), math.sin(angle)), min(0.2, 2.2 / max(1, count)))


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """Actions by number."""
    space = group.action_space
    if isinstance(space, spaces.Discrete):
        return (tuple(str(k) for k in range(int(space.n))),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(tuple(str(k) for k in range(int(n))) for n in space.nvec)
    return (tuple(f"[{d}]" for d in range(math.prod(space.shape or ()))),)


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """None: nothing is known of the game."""
    return []


DRAWING = Drawing(view, draw, actions, events, spot)
