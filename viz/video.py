"""Films and pictures of replays: GIF (pillow), MP4 (imageio-ffmpeg, an extra), PNG. Needs no display.

Films are written frame by frame: however long they are, they need the memory of a few frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from environments.errors import UsageError
from viz.files import replaced
from viz.gif import GifWriter
from viz.page import FOOTER, HEADER
from viz.viewer import PANEL_WIDTH, Viewer

Progress = Callable[[int], None]
"""Called with the number of frames that are done."""

LAST_FRAME_SECONDS = 1.0
"""A film rests on its final state before it starts again."""
SMOOTHNESS = 3
MP4_RATE = 30


def frame_size(height: int, panel: bool, shape: float = 1.0) -> tuple[int, int]:
    """(width, height) of a picture with a board of that `shape` (width by height), even numbers as codecs want them."""
    height -= height % 2
    board = round(shape * (height - HEADER - FOOTER))
    width = board + (PANEL_WIDTH if panel else 0)
    return width + width % 2, height


def _size(viewer: Viewer, height: int, panel: bool) -> tuple[int, int]:
    """Of a square board, or of one as wide as what the environment itself drew, within reason; of two side by side."""
    pictures = viewer.replay.pictures
    shape = 1.0 if pictures is None else min(max(pictures.size[1] / pictures.size[0], 0.75), 2.0)
    return frame_size(height, panel, shape * len(viewer.takes))


def image(viewer: Viewer, frame: int, height: int = 640, panel: bool = False) -> NDArray[np.uint8]:
    """`[height, width, 3]` picture of one frame. UsageError where there is no such frame."""
    from viz.screen.raster import picture

    if not 0 <= frame <= viewer.playback.last:
        raise UsageError(f"there is no frame {frame}: this replay has frames 0 to {viewer.playback.last}")
    width, height = _size(viewer, height, panel)
    panes = (viewer.board_and_panel if panel else viewer.board)(frame, width, height)
    return picture(panes, width, height, SMOOTHNESS)


def _frames(
    viewer: Viewer, frames: range, height: int, panel: bool, progress: Progress | None
) -> Iterator[NDArray[np.uint8]]:
    for done, frame in enumerate(frames, 1):
        yield image(viewer, frame, height, panel)
        if progress:
            progress(done)


def _range(viewer: Viewer, frames: range | None) -> range:
    """All frames, or those asked for. UsageError where some of them are not there, or there are none."""
    last = viewer.playback.last
    chosen = range(last + 1) if frames is None else frames
    if not chosen or not 0 <= chosen[0] <= chosen[-1] <= last:
        raise UsageError(f"there are no such frames: this replay has frames 0 to {last}")
    return chosen


def save_png(viewer: Viewer, frame: int, path: Path, height: int = 640, panel: bool = False) -> None:
    """Write one frame as PNG. StorageFailure where it cannot be written."""
    picture = Image.fromarray(image(viewer, frame, height, panel))
    replaced(path, lambda temporary: picture.save(temporary, "PNG", optimize=True))


def save_pngs(
    viewer: Viewer,
    folder: Path,
    height: int = 640,
    panel: bool = False,
    frames: range | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write every frame as `frame-000012.png` into a folder; what else is there stays. UsageError, StorageFailure."""
    paths = []
    for done, frame in enumerate(_range(viewer, frames), 1):
        paths.append(folder / f"frame-{frame:06d}.png")
        save_png(viewer, frame, paths[-1], height, panel)
        if progress:
            progress(done)
    return paths


def save_gif(
    viewer: Viewer,
    path: Path,
    height: int = 480,
    panel: bool = False,
    speed: float = 1.0,
    frames: range | None = None,
    progress: Progress | None = None,
) -> None:
    """Write frames (all by default) as an endless GIF; `speed` 1 is the simulation's own.

    StorageFailure, UsageError.
    """
    step = _milliseconds(viewer, speed)
    chosen = _range(viewer, frames)
    # One palette for the whole film (from its first, middle and last frame), so that nothing flickers.
    samples = [image(viewer, chosen[at], height, panel) for at in (0, len(chosen) // 2, -1)]
    palette = Image.fromarray(np.concatenate(samples)).quantize(256, Image.Quantize.MEDIANCUT)

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            film = GifWriter(file, palette)
            for frame, pixels in zip(chosen, _frames(viewer, chosen, height, panel, progress), strict=True):
                film.add(pixels, max(step, int(1000 * LAST_FRAME_SECONDS)) if frame == chosen[-1] else step)
            film.close()

    replaced(path, save)


def _milliseconds(viewer: Viewer, speed: float) -> int:
    if not (math.isfinite(speed) and speed > 0):
        raise UsageError(f"speed must be a positive number, not {speed:g}")
    return max(20, round(1000 * viewer.replay.spec.step_seconds / speed / 10) * 10)  # GIF counts hundredths


def save_mp4(
    viewer: Viewer,
    path: Path,
    height: int = 640,
    panel: bool = False,
    speed: float = 1.0,
    frames: range | None = None,
    progress: Progress | None = None,
) -> None:
    """Write frames (all by default) as MP4 (H.264).

    UsageError with the cure where imageio-ffmpeg is missing; StorageFailure.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UsageError("MP4 needs imageio-ffmpeg: pip install 'marl[video]' (or use --gif)") from error
    chosen = _range(viewer, frames)
    repeat = max(1, round(_milliseconds(viewer, speed) / 1000 * MP4_RATE))
    rest = int(LAST_FRAME_SECONDS * MP4_RATE)

    def save(temporary: Path) -> None:
        writer: Any = imageio_ffmpeg.write_frames(
            str(temporary),
            _size(viewer, height, panel),
            fps=MP4_RATE,
            codec="libx264",
            macro_block_size=2,
            output_params=["-crf", "18", "-movflags", "+faststart", "-f", "mp4"],
        )
        writer.send(None)
        last = None
        for last in _frames(viewer, chosen, height, panel, progress):
            for _ in range(repeat):
                writer.send(last)
        for _ in range(rest):
            writer.send(last)
        writer.close()

    replaced(path, save)
