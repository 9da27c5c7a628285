"""Playing by hand: a window's content in which a person acts for one agent of a running episode.

Knows no screen and no policies: the episode is a `viz.session.Session`, what a person's keys mean says `viz.controls`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from environments.spec import EnvSpec
from environments.vector import Array
from viz.controls import Controls, Hand
from viz.drawings import draw, drawing_of, film_view
from viz.moment import AgentRow, Moment
from viz.page import Pane, pixels
from viz.scene import (
    EDGE,
    FAINT_INK,
    GOLD,
    GRID,
    INK,
    PANEL,
    PAPER,
    SOFT_INK,
    Box,
    Circle,
    Line,
    Scene,
    Shape,
    Text,
    View,
    fit,
)
from viz.shown import Shown
from viz.teams import team_color

HEADER = 52
SIDE = 340
MARGIN = 18
ROW = 26
SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SHORTEST_TURN, LONGEST_TURN = 0.05, 0.5
"""Seconds that another's turn is shown, at speed 1."""
HINTS = ("p pause", "[ ] slower, faster", "tab, return: choose from the list", "esc end")


class Seat(Protocol):
    """An episode with a person in it, as the person's window sees it. A `viz.session.Session` is one."""

    @property
    def spec(self) -> EnvSpec:
        """What is played."""
        ...

    @property
    def human(self) -> str | None:
        """The person's agent."""
        ...

    @property
    def asked(self) -> bool:
        """True where it is for the person to say what happens next."""
        ...

    @property
    def over(self) -> bool:
        """True in the end."""
        ...

    @property
    def mask(self) -> Array | None:
        """`[K]` True where the person's agent may take an action; None where everything is allowed."""
        ...

    def step(self, own: Array | None = None) -> None:
        """Go on: with what the person's agent does, or by what the others do."""
        ...

    def moment(self) -> Moment:
        """What there is to show now."""
        ...


class Playing(Shown):
    """An episode with a person in it."""

    def __init__(
        self,
        session: Seat,
        controls: Controls,
        ended: Callable[[], str],
        after: Callable[[], Shown] | None = None,
        again: Callable[[], Shown] | None = None,
        speed: float = 1.0,
        who: str = "",
    ) -> None:
        """`ended` is told when the episode is over, or left before, and says what became of it, in a line; `after` is
        what return then opens, `again` what n does. `who`: who plays, in a line. ValueError where nobody plays."""
        if session.human is None:
            raise ValueError("nobody plays")
        self.session = session
        self.speed, self.paused, self.said = speed, False, ""
        self._ended, self._after, self._again = ended, after, again
        self._opened: Shown | None = None
        self._passed = 0.0
        self._moment = session.moment()
        self.title = f"{self._moment.title} — {session.human}"
        self._drawing = drawing_of(session.spec.name)
        self._view = self._needed()
        self.sit(controls, who)

    def sit(self, controls: Controls, who: str) -> None:
        """The person plays by these controls from now on; `who` says who plays, in a line."""
        self.controls, self.hand, self._who = controls, Hand(controls), who
        self.begun = not controls.flows
        """False before the first key of a game that flows: nobody is hurried into it."""
        self._chosen, self._tabbed = 0, False
        """Row of the list that tab has reached."""

    @property
    def moving(self) -> bool:  # type: ignore[override]
        """True while time goes on by itself."""
        return self.controls.flows and self.begun and not self.paused and not self.session.over

    # What is shown.

    def page(self) -> list[Pane]:
        """Board on the left, what the person can do on the right."""
        width, height = self.size
        inner = width - SIDE
        scene = draw(self._moment, self._view)
        me = self._drawing.spot(self._moment, self._me().place)
        if me is not None:
            ring = Circle(me.at, me.radius * 1.3, None, GOLD, me.radius * 0.12)
            scene = replace(scene, shapes=[*scene.shapes, ring])
        return [
            Pane(0, 0, width, HEADER, self._header(width)),
            Pane(0, HEADER, inner, height - HEADER, scene),
            Pane(inner, HEADER, SIDE, height - HEADER, self._side(SIDE, height - HEADER)),
        ]

    def _header(self, width: int) -> Scene:
        moment = self._moment
        steps = f" / {moment.steps}" if moment.steps else ""
        shapes: list[Shape] = [
            Text((MARGIN, 25), moment.title, 18, INK, "left", True, width * 0.3),
            Text((width / 2, 25), self.status(), 16, INK, "center", True, width * 0.45),
            Text((width - MARGIN, 25), f"step {moment.step}{steps}  ×{self.speed:g}", 15, SOFT_INK, "right"),
            Line(((0, HEADER - 0.5), (width, HEADER - 0.5)), EDGE, 1),
        ]
        return pixels(width, HEADER, shapes, PANEL)

    def status(self) -> str:
        """What is going on, in a line."""
        session = self.session
        if session.over:
            return self.result()
        if not self.begun:
            return "a key begins"
        if self.paused:
            return "paused — p goes on"
        if not session.asked:
            acting = [row.name for row in self._moment.agents if row.acting]
            return f"{acting[0]} moves" if len(acting) == 1 else f"{session.human} waits"
        return self.hand.note or ("your turn" if not self.controls.flows else f"you are {session.human}")

    def result(self) -> str:
        """How the episode ended, for the person's team."""
        moment = self._moment
        outcome = moment.outcome if moment.outcome is not None else moment.scores
        own = self._me().team
        told = "  ".join(f"{name} {score:+z.2f}" for name, score in zip(moment.spec.team_names, outcome, strict=True))
        if len(outcome) != 2:
            return f"over: {told}"
        word = "a draw" if outcome[0] == outcome[1] else "you win" if outcome[own] == max(outcome) else "you lose"
        return f"{word}: {told}"

    def _me(self) -> AgentRow:
        return next(row for row in self._moment.agents if row.name == self.session.human)

    def _side(self, width: int, height: int) -> Scene:
        moment, spec = self._moment, self._moment.spec
        me = self._me()
        shapes: list[Shape] = [
            Line(((0.5, 0), (0.5, height)), EDGE, 1),
            Circle((MARGIN + 7, 28), 8, team_color(spec, me.team)),
            Text((MARGIN + 24, 28), f"you: {me.name}", 16, INK, "left", True, width - 60),
            Text((MARGIN, 54), self._who, 13, SOFT_INK, "left", False, width - 2 * MARGIN),
        ]
        y = 84.0
        for team, name in enumerate(spec.team_names):
            shapes.append(Text((MARGIN, y), name, 13, SOFT_INK, "left", False, width * 0.6))
            shapes.append(Text((width - MARGIN, y), f"{moment.scores[team]:+z.2f}", 13, INK, "right"))
            y += 20
            if y > height * 0.4:
                break
        shapes.append(Line(((MARGIN, y), (width - MARGIN, y)), GRID, 1))
        shapes += self._list(width, y + 18, height - 30 - 20 * len(HINTS))
        for i, hint in enumerate(HINTS):
            shapes.append(Text((MARGIN, height - 20 * (len(HINTS) - i)), hint, 12, FAINT_INK, "left"))
        if self.session.over:
            shapes += self._farewell(width, height)
        return pixels(width, height, shapes, PANEL)

    def _list(self, width: int, top: float, bottom: float) -> list[Shape]:
        """Actions with their keys, those allowed now in strong ink, as many as there is room for."""
        rows = self.controls.legend()
        allowed = self._allowed()
        first, fitting = self._window(top, bottom)
        self._rows = (top, first, fitting)
        shapes: list[Shape] = []
        for i, (keys, name) in enumerate(rows[first : first + fitting]):
            y, strong = top + ROW * i, allowed[first + i]
            if first + i == self._chosen and self._tabbed:
                shapes.append(Box((MARGIN - 8, y - 12), (width - MARGIN + 8, y + 12), GOLD.faded(0.25), None, 0, 5))
            picked = self._is_picked(first + i)
            box = Box((MARGIN, y - 10), (MARGIN + 86, y + 10), GOLD.faded(0.6) if picked else PAPER, EDGE, 1, 4)
            shapes += [box, Text((MARGIN + 43, y), keys, 12, INK if strong else FAINT_INK, max_width=82)]
            ink = INK if strong else FAINT_INK
            shapes.append(Text((MARGIN + 98, y), name, 14, ink, "left", strong, width - MARGIN - 120))
        if fitting < len(rows):
            shapes.append(Text((width - MARGIN, top - 16), f"{len(rows)} actions", 11, FAINT_INK, "right"))
        return shapes

    def _window(self, top: float, bottom: float) -> tuple[int, int]:
        """(first row that is listed, how many): around the one that tab has reached."""
        count = len(self.controls.legend())
        fitting = max(1, int((bottom - top) // ROW))
        return (0, count) if count <= fitting else (min(max(0, self._chosen - fitting // 2), count - fitting), fitting)

    def _allowed(self) -> list[bool]:
        if not self.controls.slots:
            return [True] * len(self.controls.legend())
        if not self.session.asked:
            return [False] * len(self.controls.places())
        flags = self.controls.allowed(self.session.mask)
        return [bool(flags[slot][action]) for slot, action in self.controls.places()]

    def _is_picked(self, row: int) -> bool:
        if not self.controls.slots:
            return False
        slot, action = self.controls.places()[row]
        return self.hand.picks[slot] == action

    def _farewell(self, width: int, height: int) -> list[Shape]:
        y = height - 20 * len(HINTS) - 96
        keys = [("return watch", self._after), ("n play again", self._again)]
        lines = [self.said, "   ".join(text for text, does in keys if does), "esc close"]
        shapes: list[Shape] = [Box((MARGIN - 8, y), (width - MARGIN + 8, y + 84), PANEL, GOLD, 2, 8)]
        for i, line in enumerate(lines):
            shapes.append(Text((MARGIN + 4, y + 18 + 24 * i), line, 13, INK, "left", i == 0, width - 2 * MARGIN - 8))
        return shapes

    # What happens.

    def advance(self, seconds: float) -> bool:
        """Let time pass: others move at a pace, and so does the game where it flows."""
        session = self.session
        if self.quit or session.over or self.paused or not self.begun:  # what was left is kept, and takes no more steps
            return False
        self._passed += seconds
        step = session.spec.step_seconds / self.speed
        if session.asked and not self.controls.flows:
            before = self.hand.note
            decided = self.hand.decide(session.mask)
            if decided is None:
                return before != self.hand.note
            return self._step(decided)
        if not self.controls.flows:
            step = min(max(step, SHORTEST_TURN), LONGEST_TURN / self.speed)
        if self._passed < step:
            return False
        return self._step(self.hand.decide(session.mask) if session.asked else None)

    def _step(self, own: Array | None) -> bool:
        self._passed = 0.0
        self.session.step(own)
        self.look()
        if self.session.over:
            self.said = self._ended()
        return True

    def look(self) -> None:
        """Show what there is now, with room for all of it."""
        self._moment = self.session.moment()
        self._view = View(*(max(ends, key=abs) for ends in zip(self._view, self._needed(), strict=True)))

    def _needed(self) -> View:
        """What must be visible now."""
        if self._moment.film is not None:
            return film_view(self._moment.film.size)
        return self._drawing.view(self._moment.spec, self._moment.arrays)

    def escape(self) -> None:
        """Leave; what was played so far is kept."""
        if not (self.quit or self.session.over):
            self.said = self._ended()
        self.quit = True

    def press(self, key: str) -> bool:
        """A key: an action's, or one of the window's own."""
        plain = key.removeprefix("shift ")
        if plain == "escape":
            self.escape()
        elif plain == "p":
            self.paused, self.begun = self.begun and not self.paused, True
        elif plain in ("[", "]"):
            others = [s for s in SPEEDS if (s < self.speed if plain == "[" else s > self.speed)]
            self.speed = (max(others) if plain == "[" else min(others)) if others else self.speed
        elif plain == "return":
            self._return()
        elif plain == "n" and self.session.over and self._again:
            self._opened, self.quit = self._again(), True
        elif plain == "tab" and self.controls.slots:
            self._tab(-1 if key.startswith("shift ") else 1)
        else:
            return self._act(plain)
        return True

    def _act(self, key: str) -> bool:
        """A key of an action; before its turn in a game that waits it means nothing, lest it counts later."""
        if not (self.controls.flows or self.session.asked):
            return False
        known = self.hand.press(key)
        self.begun |= known
        return known

    def release(self, key: str) -> bool:
        """A key goes up."""
        self.hand.release(key)
        return False

    def _return(self) -> None:
        if self.session.over:
            self._opened = self._after() if self._after else None
        elif self.controls.slots and self._tabbed and (self.controls.flows or self.session.asked):
            self.begun = True
            self.hand.pick(*self.controls.places()[self._chosen])

    def _tab(self, way: int) -> None:
        """On to the next action that is allowed."""
        self._tabbed = True
        allowed = self._allowed()
        for i in range(1, len(allowed) + 1):
            row = (self._chosen + way * i) % len(allowed)
            if allowed[row]:
                self._chosen = row
                return

    def opened(self) -> Shown | None:
        """What return opened after the end."""
        found, self._opened = self._opened, None
        return found

    def mouse_down(self, x: float, y: float) -> bool:
        """A click on an action of the list, or on a place of the board that means one."""
        if not self.session.asked or not self.controls.slots:
            return False
        inner = self.size[0] - SIDE
        if x >= inner:
            return self._click_list(y - HEADER)
        pick = self._drawing.pick
        if pick is None or y < HEADER:
            return False
        at = fit(self._view, inner, self.size[1] - HEADER).point(x, y - HEADER)
        assert self.session.human is not None
        action = pick(self._moment.spec, self.session.human, at)
        if action is not None:
            self.hand.pick(0, action)
        return action is not None

    def _click_list(self, y: float) -> bool:
        top, first, fitting = self._rows
        row = round((y - top) / ROW)
        if not 0 <= row < fitting or first + row >= len(self.controls.places()):
            return False
        self._chosen, self.begun = first + row, True
        self.hand.pick(*self.controls.places()[self._chosen])
        return True

    def moment(self) -> Moment:
        """What is shown."""
        return self._moment
