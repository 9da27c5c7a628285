"""The side panel: what every agent does, thinks and gets at one moment. Plain shapes in pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from viz.drawings import drawing_of
from viz.letters import width_of
from viz.moment import AgentRow, Moment
from viz.page import pixels
from viz.scene import EDGE, FAINT_INK, GRID, INK, PAPER, SOFT_INK, Box, Circle, Color, Line, Scene, Shape, Text
from viz.teams import team_color

MARGIN = 16
TITLE = 40
CARD = 112
BARE_CARD = 58
"""Height of an agent's card without what its policy thought."""
GAP = 10
BARS = 36
LABELLED = 8
"""Most bars that get a label each."""


class Choice(NamedTuple):
    """One discrete choice of an agent."""

    names: tuple[str, ...]
    chosen: int | None
    probabilities: tuple[float, ...] | None


def choices_of(moment: Moment, row: AgentRow) -> list[Choice]:
    """The discrete choices of an agent's action, with their names; none for continuous actions."""
    space = row.group.action_space
    if isinstance(space, spaces.Box):
        return []
    names = drawing_of(moment.spec.name).actions(moment.spec, row.group)
    chosen = [None] * len(names) if row.action is None else [int(a) for a in np.ravel(row.action)]
    found, first = [], 0
    for part, picked in zip(names, chosen, strict=True):
        known = None
        if row.probabilities is not None:
            known = tuple(float(p) for p in row.probabilities[first : first + len(part)])
        found.append(Choice(part, picked, known))
        first += len(part)
    return found


def action_text(moment: Moment, row: AgentRow) -> str:
    """What an agent does now, in words."""
    if not row.acting or row.action is None:
        return "—"
    if isinstance(row.group.action_space, spaces.Box):
        return "  ".join(f"{x:+z.2f}" for x in np.ravel(row.action))
    return " · ".join(c.names[c.chosen] for c in choices_of(moment, row) if c.chosen is not None)


def visible_cards(height: int, detailed: bool) -> int:
    """How many agents' cards fit; `detailed` ones show what policies thought."""
    return max(1, (height - TITLE) // ((CARD if detailed else BARE_CARD) + GAP))


def card_at(y: float, height: int, detailed: bool) -> int | None:
    """Number, among the cards that are shown, of the one at a height of the panel; None between them."""
    step = (CARD if detailed else BARE_CARD) + GAP
    row, inside = divmod(y - TITLE, step)
    return int(row) if 0 <= row < visible_cards(height, detailed) and inside < step - GAP else None


def panel(moment: Moment, width: int, height: int, scroll: int = 0, detailed: bool = True) -> Scene:
    """Cards of the agents from number `scroll` on, as many as fit."""
    fit = visible_cards(height, detailed)
    first = min(max(scroll, 0), max(0, len(moment.agents) - fit))
    shown = moment.agents[first : first + fit]
    count = len(moment.agents)
    range_text = f"{count} agents" if len(shown) == count else f"{first + 1}–{first + len(shown)} of {count}"
    shapes: list[Shape] = [
        Line(((0.5, 0), (0.5, height)), EDGE, 1),
        Text((MARGIN, TITLE / 2 + 2), "agents", 15, INK, "left", True),
        Text((width - MARGIN, TITLE / 2 + 2), range_text, 13, FAINT_INK, "right"),
    ]
    y = float(TITLE)
    for row in shown:
        shapes += _card(moment, row, width, y, detailed)
        y += (CARD if detailed else BARE_CARD) + GAP
    if height - y > 30 + 22 * len(moment.metrics):
        shapes += _metrics(moment, width, y + 18)
    return pixels(width, height, shapes)


def _metrics(moment: Moment, width: int, y: float) -> list[Shape]:
    """The environment's own sums over the episode so far, a line each."""
    shapes: list[Shape] = []
    for i, (name, number) in enumerate(moment.metrics):
        shapes.append(Text((MARGIN, y + 22 * i), name.replace("_", " "), 13, SOFT_INK, "left", False, width * 0.6))
        shapes.append(Text((width - MARGIN, y + 22 * i), f"{number:g}", 13, INK, "right"))
    return shapes


def _card(moment: Moment, row: AgentRow, width: int, y: float, detailed: bool) -> list[Shape]:
    color = team_color(moment.spec, row.team)
    left, right = MARGIN - 4.0, width - MARGIN + 4.0
    strong = row.acting or moment.over
    shapes: list[Shape] = [
        Box((left, y), (right, y + (CARD if detailed else BARE_CARD)), PAPER, GRID, 1, 8),
        Box((left, y + 10), (left + 4, y + 32), color, radius=2),
        Text((left + 14, y + 21), row.name, 14, INK if strong else SOFT_INK, "left", True, width * 0.42),
        Text((right - 10, y + 21), action_text(moment, row), 14, color.mixed(INK, 0.25), "right", True, width * 0.5),
    ]
    shapes += _numbers(row, left + 14, right - 10, y + 44)
    if detailed:
        shapes += _thoughts(moment, row, left + 14, right - 10, y + 58, color)
    return shapes


def _numbers(row: AgentRow, left: float, right: float, y: float) -> list[Shape]:
    """Reward of the last step, return so far, value of now."""
    items = [("reward", row.reward), ("return", row.total), ("value", row.value)]
    shapes: list[Shape] = []
    step = (right - left) / len(items)
    for i, (name, number) in enumerate(items):
        x = left + i * step
        shapes.append(Text((x, y), name, 11, FAINT_INK, "left"))
        text, after = "–" if number is None else short(number), width_of(name, 11) + 7
        ink = INK if number is not None else FAINT_INK
        shapes.append(Text((x + after, y), text, 12, ink, "left", False, step - after - 2))
    return shapes


def short(number: float) -> str:
    """A signed number that fits into a card: `+1.25`, `-177.6`, `+12345`, `-1.2e+09`."""
    size = abs(number)
    return f"{number:+z.{2 if size < 100 else 1 if size < 1000 else 0}f}" if size < 1e6 else f"{number:+.1e}"


def _thoughts(moment: Moment, row: AgentRow, left: float, right: float, y: float, color: Color) -> list[Shape]:
    """Probabilities as bars, or a Gaussian's means and spreads within their bounds."""
    if isinstance(row.group.action_space, spaces.Box):
        return ranges(moment, row, left, right, y, color)
    choices = [c for c in choices_of(moment, row) if c.probabilities is not None]
    if not choices:
        return [Text(((left + right) / 2, y + 24), "no policy trace", 11, FAINT_INK)] if row.acting else []
    bars = sum(len(c.names) for c in choices)
    gap = 12.0
    unit = (right - left - gap * (len(choices) - 1)) / bars
    shapes: list[Shape] = []
    x = left
    for choice in choices:
        shapes += _bars(choice, x, unit, y, color, labelled=bars <= LABELLED)
        x += unit * len(choice.names) + gap
    return shapes


def _bars(choice: Choice, left: float, unit: float, y: float, color: Color, labelled: bool) -> list[Shape]:
    shapes: list[Shape] = []
    thickness = min(unit * 0.82, 34.0)
    base = y + BARS
    for k, name in enumerate(choice.names):
        middle = left + unit * (k + 0.5)
        p = (choice.probabilities or ())[k]
        chosen = k == choice.chosen
        x0, x1 = middle - thickness / 2, middle + thickness / 2
        shapes.append(Box((x0, y), (x1, base), GRID.faded(0.6), radius=2))
        if p > 0:
            top = base - max(1.0, BARS * min(p, 1.0))
            shapes.append(Box((x0, top), (x1, base), color if chosen else color.mixed(PAPER, 0.55), radius=2))
        if chosen:
            shapes.append(Box((x0 - 1.5, y - 1.5), (x1 + 1.5, base + 1.5), None, INK.faded(0.75), 1.2, 3))
        if labelled:
            shapes.append(Text((middle, base + 9), name, 10, INK if chosen else SOFT_INK, max_width=unit - 2))
    return shapes


def ranges(moment: Moment, row: AgentRow, left: float, right: float, y: float, color: Color) -> list[Shape]:
    """One column per dimension: the bounds, mean and one standard deviation of the policy, a dot for the action."""
    space = row.group.action_space
    if not isinstance(space, spaces.Box) or row.action is None:
        return []
    names = drawing_of(moment.spec.name).actions(moment.spec, row.group)[0]
    dims = len(np.ravel(row.action))
    low, high = np.ravel(space.low).astype(float), np.ravel(space.high).astype(float)
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -3.0), np.where(bounded, high, 3.0)
    unit = (right - left) / max(1, dims)
    shapes: list[Shape] = []

    def height(d: int, x: float) -> float:
        return y + BARS * float(1 - min(max((x - low[d]) / max(high[d] - low[d], 1e-9), 0.0), 1.0))

    for d in range(dims):
        middle, half = left + unit * (d + 0.5), min(unit * 0.3, 14.0)
        shapes.append(Box((middle - half, y), (middle + half, y + BARS), GRID.faded(0.6), radius=2))
        if row.probabilities is not None:
            mean, deviation = float(row.probabilities[d]), float(row.probabilities[dims + d])
            top, bottom = height(d, mean + deviation), height(d, mean - deviation)
            shapes.append(Box((middle - half, top), (middle + half, bottom), color.faded(0.3), radius=2))
            shapes.append(Line(((middle - half, height(d, mean)), (middle + half, height(d, mean))), color, 2))
        action = float(np.ravel(row.action)[d])
        if math.isfinite(action):
            shapes.append(Circle((middle, height(d, action)), 3.5, INK, PAPER, 1))
        if dims <= LABELLED:
            shapes.append(Text((middle, y + BARS + 9), names[d], 10, SOFT_INK, max_width=unit - 2))
    return shapes
