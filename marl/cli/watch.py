"""`marl watch`: look at a replay, a run or a league in a window, or make a film or a picture of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from environments.errors import UsageError
from marl.cli import export
from viz.screen import has_display

if TYPE_CHECKING:
    from viz.viewer import Viewer


@dataclass(frozen=True)
class Watch(export.Export):
    """Open a replay in a window, or write it as a film, pictures or numbers without any screen.

    A run is followed: its newest episode is shown, and each new one as it appears; where it has none, one is played
    first. A league or tournament is a list of players and matches. Keys in the window: space plays and pauses, arrows
    step and change the speed, w asks what if, ? shows all.
    """

    file: tyro.conf.Positional[Path]
    """A .replay file; a run's folder, whose newest replay is exported; or the folder of a league or tournament."""
    compare: Path | None = None
    """A second replay of the same agents, or a run: both side by side, in step, with their first difference marked, in
    the window, in films and in pictures."""
    player: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """PLAYER, or TEAM=PLAYER, who can be chosen too where you ask what if; once for each."""
    environment: str = ""
    """Name of somebody else's environment that you know, so that what if may run it."""


def run(options: Watch) -> int:
    """Watch or export; returns the exit code."""
    from marl.cli import live

    options.check()
    if options.compare and (options.csv or options.npz):
        raise UsageError("--csv and --npz hold the numbers of one replay: leave out --compare")
    if options.file.is_dir() and (options.wanted or has_display()):
        live.record_first(options.file)
    if options.file.is_dir() and not options.wanted and not options.compare:
        return folder(options)
    path = newest_replay(options.file)
    viewer = opened(path, options, newest_replay(options.compare) if options.compare else None)
    if options.wanted:
        export.export(viewer, path, options)
        return 0
    from viz.screen.window import watch

    watch(viewer, f"{viewer.replay.spec.name} — {path.name}")
    return 0


def opened(path: Path, options: Watch, other: Path | None = None) -> Viewer:
    """A replay's viewer, or that of two. RefusedFile where one cannot be read or drawn, UsageError where they do not
    fit together."""
    from environments import replay
    from marl.cli import insight, what_if
    from viz.viewer import Viewer

    paths = [path] if other is None else [path, other]
    found = []
    for each in paths:
        recorded = replay.load(each, options.environment)
        if recorded.damage:
            print(f"{each}: {recorded.damage}; playing the first {recorded.steps} steps")
        found.append(recorded)
    return Viewer(
        found[0],
        options.speed,
        other=None if other is None else found[1],
        names=("", "") if other is None else _told_apart(path, other),
        insights=[insight.of(each, recorded) for each, recorded in zip(paths, found, strict=True)],
        extras=[what_if.extra(path, found[0], options.player)],
    )


def _told_apart(one: Path, other: Path) -> tuple[str, str]:
    """Short names of two files: their stems, behind the last folder in which they differ where those are the same."""
    if one.stem != other.stem:
        return one.stem, other.stem
    pairs = zip(reversed(one.resolve().parent.parts), reversed(other.resolve().parent.parts), strict=False)
    folders = next(((a, b) for a, b in pairs if a != b and {a, b} != {"replays"}), ("left", "right"))
    return f"{folders[0]}/{one.stem}", f"{folders[1]}/{other.stem}"


def folder(options: Watch) -> int:
    """Follow a run, or look through a league or tournament; returns the exit code."""
    from marl.cli import browse, live

    def make(path: Path) -> Viewer:
        return opened(path, options)

    if browse.is_league(options.file):
        return browse.run(options.file, make)
    shown = live.follow(options.file, make)
    from viz.screen.window import watch

    watch(shown, shown.title)
    return 0


def newest_replay(path: Path) -> Path:
    """The file itself, or the newest replay of a run's folder: a whole one, else what a killed run has left of one.

    UsageError where there is none.
    """
    if not path.exists():
        raise UsageError(f"there is no file or run {path}")
    if not path.is_dir():
        return path
    folder = path / "replays" if (path / "replays").is_dir() else path
    found = [p for p in folder.glob("*.replay") if not p.name.startswith(".")]
    found = found or list(folder.glob("*.replay.part"))
    if not found:
        from marl.cli.live import no_replay

        raise no_replay(path)
    return max(found, key=lambda p: (p.stat().st_mtime_ns, p.name))
