"""Episodes that appear one after the other while somebody watches: a viewer of one of them, and which one it is.

A new episode is shown when the one before has been watched to its end; whoever has stopped to look is not disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from environments.errors import MarlError
from viz.page import Pane, pixels
from viz.scene import EDGE, FAINT_INK, GREEN, INK, PANEL, SOFT_INK, Circle, Line, Shape, Text
from viz.shown import Shown
from viz.viewer import Viewer

BAR = 28
LOOK = 1.0
"""Seconds between two looks for new episodes."""
EARLIER, LATER = ",", "."


class Live(Shown):
    """The newest of a growing number of replays."""

    def __init__(
        self,
        title: str,
        files: Callable[[], Sequence[Path]],
        open_file: Callable[[Path], Viewer],
        status: Callable[[], str],
    ) -> None:
        """`files`: those that are there, oldest first. `open_file`: a file's viewer, or a MarlError, which is told.

        `status` says in a few words what whoever makes the episodes is at.
        """
        self.title = title
        self._look, self._open, self._status = files, open_file, status
        self._files: list[Path] = []
        self._waited = 0.0
        self._said, self._error = "", ""
        self.at = -1
        """Number of the shown file; -1 where there is none."""
        self.viewer: Viewer | None = None
        self._refresh()

    @property
    def moving(self) -> bool:  # type: ignore[override]
        """As the shown episode."""
        return self.viewer is not None and self.viewer.moving

    @property
    def files(self) -> Sequence[Path]:
        """Replays found so far, oldest first."""
        return tuple(self._files)

    def page(self) -> list[Pane]:
        """The viewer's page with the line below it."""
        width, height = self.size
        panes = [Pane(0, height - BAR, width, BAR, pixels(width, BAR, self._bar(width), PANEL))]
        if self.viewer is not None:
            return [*self.viewer.page(), *panes]
        waiting = [
            Text((width / 2, height / 2 - 20), "no episode yet", 24, INK, bold=True),
            Text(
                (width / 2, height / 2 + 16),
                self._error or "the next one is shown as soon as it is there",
                15,
                SOFT_INK,
            ),
        ]
        return [Pane(0, 0, width, height - BAR, pixels(width, height - BAR, waiting, PANEL)), *panes]

    def _bar(self, width: int) -> list[Shape]:
        shapes: list[Shape] = [Line(((0, 0.5), (width, 0.5)), EDGE, 1)]
        middle = BAR / 2 + 1
        behind = len(self._files) - 1 - self.at
        if self.at >= 0:
            shapes.append(Circle((20, middle), 5, FAINT_INK if behind else GREEN))
            told = f"episode {self.at + 1} of {len(self._files)}   {self._files[self.at].stem}"
            more = f"   ·   {behind} newer" if behind else ""
            shapes.append(Text((34, middle), told + more, 13, INK, "left", False, width * 0.5))
        keys = f"{EARLIER} {LATER} earlier, later episode"
        shapes.append(
            Text((width * 0.72, middle), self._error or self._said, 13, SOFT_INK, "right", False, width * 0.3)
        )
        shapes.append(Text((width - 16, middle), keys, 13, FAINT_INK, "right", False, width * 0.26))
        return shapes

    def advance(self, seconds: float) -> bool:
        """The episode goes on; from time to time there is another one."""
        self._waited += seconds
        changed = self.viewer.advance(seconds) if self.viewer is not None else False
        if self._waited >= LOOK:
            self._waited = 0.0
            changed |= self._refresh()
        if self.at < len(self._files) - 1 and self._watched():
            self._show(len(self._files) - 1)
            return True
        return changed

    def _watched(self) -> bool:
        """True where the shown episode has come to its end, or there is none."""
        if self.viewer is None:
            return True
        playback = self.viewer.playback
        return not playback.playing and playback.frame == playback.last and self.viewer.selected is None

    def _refresh(self) -> bool:
        before, said = list(self._files), self._said
        shown = self._files[self.at] if self.at >= 0 else None
        self._files, self._said = list(self._look()), self._status()
        if shown is not None and shown in self._files:
            self.at = self._files.index(shown)
        elif self._files:
            self._show(len(self._files) - 1)
        return before != self._files or said != self._said

    def _show(self, at: int) -> None:
        old, self.at = self.viewer, at
        try:
            self.viewer, self._error = self._open(self._files[at]), ""
        except MarlError as error:
            self.viewer, self._error = old, str(error)
            return
        if old is not None:  # what was chosen stays chosen
            self.viewer.playback.speed, self.viewer.has_panel = old.playback.speed, old.has_panel
        self.resize(*self.size)

    def resize(self, width: int, height: int) -> None:
        """The window has another size; the line takes its part."""
        super().resize(width, height)
        if self.viewer is not None:
            self.viewer.resize(self.size[0], self.size[1] - BAR)

    def press(self, key: str) -> bool:
        """Another episode; everything else is the viewer's."""
        if key in (EARLIER, LATER):
            at = min(max(self.at + (1 if key == LATER else -1), 0), len(self._files) - 1)
            if self._files and at != self.at:
                self._show(at)
                if self.viewer is not None and at < len(self._files) - 1:
                    self.viewer.playback.pause()
            return True
        if self.viewer is None:
            self.quit = key in ("escape", "q")
            return self.quit
        told = self.viewer.press(key)
        self.quit = self.viewer.quit
        return told

    def release(self, key: str) -> bool:
        """As the viewer."""
        return self.viewer.release(key) if self.viewer is not None else False

    def opened(self) -> Shown | None:
        """As the viewer."""
        return self.viewer.opened() if self.viewer is not None else None

    def mouse_down(self, x: float, y: float) -> bool:
        """As the viewer."""
        return self.viewer.mouse_down(x, y) if self.viewer is not None and y < self.size[1] - BAR else False

    def mouse_move(self, x: float, y: float) -> bool:
        """As the viewer."""
        return self.viewer.mouse_move(x, y) if self.viewer is not None else False

    def mouse_up(self) -> bool:
        """As the viewer."""
        return self.viewer.mouse_up() if self.viewer is not None else False

    def wheel(self, turns: int, x: float, y: float) -> bool:
        """As the viewer."""
        return self.viewer.wheel(turns, x, y) if self.viewer is not None else False
