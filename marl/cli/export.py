"""What `marl watch` writes instead of opening a window: films, pictures and numbers of a part of an episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from environments.errors import UsageError
from marl.cli.progress import progress

if TYPE_CHECKING:
    from viz.viewer import Viewer


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files to write; a range of steps and the look of pictures."""

    gif: Path | None = None
    """Write a GIF."""
    mp4: Path | None = None
    """Write an MP4; needs imageio-ffmpeg."""
    pngs: Path | None = None
    """Write every frame as a PNG into this folder, as frame-000012.png."""
    png: int | None = None
    """Write this frame as a picture, to --out; 0 is the start, -1 the final state."""
    out: Path | None = None
    """File for --png; by default the replay's name with the frame's number, in the current folder."""
    csv: Path | None = None
    """Write the numbers to this CSV file, a row for every step and agent."""
    npz: Path | None = None
    """Write all arrays to this npz file: actions, rewards, probabilities, values, states."""
    first: Annotated[int, tyro.conf.arg(name="from")] = 0
    """First frame of films and numbers; frame 12 is what there is after 12 steps, and before step 12."""
    last: Annotated[int, tyro.conf.arg(name="to")] = -1
    """Last frame of films and numbers; -1 is the final state."""
    speed: float = 1.0
    """Playback speed, 0.1 to 100; 1 is the simulation's own time."""
    height: int = 640
    """Height of exported pictures in pixels, 240 to 2160."""
    panel: bool = False
    """Show agents' actions, probabilities and values in exported pictures too."""

    @property
    def wanted(self) -> bool:
        """True where some file is to be written."""
        files = (self.gif, self.mp4, self.pngs, self.csv, self.npz)
        return self.png is not None or any(file is not None for file in files)

    def check(self) -> None:
        """UsageError where a number or a file's name is out of place."""
        if not 0.1 <= self.speed <= 100:
            raise UsageError(f"--speed must be 0.1 to 100, not {self.speed:g}")
        if not 240 <= self.height <= 2160:
            raise UsageError(f"--height must be 240 to 2160, not {self.height}")
        if self.out and self.png is None:
            raise UsageError("--out names the file of --png FRAME, which is missing")
        suffixes = {"gif": ".gif", "mp4": ".mp4", "out": ".png", "csv": ".csv", "npz": ".npz"}
        for option, suffix in suffixes.items():
            file = getattr(self, option)
            if file is not None and file.suffix.lower() != suffix:
                raise UsageError(f"the file of --{option} ends with {suffix}, and {file} does not")
        if (self.first, self.last) != (0, -1) and not self.wanted:
            raise UsageError("--from and --to belong to a film or numbers; in the window, drag on the time line")

    def frames(self, steps: int) -> range:
        """The frames asked for, of an episode of so many steps. UsageError where they are not there."""
        first, last = (frame + steps + 1 if frame < 0 else frame for frame in (self.first, self.last))
        if not 0 <= first <= last <= steps:
            raise UsageError(
                f"there are no frames from {self.first} to {self.last}: this replay has frames 0 to {steps}"
            )
        return range(first, last + 1)


def export(viewer: Viewer, path: Path, options: Export) -> None:
    """Write what was asked for, printing each file's name."""
    from viz import numbers, video

    frames = options.frames(viewer.playback.last)
    look: dict[str, Any] = {"height": options.height, "panel": options.panel}
    film = {**look, "speed": options.speed, "frames": frames}
    if options.png is not None:
        _picture(viewer, path, options, look)
    if options.gif:
        with _told("GIF", "frames", len(frames), options.gif) as report:
            video.save_gif(viewer, options.gif, progress=report, **film)
    if options.mp4:
        with _told("MP4", "frames", len(frames), options.mp4) as report:
            video.save_mp4(viewer, options.mp4, progress=report, **film)
    if options.pngs:
        with _told("PNG", "frames", len(frames), options.pngs) as report:
            video.save_pngs(viewer, options.pngs, frames=frames, progress=report, **look)
    made = range(frames.start, frames.stop - 1)
    if options.csv:
        with _told("CSV", "steps", len(made), options.csv) as report:
            numbers.save_csv(viewer.replay, options.csv, made, report)
    if options.npz:
        with _told("npz", "steps", len(made), options.npz):
            numbers.save_npz(viewer.replay, options.npz, made)


def _picture(viewer: Viewer, path: Path, options: Export, look: dict[str, Any]) -> None:
    from viz import video

    frames = viewer.playback.frames
    assert options.png is not None
    if not -frames <= options.png < frames:
        raise UsageError(f"there is no frame {options.png}: this replay has frames 0 to {frames - 1}")
    frame = options.png % frames
    out = options.out or Path(f"{path.stem}-{frame}.png")
    video.save_png(viewer, frame, out, **look)
    print(out)


@contextmanager
def _told(what: str, things: str, total: int, file: Path) -> Iterator[Callable[[int], None]]:
    """A bar while a file is written, and its name once it is there."""
    with progress(what, things, total) as report:
        yield report
    print(file)
