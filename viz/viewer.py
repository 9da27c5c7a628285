"""The replay viewer without its window: what is shown where, and what keys and mouse do.

It puts parts together that know nothing of one another: `playback` (time), `camera`, `timeline`, one `take` per replay
(two are compared side by side, in lock-step), and for the right side `panel` (all agents) or `detail` (one of them).
`viz.screen.window` shows a `Viewer`; films and pictures are made from one too.
"""

from __future__ import annotations

from collections.abc import Sequence

from environments.replay import Replay
from viz.camera import Camera
from viz.compare import check_comparable, first_difference
from viz.detail import Agent, detail
from viz.drawings import draw, view_of
from viz.help import help_pane, prompt_pane
from viz.insight import Insights
from viz.keys import KEYS
from viz.moment import Moment
from viz.page import FOOTER, HEADER, Mark, Pane, footer, header, pixels
from viz.panel import card_at, panel, visible_cards
from viz.playback import Playback
from viz.scene import EDGE, Fit, Scene, View, fit
from viz.shown import SMALLEST, Extra, Shown
from viz.take import Take
from viz.teams import players, team_color, team_colors
from viz.timeline import TIMELINE, Curve, Timeline

__all__ = ["PANEL_WIDTH", "SMALLEST", "TIMELINE", "Viewer"]
PANEL_WIDTH = 340
CLICK = 4
"""Pixels that the mouse may move between press and release of a click."""
SLACK = 10
"""Pixels beside an agent that still mean it."""
WORK = 0.004
"""Seconds of every tick for working out what agents saw."""


class Viewer(Shown):
    """Everything about watching one replay, or two side by side, that needs no screen."""

    def __init__(
        self,
        replay: Replay,
        speed: float = 1.0,
        *,
        other: Replay | None = None,
        names: tuple[str, str] = ("", ""),
        insights: Sequence[Insights | None] = (),
        extras: Sequence[Extra] = (),
    ) -> None:
        """`other` is compared with `replay`; `insights` are one per replay. RefusedFile where states cannot be drawn.

        UsageError where the two replays do not show the same agents of the same environment.
        """
        replays = [replay] if other is None else [replay, other]
        if other is not None:
            check_comparable(replay, other)
        views = [view_of(each) for each in replays]
        view = View(*(max(ends, key=abs) for ends in zip(*views, strict=True)))
        sources = [*insights, None, None]
        self.takes = [Take(r, view, name, source) for r, name, source in zip(replays, names, sources, strict=False)]
        self.replay = replay
        self.view = view
        self.moments = self.takes[0].moments
        self.parted = first_difference(replay, other) if other is not None else None
        """Where compared replays part; None where they do not."""
        frames = max(each.steps for each in replays) + 1
        self.playback = Playback(frames, replay.spec.step_seconds, self._marks(), speed)
        self.timeline = Timeline(self.playback)
        self.camera = Camera()
        self.extras = tuple(extras)
        self.detailed = any(track.probabilities.shape[-1] > 0 for track in replay.groups.values())
        self.selected: int | None = None
        """Place in `spec.agents` of the agent whose page is shown; None for the list of all."""
        self.sight = False
        self.has_panel = True
        self.help = False
        self.typed: str | None = None
        """Digits of the step to go to, while they are typed."""
        self.scroll = 0
        self._drag: tuple[str, float, float, bool] | None = None
        self._opened: Shown | None = None
        self._told: list[tuple[str, bool]] = []

    def _marks(self) -> list[Mark]:
        marks = [mark for take in self.takes for mark in take.marks]
        return sorted([*marks, *([self.parted] if self.parted else [])], key=lambda mark: mark.frame)

    @property
    def _longest(self) -> Take:
        """The replay that counts the steps."""
        return max(self.takes, key=lambda take: take.replay.steps)

    @property
    def moment(self) -> Moment:
        """What is shown now, between two frames while it plays."""
        return self.moments.at(self.playback.frame, self.playback.share)

    @property
    def moving(self) -> bool:  # type: ignore[override]
        """True while it plays or something is dragged."""
        return self.playback.playing or self._drag is not None

    def board(self, frame: int, width: int, height: int) -> list[Pane]:
        """Title, board and scores of a frame, for pictures and films; boards side by side, and what parts them."""
        note = self._parting() if self.parted is not None and frame >= self.parted.frame else ""
        panes = [Pane(0, 0, width, HEADER, header(self._longest.moments.at(frame, 0.0), width, note))]
        for take, place in zip(self.takes, self._places(width, height - HEADER - FOOTER), strict=True):
            moment = take.moments.at(frame, 0.0)
            panes += _board(take, moment, draw(moment, self.view), place)
        return panes

    def board_and_panel(self, frame: int, width: int, height: int) -> list[Pane]:
        """The same with the agents' panel beside it."""
        inner, high = width - PANEL_WIDTH, height // len(self.takes)
        panes = self.board(frame, inner, height)
        for k, take in enumerate(self.takes):
            side = panel(take.moments.at(frame, 0.0), PANEL_WIDTH, high, 0, self.detailed)
            panes.append(Pane(inner, k * high, PANEL_WIDTH, high, side))
        return panes

    def page(self) -> list[Pane]:
        """The whole window at its present size."""
        width, height = self.size
        now = self._longest.moments.at(self.playback.frame, self.playback.share)
        panes = [Pane(0, 0, width, HEADER, header(now, width, self._note()))]
        for take, place in zip(self.takes, self._boards(), strict=True):
            moment = take.moments.at(self.playback.frame, self.playback.share)
            panes += _board(take, moment, take.scene(moment, self.camera, self.selected, self.sight), place)
        if self.has_panel:
            panes += self._panels()
        panes += self.timeline.panes(height - TIMELINE, width, self._curves())
        if self.help:
            panes.append(help_pane(width, height, [(extra.key, extra.meaning) for extra in self.extras]))
        if self.typed is not None:
            panes.append(prompt_pane(self.typed, self.playback.last, width, height - TIMELINE))
        return panes

    def _inner(self) -> int:
        return self.size[0] - (PANEL_WIDTH if self.has_panel else 0)

    def _boards(self) -> list[tuple[int, int, int, int]]:
        """(left, top, width, height) of each picture in the window."""
        return self._places(self._inner(), self.size[1] - HEADER - FOOTER - TIMELINE)

    def _places(self, width: int, body: int) -> list[tuple[int, int, int, int]]:
        """The same, where all of them have that room."""
        count = len(self.takes)
        ends = [width * k // count for k in range(count + 1)]
        return [(ends[k], HEADER, ends[k + 1] - ends[k], body) for k in range(count)]

    def _panels(self) -> list[Pane]:
        """Pages of the selected agent, one above the other where two replays are compared, or the list of all."""
        left, room = self._inner(), self.size[1] - HEADER - TIMELINE
        high = room // len(self.takes)
        panes = []
        for k, take in enumerate(self.takes):
            moment = take.moments.at(self.playback.frame, 0.0)
            if self.selected is None:
                scene = panel(moment, PANEL_WIDTH, high, self.scroll, self.detailed)
            else:
                scene = detail(self._agent(take, moment, self.selected), PANEL_WIDTH, high, self.scroll)
            panes.append(Pane(left, HEADER + k * high, PANEL_WIDTH, high, scene))
        return panes

    def _agent(self, take: Take, moment: Moment, place: int) -> Agent:
        row = moment.agents[place]
        track, number = take.moments.track(place)
        told = take.insight(moment.step) or {}
        note = take.insights.note if take.insights is not None else take.unseen
        player = players(take.replay)[row.team]
        return Agent(
            moment, row, number, player, track.reward[:, number], track.value[:, number], told.get(row.group.name), note
        )

    def _note(self) -> str:
        """What just happened, where compared replays part, or what is wrong with the file."""
        near = self.playback.marks_near(reach=3)
        if near:
            return near[-1].name
        if len(self.takes) > 1:
            return self._parting()
        return f"damaged file: {self.replay.damage}" if self.replay.damage else ""

    def _parting(self) -> str:
        """Where compared replays part, in words."""
        return f"step {self.parted.frame}: {self.parted.name}" if self.parted is not None else "no difference at all"

    def _curves(self) -> list[Curve]:
        """Rewards below the time line: of the selected agent, or of every team."""
        spec = self.replay.spec
        if self.selected is not None:
            color = team_color(spec, self.moments[0].agents[self.selected].team)
            return [(color, self.takes[0].rewards(self.selected))]
        return list(zip(team_colors(spec), self.takes[0].team_rewards, strict=False))

    def advance(self, seconds: float) -> bool:
        """Time passes; what agents saw is worked out bit by bit."""
        moved = self.playback.advance(seconds)
        if self.selected is None or not self.has_panel:
            return moved
        before, self._told = self._told, []
        for take in self.takes:
            if take.insights is not None:
                take.insights.advance(WORK)
                self._told.append((take.insights.note, take.insight(self.playback.frame) is not None))
        return moved or self._told != before

    def opened(self) -> Shown | None:
        """What an extra key asked for."""
        found, self._opened = self._opened, None
        return found

    def press(self, key: str) -> bool:
        """A key, with `shift ` before it where held; True where it means something."""
        if self.typed is not None:
            return self._type(key)
        for extra in self.extras:
            if extra.key == key:
                self._opened = extra.act(self)
                return True
        command = KEYS.get(key) or KEYS.get(key.removeprefix("shift "))
        if command is None:
            return False
        self.command(command)
        return True

    def _type(self, key: str) -> bool:
        """Digits of the step to go to."""
        digit = key.removeprefix("shift ").strip("[]").removeprefix("keypad ")
        if digit.isdigit() and len(digit) == 1:
            self.typed = (self.typed or "")[:8] + digit
        elif key == "backspace":
            self.typed = (self.typed or "")[:-1]
        else:
            if key in ("return", "enter", "keypad enter") and self.typed:
                self.playback.pause()
                self.playback.seek(int(self.typed))
            self.typed = None
        return True

    def command(self, name: str) -> None:
        """Do what a key means: one of the values of `viz.keys.KEYS`. ValueError on others."""
        if name == "go to":
            self.typed = ""
        elif name in ("next agent", "previous agent"):
            count = len(self.replay.spec.agents)
            step = 1 if name == "next agent" else -1
            self.select((self.selected + step) % count if self.selected is not None else 0 if step > 0 else count - 1)
        elif name == "follow":
            self.select(self.selected or 0)
            self.camera.follow(not self.camera.follows)
        elif name == "sight":
            self.select(self.selected or 0)
            self.sight = not self.sight
        elif name == "camera home":
            self.camera.reset()
        elif name == "panel":
            self.has_panel = not self.has_panel
        elif name == "help":
            self.help = not self.help
        elif name == "escape":
            self._escape()
        elif name == "quit":
            self.quit = True
        else:
            self.playback.command(name)

    def _escape(self) -> None:
        """One step back: first the list of keys, then the selected agent, then the window."""
        if self.help:
            self.help = False
        elif self.selected is not None:
            self.select(None)
        else:
            self.quit = True

    def select(self, place: int | None) -> None:
        """Show the page of an agent, by its place in `spec.agents`, or the list of all."""
        if place != self.selected:
            self.scroll = 0
        self.selected = place
        if place is None:
            self.camera.follows, self.sight = False, False

    def _over_panel(self, x: float, y: float) -> bool:
        return self.has_panel and x >= self._inner() and HEADER <= y < self.size[1] - TIMELINE

    def _board_at(self, x: float, y: float) -> int | None:
        """Number of the picture at a place."""
        for k, (left, top, width, height) in enumerate(self._boards()):
            if left <= x < left + width and top <= y < top + height:
                return k
        return None

    def mouse_down(self, x: float, y: float) -> bool:
        """A press of the left button; True where something was hit."""
        if self.help:
            self.help = False
        elif y >= self.size[1] - TIMELINE:
            if x < 60:
                self.playback.command("toggle")
            elif x >= 108:
                self._drag = ("time", x, y, False)
                self._scrub(x)
        elif self._board_at(x, y) is not None:
            self._drag = ("board", x, y, False)
            return False
        elif self._over_panel(x, y) and self.selected is None:
            high = (self.size[1] - HEADER - TIMELINE) // len(self.takes)
            row = card_at((y - HEADER) % high, high, self.detailed)
            count = len(self.replay.spec.agents)
            place = None if row is None else min(self.scroll, max(0, count - visible_cards(high, self.detailed))) + row
            self.select(place if place is not None and place < count else None)
        else:
            return False
        return True

    def _scrub(self, x: float) -> None:
        self.playback.scrub(self.timeline.frame_at(x, self.size[0]))

    def mouse_move(self, x: float, y: float) -> bool:
        """Scrubs while the button is held on the time line, moves the picture while it is held there."""
        if self._drag is None:
            return self.timeline.point(x, y - (self.size[1] - TIMELINE), self.size[0])
        kind, old_x, old_y, moved = self._drag
        if kind == "time":
            self._scrub(x)
            return True
        if not moved and max(abs(x - old_x), abs(y - old_y)) < CLICK:
            return False
        take, seen = self._seen(self._board_at(old_x, old_y) or 0)
        spot = take.spot(take.moments.at(self.playback.frame, self.playback.share), self.selected)
        self.camera.drag(x - old_x, y - old_y, seen, self.view, spot.at if spot else None)
        self._drag = (kind, x, y, True)
        return True

    def _seen(self, k: int) -> tuple[Take, Fit]:
        """A take, and where its picture's points lie, from the picture's upper left corner."""
        take = self.takes[k]
        spot = take.spot(take.moments.at(self.playback.frame, self.playback.share), self.selected)
        _, _, width, height = self._boards()[k]
        return take, fit(self.camera.view(self.view, spot.at if spot else None), width, height)

    def mouse_up(self) -> bool:
        """The left button is released: where the mouse did not move, that was a click."""
        drag, self._drag = self._drag, None
        if drag is None or drag[0] != "board" or drag[3]:
            return drag is not None
        _, x, y, _ = drag
        k = self._board_at(x, y)
        if k is not None:
            take, seen = self._seen(k)
            left, top, _, _ = self._boards()[k]
            moment = take.moments.at(self.playback.frame, self.playback.share)
            self.select(take.agent_at(moment, seen.point(x - left, y - top), SLACK / seen.scale))
        return True

    def wheel(self, turns: int, x: float, y: float) -> bool:
        """Zoom over a picture; over the panel scroll, positive turns going up."""
        k = self._board_at(x, y)
        if k is not None:
            left, top, width, height = self._boards()[k]
            take = self.takes[k]
            spot = take.spot(take.moments.at(self.playback.frame, self.playback.share), self.selected)
            self.camera.turn(turns, x - left, y - top, (width, height), self.view, spot.at if spot else None)
            return True
        if not self._over_panel(x, y):
            return False
        before = self.scroll
        most = 10_000
        if self.selected is None:
            high = (self.size[1] - HEADER - TIMELINE) // len(self.takes)
            most = max(0, len(self.replay.spec.agents) - visible_cards(high, self.detailed))
        self.scroll = min(max(before - turns, 0), most)
        return self.scroll != before


def _board(take: Take, moment: Moment, scene: Scene, place: tuple[int, int, int, int]) -> list[Pane]:
    """A picture with its legend below, and a line beside it where another one is on the left."""
    left, top, width, body = place
    panes = [Pane(*place, scene), Pane(left, top + body, width, FOOTER, footer(moment, scene, width, take.name))]
    if left:
        panes.append(Pane(left, top, 1, body + FOOTER, pixels(1, body + FOOTER, [], EDGE)))
    return panes
