"""The page of one agent: who it is, what it does and why, what it gets, what it sees. Plain shapes in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from environments.vector import Array
from viz.charts import area, columns, line, reach
from viz.insight import Insight
from viz.moment import AgentRow, Moment
from viz.page import pixels
from viz.panel import BARS, action_text, choices_of, ranges, short
from viz.scene import (
    BLUE,
    EDGE,
    FAINT_INK,
    GOLD,
    GRID,
    INK,
    PAPER,
    RED,
    SOFT_INK,
    Box,
    Color,
    Line,
    Picture,
    Point,
    Scene,
    Shape,
    Text,
)
from viz.teams import amount, team_color
from viz.thumbnail import thumbnail

MARGIN = 16
ROW = 17
"""Height of a line of an action or of the observation."""
MOST_ACTIONS = 12
"""Actions beyond which only the likeliest are listed."""
CHART = 54
BELOW = 230
"""Pixels that a long list of actions leaves to the chart and the observation."""


class Agent(NamedTuple):
    """All that the page shows of one agent at one moment."""

    moment: Moment
    row: AgentRow
    number: int
    """In its group."""
    player: Mapping[str, Any]
    """What the replay says of who plays."""
    rewards: Array
    """`[T]`, by step."""
    values: Array
    """`[T]`, NaN where there is none."""
    insight: Insight | None
    """What it sees now; None where that is not known."""
    note: str = ""
    """Why that is not known."""


class _Page:
    """Shapes from the top down."""

    def __init__(self, width: int, height: int) -> None:
        self.left, self.right, self.height = float(MARGIN), float(width - MARGIN), height
        self.y = 0.0
        self.shapes: list[Shape] = [Line(((0.5, 0), (0.5, height)), EDGE, 1)]

    def room(self, wanted: float) -> bool:
        """True where that many pixels are left."""
        return self.y + wanted <= self.height

    def heading(self, text: str, beside: str = "") -> None:
        self.y += 14
        room = self.right - self.left - (min(210.0, 6.6 * len(beside)) + 10 if beside else 0)
        self.shapes.append(Text((self.left, self.y), text, 12, SOFT_INK, "left", True, room))
        if beside:
            self.shapes.append(Text((self.right, self.y), beside, 11, FAINT_INK, "right", False, 210))
        self.y += 12


def detail(agent: Agent, width: int, height: int, scroll: int = 0) -> Scene:
    """The whole page, as far as there is room; `scroll` leaves out the first columns of the observation."""
    page = _Page(width, height)
    _identity(page, agent)
    _numbers(page, agent)
    _decision(page, agent)
    if page.room(CHART + 40):
        _curve(page, agent)
    if page.room(60):
        _observation(page, agent, scroll)
    return pixels(width, height, page.shapes)


def _identity(page: _Page, agent: Agent) -> None:
    color = team_color(agent.moment.spec, agent.row.team)
    team = agent.moment.spec.team_names[agent.row.team]
    page.shapes += [
        Box((page.left - 4, 12), (page.left, 34), color, radius=2),
        Text((page.left + 10, 23), agent.row.name, 16, INK, "left", True, page.right - page.left - 90),
        Text(
            (page.right, 23),
            team if team.startswith("team") else f"team {team}",
            12,
            color.mixed(INK, 0.3),
            "right",
            False,
            130,
        ),
    ]
    page.y = 45.0
    for text in identity_lines(agent.player):
        page.shapes.append(Text((page.left, page.y), text, 11, SOFT_INK, "left", False, page.right - page.left))
        page.y += 15
    page.y -= 4


def identity_lines(player: Mapping[str, Any]) -> list[str]:
    """Who plays: algorithm, steps, scenario, seed; then the file and its fingerprint. What is not known is left out."""
    if not player:
        return ["player unknown"]
    said = {
        "algorithm": "{}",
        "steps": "{} steps",
        "scenario": "on {}",
        "seed": "seed {}",
    }
    words = {**player, "steps": amount(player["steps"])} if "steps" in player else player
    made = ", ".join(form.format(words[key]) for key, form in said.items() if key in words)
    file = PurePath(player["player"]).name if isinstance(player.get("player"), str) else ""
    digest = f"sha256 {player['sha256'][:12]}" if "sha256" in player else ""
    return [text for text in (made or player.get("name", ""), " · ".join(x for x in (file, digest) if x)) if text]


def _numbers(page: _Page, agent: Agent) -> None:
    row = agent.row
    value = row.value
    if value is None and row.acting and agent.insight is not None and agent.insight.value is not None:
        known = float(agent.insight.value[agent.number])
        value = known if np.isfinite(known) else None
    items = [("reward", row.reward), ("return", row.total), ("value", value)]
    step = (page.right - page.left) / len(items)
    page.y += 12
    for i, (name, number) in enumerate(items):
        x = page.left + i * step
        end = x + step - (10 if i < len(items) - 1 else 0)
        page.shapes.append(Text((x, page.y), name, 11, FAINT_INK, "left"))
        page.shapes.append(Text((end, page.y), "–" if number is None else short(number), 13, INK, "right", True))
    page.y += 6


def known_probabilities(agent: Agent) -> tuple[Array | None, bool]:
    """What the policy thought of each action, and whether that was worked out now instead of recorded."""
    if agent.row.probabilities is not None:
        return agent.row.probabilities, False
    if agent.row.acting and agent.insight is not None and agent.insight.probabilities is not None:
        own = np.asarray(agent.insight.probabilities[agent.number], np.float32)
        if not np.isnan(own).any():
            return own, True
    return None, False


def _decision(page: _Page, agent: Agent) -> None:
    row = agent.row
    probabilities, asked = known_probabilities(agent)
    where = "" if probabilities is None else "asked now" if asked else "as recorded"
    page.heading(f"action: {action_text(agent.moment, row)}", where)
    if not row.acting:
        words = "the episode is over" if agent.moment.over else "does not act now"
        page.shapes.append(Text((page.left, page.y + 6), words, 12, FAINT_INK, "left"))
        page.y += 18
        return
    known = row._replace(probabilities=probabilities)
    color = team_color(agent.moment.spec, row.team)
    if isinstance(row.group.action_space, spaces.Box):
        page.shapes += ranges(agent.moment, known, page.left, page.right, page.y + 6, color)
        page.y += BARS + 26
        return
    mask = None
    if agent.insight is not None and agent.insight.action_mask is not None:
        mask = agent.insight.action_mask[agent.number]
    first = 0
    for choice in choices_of(agent.moment, known):
        legal = None if mask is None else mask[first : first + len(choice.names)]
        _choice(page, choice.names, choice.chosen, choice.probabilities, legal, color)
        first += len(choice.names)


def _choice(
    page: _Page,
    names: tuple[str, ...],
    chosen: int | None,
    probabilities: tuple[float, ...] | None,
    legal: Array | None,
    color: Color,
) -> None:
    """A line per action with its probability as a bar; the one taken is framed, illegal ones are struck out."""
    order = list(range(len(names)))
    if len(order) > MOST_ACTIONS:  # the one taken, then the likeliest, then the legal ones
        weight = np.zeros(len(names)) if probabilities is None else np.asarray(probabilities, np.float64)
        allowed = np.ones(len(names), bool) if legal is None else legal
        order.sort(key=lambda k: (k != chosen, -weight[k], not allowed[k], k))
    shown = sorted(order[: min(MOST_ACTIONS, max(4, int((page.height - page.y - BELOW) // ROW)))])
    bar_left, bar_right = page.left + 112, page.right - 46
    for k in shown:
        y = page.y + ROW / 2
        allowed_here = legal is None or bool(legal[k])
        ink = INK if allowed_here else FAINT_INK
        if k == chosen:
            page.shapes.append(
                Box((page.left - 5, page.y + 0.5), (page.right + 5, page.y + ROW - 0.5), PAPER, INK.faded(0.6), 1, 4)
            )
        page.shapes.append(Text((page.left, y), names[k], 12, ink, "left", k == chosen, 106))
        if not allowed_here:
            end = page.left + min(106.0, 7.0 * len(names[k]))
            page.shapes.append(Line(((page.left, y), (end, y)), RED.faded(0.7), 1))
        page.shapes.append(Box((bar_left, y - 4), (bar_right, y + 4), GRID.faded(0.7), radius=2))
        if probabilities is not None:
            share = min(max(probabilities[k], 0.0), 1.0)
            if share > 0:
                fill = color if k == chosen else color.mixed(PAPER, 0.5)
                page.shapes.append(
                    Box((bar_left, y - 4), (bar_left + (bar_right - bar_left) * share, y + 4), fill, radius=2)
                )
            page.shapes.append(Text((page.right, y), f"{100 * share:.0f} %", 11, ink, "right"))
        page.y += ROW
    if len(shown) < len(names):
        hidden = (
            f"and {len(names) - len(shown)} less likely ones"
            if probabilities
            else f"and {len(names) - len(shown)} more"
        )
        page.shapes.append(Text((page.left, page.y + ROW / 2), hidden, 11, FAINT_INK, "left"))
        page.y += ROW
    page.y += 4


def _curve(page: _Page, agent: Agent) -> None:
    """Reward by step as an area, the return as a line, the value as a thin one; a hair line where it is now."""
    color = team_color(agent.moment.spec, agent.row.team)
    page.heading("reward, return and value", f"of {len(agent.rewards)} steps")
    box = Box((page.left, page.y), (page.right, page.y + CHART))
    page.shapes.append(Box(box.corner, box.opposite, PAPER, GRID, 1, 3))
    rewards = columns(agent.rewards, int(page.right - page.left))
    page.shapes += area(rewards, box, color.faded(0.45), 1.05 * reach(rewards))
    returns = np.cumsum(np.nan_to_num(agent.rewards, posinf=0, neginf=0), dtype=np.float64)
    told: list[tuple[str, Color, float, float | None]] = [("reward", color, reach(rewards), None)]
    for name, series, ink in (("return", returns, INK), ("value", agent.values, GOLD)):
        finite = series[np.isfinite(series)]
        if finite.size:
            low, high = min(0.0, float(finite.min())), max(0.0, float(finite.max()))
            page.shapes += line(series, box, ink, low, high)
            told.append((name, ink, high, low))
    steps = max(1, len(agent.rewards))
    at = page.left + (page.right - page.left) * min(1.0, agent.moment.step / steps)
    page.shapes.append(Line(((at, page.y), (at, page.y + CHART)), INK.faded(0.6), 1))
    y = page.y + CHART + 9
    for i, (name, ink, high, low_end) in enumerate(told):
        x = page.left + (0, 94, 204)[i]
        span = f"±{high:.3g}" if low_end is None else f"{low_end:.3g}…{high:.3g}"
        page.shapes.append(Line(((x, y), (x + 10, y)), ink, 2.5))
        page.shapes.append(Text((x + 14, y), f"{name} {span}", 10, SOFT_INK, "left", False, 108))
    page.y += CHART + 16


def _observation(page: _Page, agent: Agent, scroll: int) -> None:
    """Named columns in two rows side by side, each with its number and a bar."""
    if agent.insight is None:
        page.heading("observation", agent.note)
        if not agent.note:
            page.shapes.append(Text((page.left, page.y + 6), "not recorded", 12, FAINT_INK, "left"))
        return
    own = np.asarray(agent.insight.obs[agent.number])
    if own.ndim != 1:
        _image(page, own)
        return
    names = agent.insight.features or tuple(f"[{k}]" for k in range(len(own)))
    lines = max(1, int((page.height - page.y - 30) // ROW))
    across = 1 if len(own) <= lines else 2
    first = min(max(scroll, 0) * across, max(0, across * (-(-len(own) // across) - lines)))
    last = min(len(own), first + across * lines)
    everything = last - first == len(own)
    page.heading("observation", f"{len(own)} numbers" if everything else f"{first + 1}–{last} of {len(own)}")
    wide = (page.right - page.left - 12 * (across - 1)) / across
    for k in range(first, last):
        x = page.left + (k - first) % across * (wide + 12)
        y = page.y + ((k - first) // across + 0.5) * ROW
        _column(page, names[k], float(own[k]), (x, y), wide)
    page.y += ROW * -(-(last - first) // across)


def _image(page: _Page, own: Array) -> None:
    """An observation that is a grid, as large as there is room for."""
    page.heading("observation", " × ".join(map(str, own.shape)))
    image = thumbnail(own)
    wide, high = page.right - page.left, page.height - page.y - 10
    if image is None or high < 8:
        return
    rows, columns = image.shape[:2]
    scale = min(wide / columns, high / rows)
    opposite = (page.left + scale * columns, page.y + scale * rows)
    page.shapes.append(Picture((page.left, page.y), opposite, image))
    page.shapes.append(Box((page.left, page.y), opposite, None, GRID, 1))
    page.y = opposite[1]


def _column(page: _Page, name: str, number: float, at: Point, wide: float) -> None:
    """One column of an observation; where there is room, with a bar from -1 to 1."""
    x, y = at
    room = wide - 54 if wide < 200 else 150.0
    page.shapes.append(Text((x, y), middle_cut(name, int(room / 7.2)), 11, SOFT_INK, "left", False, room))
    page.shapes.append(Text((x + wide, y), f"{number:.4g}"[:9], 11, INK, "right"))
    if wide < 200:
        return
    middle, half = x + 0.68 * wide, 0.13 * wide
    page.shapes.append(Box((middle - half, y - 3), (middle + half, y + 3), GRID.faded(0.7), radius=2))
    if np.isfinite(number) and number:
        end = middle + half * min(max(number, -1.0), 1.0)
        page.shapes.append(Box((min(middle, end), y - 3), (max(middle, end), y + 3), BLUE if number > 0 else RED))


def middle_cut(name: str, most: int) -> str:
    """A name in at most that many letters; names of columns differ at their ends: `adversary_seen_0_dx`, `.._dy`."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most - most // 2) :]}"
