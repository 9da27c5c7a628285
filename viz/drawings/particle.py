"""The particle family: discs on a plane. One way to draw agents, and per scenario what lies under and over them.

Sizes and meanings are those of the rules (`environments/games/particle/`); only named state arrays are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array
from viz.drawings import Drawing, Spot
from viz.moment import AgentRow, Moment
from viz.page import Mark
from viz.scene import (
    EDGE,
    GOLD,
    GREEN,
    INK,
    OBJECT_COLORS,
    PAPER,
    WHITE,
    Arrow,
    Bubble,
    Circle,
    Color,
    LegendEntry,
    Line,
    Point,
    Polygon,
    Scene,
    Shape,
    Text,
    View,
    grid,
)
from viz.teams import team_color

MOVES = ("stay", "left", "right", "down", "up")
PUSHES = ("unused", "left", "right", "down", "up")
SPEAKERS = {"particle/reference", "particle/speaker_listener", "particle/world_comm"}
OBSTACLE = Color(150, 158, 170)
FOREST = Color(118, 176, 125)
FOOD = Color(233, 146, 54)
ZOOM_STEP = 0.25
REACH = 1.3
FARTHEST = 6.0
"""Agents may run away without end; the picture follows them this far."""

Painter = Callable[[Moment], list[Shape]]


@dataclass(frozen=True)
class Look:
    """What one scenario looks like."""

    sizes: Mapping[str, float] = field(default_factory=dict)
    """Radius by the part of an agent's name before its number; 0.05 where not named."""
    under: Painter = lambda moment: []
    """Painted before the agents."""
    over: Painter = lambda moment: []
    """Painted after them."""
    legend: tuple[LegendEntry, ...] = ()


def view(spec: EnvSpec, arrays: Mapping[str, Array]) -> View:
    """A square around the origin with all agents and landmarks, in steps of `ZOOM_STEP` so that it seldom changes."""
    places = np.concatenate([np.ravel(arrays["agent_position"]), np.ravel(arrays["landmark_position"])])
    places = np.abs(places[np.isfinite(places) & (np.abs(places) < 100)])  # treasures wait off the board
    farthest = min(float(places.max(initial=0.0)) + 0.2, FARTHEST)
    reach = max(REACH, math.ceil(farthest / ZOOM_STEP) * ZOOM_STEP)
    return View(-reach, -reach, reach, reach)


def draw(moment: Moment, view: View) -> Scene:
    """Grid, trails, landmarks, agents, words."""
    look = LOOKS[moment.spec.name]
    unit = view.height / (2 * REACH)
    around = View(-3 * view.right, view.bottom, 3 * view.right, view.top)  # wide windows show more than the view
    shapes: list[Shape] = grid(around, 0.5, 0.004 * unit)
    shapes.append(
        Polygon(((-1, -1), (1, -1), (1, 1), (-1, 1)), None, EDGE, 0.006 * unit)  # where things start
    )
    for row in moment.agents:
        shapes += _trail(moment, row.place, team_color(moment.spec, row.team), unit)
    shapes += look.under(moment)
    positions, velocities = moment.smooth("agent_position"), moment.smooth("agent_velocity", 20.0)
    for row in moment.agents:
        shapes += _agent(moment, row, _point(positions[row.place]), _point(velocities[row.place]), look, unit)
    shapes += look.over(moment)
    if moment.spec.name in SPEAKERS:
        shapes += _words(moment, look, unit)
    return Scene(view, shapes, legend=look.legend)


def _where(moment: Moment, place: int) -> Point:
    """Where an agent is, on its way between two frames."""
    return _point(moment.smooth("agent_position")[place])


def _point(pair: Array) -> Point:
    return float(pair[0]), float(pair[1])


def role_of(name: str) -> str:
    """`adversary` of `adversary_2`."""
    return name.rpartition("_")[0] or name


def _radius(look: Look, name: str) -> float:
    return look.sizes.get(role_of(name), 0.05)


def _trail(moment: Moment, place: int, color: Color, unit: float) -> list[Shape]:
    if "agent_position" not in moment.past or len(moment.past["agent_position"]) == 0:
        return []
    points = [_point(p) for p in moment.past["agent_position"][:, place]]
    points.append(_where(moment, place))
    count = len(points) - 1
    return [  # opaque, lest the joints show
        Line((points[i], points[i + 1]), PAPER.mixed(color, 0.06 + 0.39 * (i + 1) / count), 0.018 * unit)
        for i in range(count)
    ]


def _agent(moment: Moment, row: AgentRow, at: Point, velocity: Point, look: Look, unit: float) -> list[Shape]:
    radius = _radius(look, row.name)
    color = team_color(moment.spec, row.team)
    shapes: list[Shape] = [
        Circle((at[0] + 0.008 * unit, at[1] - 0.014 * unit), radius, INK.faded(0.12)),
        Circle(at, radius, color.mixed(WHITE, 0.06).faded(0.94), WHITE, 0.012 * unit),
    ]
    speed = math.hypot(*velocity)
    if speed > 0.05:
        direction = (velocity[0] / speed, velocity[1] / speed)
        length = 0.05 * unit + 0.12 * min(speed, 2.0)
        start = (at[0] + direction[0] * radius, at[1] + direction[1] * radius)
        end = (start[0] + direction[0] * length, start[1] + direction[1] * length)
        shapes.append(Arrow(start, end, color.mixed(INK, 0.35), 0.014 * unit))
    role, _, number = row.name.rpartition("_")
    alone = sum(role_of(other.name) == role for other in moment.agents) == 1
    label = row.name[:1].upper() if alone else number
    shapes.append(Text(at, label, max(0.045 * unit, min(radius * 1.15, 0.11)), WHITE, bold=True))
    return shapes


def _words(moment: Moment, look: Look, unit: float) -> list[Shape]:
    """What agents said in the step just taken, in a bubble: a letter per channel, with its strength where not 1."""
    shapes: list[Shape] = []
    for row in moment.agents:
        said = moment.arrays["communication"][row.place]
        loudest = int(np.argmax(said))
        if said[loudest] > 0:
            strength = "" if said[loudest] > 0.995 else f" {said[loudest]:.1f}"
            x, y = _where(moment, row.place)
            above = y + _radius(look, row.name) + 0.1 * unit
            shapes.append(Bubble((x, above), f"“{chr(65 + loudest)}”{strength}", 0.075 * unit))
    return shapes


def _landmarks(moment: Moment) -> list[Point]:
    return [_point(place) for place in moment.arrays["landmark_position"]]


def _targets(moment: Moment) -> list[Shape]:
    """Spread: landmarks to be covered; a ring closes around each that an agent covers."""
    shapes: list[Shape] = []
    positions = moment.arrays["agent_position"]
    for at in _landmarks(moment):
        covered = bool((np.hypot(positions[:, 0] - at[0], positions[:, 1] - at[1]) < 0.15).any())
        if covered:
            shapes.append(Circle(at, 0.19, GREEN.faded(0.14), GREEN.faded(0.8), 0.014))
        else:
            shapes.append(Circle(at, 0.11, INK.faded(0.04), INK.faded(0.35), 0.009))
    return shapes


def _target_cores(moment: Moment) -> list[Shape]:
    """The landmarks themselves, visible also under an agent."""
    return [Circle(at, 0.024, INK.faded(0.85), WHITE, 0.01) for at in _landmarks(moment)]


def _discs(radius: float, color: Color) -> Painter:
    """Landmarks as plain discs."""
    return lambda moment: [
        Circle(at, radius, color.faded(0.85), color.mixed(INK, 0.25), 0.01) for at in _landmarks(moment)
    ]


def _colored(radius: float) -> Painter:
    """Landmarks told apart by colour."""

    def paint(moment: Moment) -> list[Shape]:
        return [
            Circle(at, radius, OBJECT_COLORS[k % len(OBJECT_COLORS)].faded(0.9), WHITE, 0.012)
            for k, at in enumerate(_landmarks(moment))
        ]

    return paint


def _star(at: Point, radius: float, color: Color) -> Polygon:
    spikes = [
        (
            at[0] + math.sin(math.pi * i / 5) * radius * (1 if i % 2 == 0 else 0.42),
            at[1] + math.cos(math.pi * i / 5) * radius * (1 if i % 2 == 0 else 0.42),
        )
        for i in range(10)
    ]
    return Polygon(tuple(spikes), color, WHITE, 0.008)


def _one_goal(radius: float) -> Painter:
    """Grey landmarks, and a star on the one that counts."""

    def paint(moment: Moment) -> list[Shape]:
        goal = int(np.ravel(moment.arrays["goal"])[0])
        shapes: list[Shape] = []
        for k, at in enumerate(_landmarks(moment)):
            shapes.append(Circle(at, radius, OBSTACLE.faded(0.55), OBSTACLE, 0.01))
            if k == goal:
                shapes.append(Circle(at, radius + 0.03, None, GOLD, 0.016))
                shapes.append(_star(at, radius * 0.9, GOLD))
        return shapes

    return paint


def _missions(moment: Moment) -> list[Shape]:
    """Reference, speaker and listener: a line from each agent to the landmark that it should reach, in its colour."""
    goals = np.ravel(moment.arrays["goal"])[::-1]  # in reference, the goal that an agent knows is the other one's
    landmarks = _landmarks(moment)
    walkers = [row for row in moment.agents if role_of(row.name) != "speaker"]
    shapes: list[Shape] = []
    for i, row in enumerate(walkers):
        goal = int(goals[i if len(goals) == len(walkers) else 0])
        color = OBJECT_COLORS[goal % len(OBJECT_COLORS)]
        at, target = _where(moment, row.place), landmarks[goal]
        shapes += _dashes(at, target, color)
        shapes.append(Circle(at, 0.085, None, color, 0.016))
    return [*_colored(0.05)(moment), *shapes]


def _dashes(start: Point, end: Point, color: Color) -> list[Shape]:
    length = math.dist(start, end)
    pieces = int(min(length, 20.0) / 0.07)
    shapes: list[Shape] = []
    for i in range(pieces):
        a, b = i / pieces, (i + 0.5) / pieces
        ends = tuple((start[0] + (end[0] - start[0]) * s, start[1] + (end[1] - start[1]) * s) for s in (a, b))
        shapes.append(Line(ends, color.faded(0.6), 0.01))
    return shapes


def _ring(moment: Moment) -> list[Shape]:
    """Formation: the circle of radius 0.5 on which agents should stand."""
    return [
        shape
        for at in _landmarks(moment)
        for shape in (Circle(at, 0.5, None, GREEN.faded(0.7), 0.012), Circle(at, 0.03, INK.faded(0.7), WHITE, 0.008))
    ]


def _segment(moment: Moment) -> list[Shape]:
    """Line: the segment between two landmarks on which agents should stand."""
    ends = _landmarks(moment)
    return [
        Line((ends[0], ends[1]), GREEN.faded(0.7), 0.014),
        *(Circle(at, 0.03, INK.faded(0.7), WHITE, 0.008) for at in ends[:2]),
    ]


def _world(moment: Moment) -> list[Shape]:
    """World_comm: obstacles, food, forests, in this order among the landmarks."""
    options, landmarks = moment.spec.options, _landmarks(moment)
    obstacles, food = int(options["num_obstacles"]), int(options["num_food"])
    shapes: list[Shape] = [
        Circle(at, 0.3, FOREST.faded(0.32), FOREST.faded(0.7), 0.01) for at in landmarks[obstacles + food :]
    ]
    shapes += [Circle(at, 0.2, OBSTACLE.faded(0.85), OBSTACLE.mixed(INK, 0.25), 0.01) for at in landmarks[:obstacles]]
    shapes += [Circle(at, 0.03, FOOD, WHITE, 0.008) for at in landmarks[obstacles : obstacles + food]]
    return shapes


def _leader(moment: Moment) -> list[Shape]:
    """A ring around the adversary who gives orders."""
    return [
        Circle(_where(moment, row.place), 0.098, None, GOLD, 0.014)
        for row in moment.agents
        if role_of(row.name) == "leadadversary"
    ]


def _treasures(moment: Moment) -> list[Shape]:
    """Collect_treasure: treasures as diamonds in the colour of the deposit that takes them."""
    shapes: list[Shape] = []
    for k, (x, y) in enumerate(_landmarks(moment)):
        if abs(x) < 100 and moment.arrays["treasure_alive"][k]:
            color = OBJECT_COLORS[int(moment.arrays["treasure_type"][k]) % len(OBJECT_COLORS)]
            r = 0.042
            shapes.append(Polygon(((x - r, y), (x, y + r), (x + r, y), (x, y - r)), color, WHITE, 0.008))
    return shapes


def _purses(moment: Moment) -> list[Shape]:
    """Collect_treasure: what collectors hold, and what each deposit takes, as a ring."""
    shapes: list[Shape] = []
    deposits = [row for row in moment.agents if role_of(row.name) == "deposit"]
    collectors = [row for row in moment.agents if role_of(row.name) == "collector"]
    for kind, row in enumerate(deposits):
        at = _where(moment, row.place)
        shapes.append(Circle(at, 0.085, None, OBJECT_COLORS[kind % len(OBJECT_COLORS)], 0.024))
    for i, row in enumerate(collectors):
        held = int(moment.arrays["holding"][i])
        if held >= 0:
            x, y = _where(moment, row.place)
            color = OBJECT_COLORS[held % len(OBJECT_COLORS)]
            shapes.append(Polygon(((x - 0.04, y), (x, y + 0.04), (x + 0.04, y), (x, y - 0.04)), color, WHITE, 0.008))
    return shapes


LOOKS = {
    "particle/simple": Look(under=_discs(0.05, OBJECT_COLORS[0]), legend=(LegendEntry("target", OBJECT_COLORS[0]),)),
    "particle/adversary": Look(
        {"adversary": 0.15, "agent": 0.15}, over=_one_goal(0.08), legend=(LegendEntry("goal", GOLD),)
    ),
    "particle/push": Look(over=_one_goal(0.05), legend=(LegendEntry("goal", GOLD),)),
    "particle/reference": Look(under=_missions),
    "particle/speaker_listener": Look({"speaker": 0.075, "listener": 0.075}, under=_missions),
    "particle/spread": Look({"agent": 0.15}, _targets, _target_cores, (LegendEntry("covered", GREEN),)),
    "particle/tag": Look(
        {"adversary": 0.075, "agent": 0.05}, _discs(0.2, OBSTACLE), legend=(LegendEntry("obstacle", OBSTACLE),)
    ),
    "particle/world_comm": Look(
        {"leadadversary": 0.075, "adversary": 0.075, "agent": 0.045},
        _world,
        _leader,
        (LegendEntry("food", FOOD), LegendEntry("forest", FOREST), LegendEntry("leader", GOLD)),
    ),
    "particle/formation": Look(under=_ring, legend=(LegendEntry("target", GREEN),)),
    "particle/line": Look({"agent": 0.045}, _segment, legend=(LegendEntry("target", GREEN),)),
    "particle/collect_treasure": Look({"collector": 0.05, "deposit": 0.075}, _treasures, _purses),
}


def actions(spec: EnvSpec, group: AgentGroup) -> tuple[tuple[str, ...], ...]:
    """Moves, words, or both: a discrete action is `move + 5 * word`, a continuous one five pushes and the words."""
    space = group.action_space
    if isinstance(space, spaces.Discrete):
        count = int(space.n)
        if count % len(MOVES):
            return (tuple(f"say {_letter(k)}" for k in range(count)),)
        if count == len(MOVES):
            return (MOVES,)
        return (tuple(f"{MOVES[k % 5]}, say {_letter(k // 5)}" for k in range(count)),)
    dims = math.prod(space.shape or ())
    if dims < len(PUSHES):
        return (tuple(f"say {_letter(d)}" for d in range(dims)),)
    return (PUSHES + tuple(f"say {_letter(d)}" for d in range(dims - len(PUSHES))),)


def _letter(k: int) -> str:
    return chr(65 + k)


def events(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """Catches (tag, world_comm), collisions and full cover (spread), pick-ups and deliveries (collect_treasure),
    arrivals at what is to be reached (the others)."""
    if spec.name in ("particle/tag", "particle/world_comm"):
        return _catches(spec, frames["agent_position"])
    if spec.name in ARRIVE:
        return _arrivals(spec, frames)
    if spec.name == "particle/spread":
        return _covers(spec, frames["agent_position"], frames["landmark_position"])
    if spec.name == "particle/collect_treasure":
        return _hauls(frames["holding"])
    return []


def _touching(spec: EnvSpec, positions: Array, a: int, b: int) -> Array:
    """`[T + 1]` True where two agents overlap."""
    look = LOOKS[spec.name]
    reach = _radius(look, spec.agents[a]) + _radius(look, spec.agents[b])
    gap = positions[:, a] - positions[:, b]
    touching: Array = np.hypot(gap[:, 0], gap[:, 1]) < reach
    return touching


def _begins(flags: Array) -> list[int]:
    """Frames at which a flag becomes True."""
    return [int(t) + 1 for t in np.nonzero(flags[1:] & ~flags[:-1])[0]]


def _catches(spec: EnvSpec, positions: Array) -> list[Mark]:
    hunters = [i for i, name in enumerate(spec.agents) if "adversary" in name]
    prey = [i for i, name in enumerate(spec.agents) if "adversary" not in name]
    return [
        Mark(t, f"{spec.agents[h]} catches {spec.agents[p]}", "bad")
        for h in hunters
        for p in prey
        for t in _begins(_touching(spec, positions, h, p))
    ]


def _covers(spec: EnvSpec, positions: Array, landmarks: Array) -> list[Mark]:
    agents = positions.shape[1]
    marks = [
        Mark(t, f"{spec.agents[a]} and {spec.agents[b]} collide", "bad")
        for a in range(agents)
        for b in range(a + 1, agents)
        for t in _begins(_touching(spec, positions, a, b))
    ]
    gaps = positions[:, :, None] - landmarks[:, None]
    covered = (np.hypot(gaps[..., 0], gaps[..., 1]).min(axis=1) < 0.15).all(axis=1)
    return marks + [Mark(t, "all landmarks covered", "good") for t in _begins(covered)]


ARRIVE = tuple(f"particle/{name}" for name in ("simple", "adversary", "push", "reference", "speaker_listener"))
"""Scenarios in which agents have a landmark to reach."""
ARRIVED = 0.15
"""Distance from a landmark within which an agent is there."""


def _arrivals(spec: EnvSpec, frames: Mapping[str, Array]) -> list[Mark]:
    """An agent comes to the landmark that it should reach, or that it should not."""
    positions, landmarks = frames["agent_position"], frames["landmark_position"]
    goals = np.asarray(frames.get("goal", np.zeros(len(positions)))).reshape(len(positions), -1).astype(int)
    marks = []
    for i, name in enumerate(spec.agents):
        if role_of(name) == "speaker":
            continue
        own = goals[:, (1 - i) if goals.shape[1] > 1 else 0]  # in reference, its goal is known to the other
        gap = positions[:, i] - np.take_along_axis(landmarks, own[:, None, None], 1)[:, 0]
        tone = "bad" if role_of(name) == "adversary" else "good"
        marks += [Mark(t, f"{name} reaches the goal", tone) for t in _begins(np.hypot(gap[:, 0], gap[:, 1]) < ARRIVED)]
    return marks


def _hauls(holding: Array) -> list[Mark]:
    marks = []
    for i in range(holding.shape[1]):
        held = holding[:, i] >= 0
        marks += [Mark(t, f"collector_{i} picks up", "good") for t in _begins(held)]
        marks += [Mark(t, f"collector_{i} delivers", "good") for t in _begins(~held)]
    return marks


def spot(moment: Moment, place: int) -> Spot:
    """The agent's disc."""
    return Spot(_where(moment, place), _radius(LOOKS[moment.spec.name], moment.spec.agents[place]))


DRAWING = Drawing(view, draw, actions, events, spot)
