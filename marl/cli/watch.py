"""`marl watch`: look at a replay, a run or a league in a window, or make a film or a picture of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from viz.viewer import Viewer


@dataclass(frozen=True)
class Watch:
    """Open a replay in a window, or export it as GIF, MP4 or PNG without any screen.

    A run is followed: its newest episode is shown, and each new one as it appears. A league or tournament is a list of
    players and matches. Keys in the window: space plays and pauses, arrows step and change the speed, w asks what if,
    ? shows all.
    """

    file: tyro.conf.Positional[Path]
    """A .replay file; a run's folder, whose newest replay is exported; or the folder of a league or tournament."""
    gif: Path | None = None
    """Write all frames to this GIF."""
    mp4: Path | None = None
    """Write all frames to this MP4; needs imageio-ffmpeg."""
    png: int | None = None
    """Write this frame as a picture, to --out; 0 is the start, -1 the final state."""
    out: Path | None = None
    """File for --png; by default the replay's name with the frame's number, in the current folder."""
    speed: float = 1.0
    """Playback speed, 0.1 to 100; 1 is the simulation's own time."""
    height: int = 640
    """Height of exported pictures in pixels, 240 to 2160."""
    panel: bool = False
    """Show agents' actions, probabilities and values in exported pictures too."""
    player: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """PLAYER, or TEAM=PLAYER, who can be chosen too where you ask what if; once for each."""


def run(options: Watch) -> int:
    """Watch or export; returns the exit code."""
    from environments.errors import UsageError

    if not 0.1 <= options.speed <= 100:
        raise UsageError(f"--speed must be 0.1 to 100, not {options.speed:g}")
    if not 240 <= options.height <= 2160:
        raise UsageError(f"--height must be 240 to 2160, not {options.height}")
    if options.out and options.png is None:
        raise UsageError("--out names the file of --png FRAME, which is missing")
    named = {"gif": (options.gif, ".gif"), "mp4": (options.mp4, ".mp4"), "out": (options.out, ".png")}
    for option, (file, suffix) in named.items():
        if file is not None and file.suffix.lower() != suffix:
            raise UsageError(f"the file of --{option} ends with {suffix}, and {file} does not")
    exported = options.gif is not None or options.mp4 is not None or options.png is not None
    if options.file.is_dir() and not exported:
        return folder(options)
    path = newest_replay(options.file)
    viewer = opened(path, options)
    if not export(viewer, path, options):
        from viz.screen.window import watch

        watch(viewer, f"{viewer.replay.spec.name} — {path.name}")
    return 0


def opened(path: Path, options: Watch) -> Viewer:
    """A replay's viewer. RefusedFile where it cannot be read or drawn."""
    from environments import replay
    from marl.cli import what_if
    from viz.viewer import Viewer

    recorded = replay.load(path)
    if recorded.damage:
        print(f"{path}: {recorded.damage}; playing the first {recorded.steps} steps")
    return Viewer(recorded, options.speed, extras=[what_if.extra(path, recorded, options.player)])


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
    """The file itself, or the newest replay of a run's folder. UsageError where there is none."""
    from environments.errors import UsageError

    if not path.exists():
        raise UsageError(f"there is no file or run {path}")
    if not path.is_dir():
        return path
    folder = path / "replays" if (path / "replays").is_dir() else path
    found = [p for p in folder.glob("*.replay") if not p.name.startswith(".")]
    if not found:
        raise UsageError(f"there is no replay in {folder}; record one with: marl evaluate {path} --record 1")
    return max(found, key=lambda p: (p.stat().st_mtime_ns, p.name))


def export(viewer: Viewer, path: Path, options: Watch) -> bool:
    """Write what was asked for, printing each file's name; False where nothing was."""
    from environments.errors import UsageError
    from marl.cli.progress import progress
    from viz import video

    look: dict[str, Any] = {"height": options.height, "panel": options.panel}
    frames = viewer.replay.steps + 1
    if options.png is not None:
        if not -frames <= options.png < frames:
            raise UsageError(f"there is no frame {options.png}: this replay has frames 0 to {frames - 1}")
        frame = options.png % frames
        out = options.out or Path(f"{path.stem}-{frame}.png")
        video.save_png(viewer, frame, out, **look)
        print(out)
    if options.gif:
        with progress("GIF", "frames", frames) as report:
            video.save_gif(viewer, options.gif, speed=options.speed, progress=report, **look)
        print(options.gif)
    if options.mp4:
        with progress("MP4", "frames", frames) as report:
            video.save_mp4(viewer, options.mp4, speed=options.speed, progress=report, **look)
        print(options.mp4)
    return bool(options.gif or options.mp4) or options.png is not None
