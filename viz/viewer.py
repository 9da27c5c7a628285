"""The replay viewer without its window: state, layout, and what keys and mouse do.

`viz.screen.window` shows a `Viewer`; films and pictures are made from one too.
"""

from __future__ import annotations

import numpy as np

from environments.replay import Replay
from viz.drawings import draw, marks_of, view_of
from viz.moment import Moment, ReplayMoments
from viz.page import EVENT_COLORS, FOOTER, HEADER, Pane, board_page, footer, header, pixels
from viz.panel import panel, visible_cards
from viz.playback import HELP, KEYS, Playback
from viz.scene import (
    EDGE,
    FAINT_INK,
    GOLD,
    GRID,
    INK,
    PANEL,
    SOFT_INK,
    Box,
    Circle,
    Line,
    Polygon,
    Scene,
    Shape,
    Text,
    View,
)

TIMELINE = 64
PANEL_WIDTH = 340
SMALLEST = (640, 420)
"""Least size of the window."""
TRACK_LEFT, TRACK_RIGHT = 118, 92
"""Pixels left and right of the time line's track."""


class Viewer:
    """Everything about watching one replay that needs no screen."""

    def __init__(self, replay: Replay, speed: float = 1.0) -> None:
        """RefusedFile where the recorded states cannot be drawn."""
        self.replay = replay
        self.moments = ReplayMoments(replay)
        self.view: View = view_of(replay)
        self.playback = Playback(len(self.moments), replay.spec.step_seconds, marks_of(replay), speed)
        self.detailed = any(track.probabilities.shape[-1] > 0 for track in replay.groups.values())
        self.size = (1120, 820)
        self._dragging = False

    @property
    def moment(self) -> Moment:
        """What is shown now."""
        return self.moments[self.playback.frame]

    def board(self, frame: int, width: int, height: int) -> list[Pane]:
        """Title, board and scores of a frame."""
        moment = self.moments[frame]
        return board_page(moment, draw(moment, self.view), width, height)

    def board_and_panel(self, frame: int, width: int, height: int) -> list[Pane]:
        """The same with the agents' panel beside it."""
        inner = width - PANEL_WIDTH
        side = panel(self.moments[frame], PANEL_WIDTH, height, 0, self.detailed)
        return [*self.board(frame, inner, height), Pane(inner, 0, PANEL_WIDTH, height, side)]

    def page(self) -> list[Pane]:
        """The whole window at its present size."""
        width, height = self.size
        moment = self.moment
        scene = draw(moment, self.view)
        inner = width - PANEL_WIDTH
        body = height - HEADER - FOOTER - TIMELINE
        panes = [
            Pane(0, 0, width, HEADER, header(moment, width, self._note())),
            Pane(0, HEADER, inner, body, scene),
            Pane(0, HEADER + body, inner, FOOTER, footer(moment, scene, inner)),
            Pane(
                inner,
                HEADER,
                PANEL_WIDTH,
                body + FOOTER,
                panel(moment, PANEL_WIDTH, body + FOOTER, self.playback.scroll, self.detailed),
            ),
            Pane(0, height - TIMELINE, width, TIMELINE, self._timeline(width)),
        ]
        if self.playback.help:
            panes.append(_help_pane(width, height))
        return panes

    def _note(self) -> str:
        """What just happened, or what is wrong with the file."""
        near = self.playback.marks_near(reach=3)
        if near:
            return near[-1].name
        return f"damaged file: {self.replay.damage}" if self.replay.damage else ""

    def _timeline(self, width: int) -> Scene:
        playback = self.playback
        left, right, y = TRACK_LEFT, width - TRACK_RIGHT, TIMELINE / 2
        at = left + (right - left) * (playback.frame / playback.last if playback.last else 0.0)
        shapes: list[Shape] = [
            Line(((0, 0.5), (width, 0.5)), EDGE, 1),
            *_play_button(34, y, playback.playing),
            Text((96, y), f"×{playback.speed:g}", 14, INK, "right", True),
            Box((left, y - 3), (right, y + 3), GRID, radius=3),
            Box((left, y - 3), (max(at, left + 1), y + 3), SOFT_INK, radius=3),
        ]
        for mark in playback.marks:
            x = left + (right - left) * mark.frame / max(1, playback.last)
            shapes.append(Box((x - 1, y - 14), (x + 1, y - 6), EVENT_COLORS[mark.tone], radius=1))
        shapes.append(Circle((at, y), 8, INK, PANEL, 2))
        shapes.append(Text((width - 48, y - 7), f"{playback.frame} / {playback.last}", 13, INK))
        shapes.append(Text((width - 48, y + 11), "loop · ? help" if playback.loop else "? help", 11, FAINT_INK))
        return pixels(width, TIMELINE, shapes)

    def press(self, key: str) -> bool:
        """A key, with `shift ` before it where held; True where it means something."""
        command = KEYS.get(key) or KEYS.get(key.removeprefix("shift "))
        if command is None:
            return False
        self.playback.command(command)
        return True

    def mouse_down(self, x: float, y: float) -> bool:
        """A press of the left button; True where something was hit."""
        height = self.size[1]
        if self.playback.help:
            self.playback.command("help")
            return True
        if y < height - TIMELINE:
            return False
        if x < 60:
            self.playback.command("toggle")
        elif x >= TRACK_LEFT - 10:
            self._dragging = True
            self.mouse_move(x, y)
        return True

    def mouse_move(self, x: float, y: float) -> bool:
        """Scrubs while the button is held on the time line."""
        if self._dragging:
            track = self.size[0] - TRACK_RIGHT - TRACK_LEFT
            self.playback.scrub(min(max((x - TRACK_LEFT) / max(1, track), 0.0), 1.0))
        return self._dragging

    def mouse_up(self) -> None:
        """The left button is released."""
        self._dragging = False

    def wheel(self, turns: int) -> bool:
        """Scroll the agents: positive turns go up."""
        room = self.size[1] - HEADER - TIMELINE
        most = max(0, len(self.replay.spec.agents) - visible_cards(room, self.detailed))
        before = self.playback.scroll
        self.playback.scroll = int(np.clip(before - turns, 0, most))
        return self.playback.scroll != before

    def resize(self, width: int, height: int) -> None:
        """The window has another size."""
        self.size = (max(width, SMALLEST[0]), max(height, SMALLEST[1]))


def _play_button(x: float, y: float, playing: bool) -> list[Shape]:
    """Two bars while it plays, a triangle while it does not."""
    if playing:
        return [
            Box((x - 8, y - 9), (x - 3, y + 9), INK, radius=1.5),
            Box((x + 3, y - 9), (x + 8, y + 9), INK, radius=1.5),
        ]
    return [Polygon(((x - 7, y - 10), (x + 10, y), (x - 7, y + 10)), INK)]


def _help_pane(width: int, height: int) -> Pane:
    w, h = min(600, width), 64 + 30 * len(HELP)
    shapes: list[Shape] = [
        Box((1, 1), (w - 1, h - 1), PANEL, GOLD, 2, 0),
        Text((26, 32), "Keys", 18, INK, "left", True),
    ]
    for i, (key, meaning) in enumerate(HELP):
        y = 68 + 30 * i
        shapes.append(Text((26, y), key, 14, INK, "left", True))
        shapes.append(Text((150, y), meaning, 14, SOFT_INK, "left"))
    return Pane((width - w) // 2, max(0, (height - h) // 2), w, h, pixels(w, h, shapes))
