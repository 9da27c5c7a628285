"""Films and pictures of replays: GIF (pillow), MP4 (imageio-ffmpeg, an extra), PNG. Needs no display."""

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
from viz.page import FOOTER, HEADER
from viz.viewer import PANEL_WIDTH, Viewer

Progress = Callable[[int], None]
"""Called with the number of frames that are done."""

LAST_FRAME_SECONDS = 1.0
"""A film rests on its final state before it starts again."""
SMOOTHNESS = 3
MP4_RATE = 30


def frame_size(height: int, panel: bool) -> tuple[int, int]:
    """(width, height) of a picture with a square board, even numbers as codecs want them."""
    height -= height % 2
    board = height - HEADER - FOOTER
    width = board + (PANEL_WIDTH if panel else 0)
    return width + width % 2, height


def image(viewer: Viewer, frame: int, height: int = 640, panel: bool = False) -> NDArray[np.uint8]:
    """`[height, width, 3]` picture of one frame. UsageError where there is no such frame."""
    from viz.screen.raster import picture

    if not 0 <= frame <= viewer.replay.steps:
        raise UsageError(f"there is no frame {frame}: this replay has frames 0 to {viewer.replay.steps}")
    width, height = frame_size(height, panel)
    panes = (viewer.board_and_panel if panel else viewer.board)(frame, width, height)
    return picture(panes, width, height, SMOOTHNESS)


def _frames(viewer: Viewer, height: int, panel: bool, progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    for frame in range(viewer.replay.steps + 1):
        yield image(viewer, frame, height, panel)
        if progress:
            progress(frame + 1)


def save_png(viewer: Viewer, frame: int, path: Path, height: int = 640, panel: bool = False) -> None:
    """Write one frame as PNG. StorageFailure where it cannot be written."""
    picture = Image.fromarray(image(viewer, frame, height, panel))
    replaced(path, lambda temporary: picture.save(temporary, "PNG", optimize=True))


def save_gif(
    viewer: Viewer,
    path: Path,
    height: int = 480,
    panel: bool = False,
    speed: float = 1.0,
    progress: Progress | None = None,
) -> None:
    """Write all frames as an endless GIF; `speed` 1 is the simulation's own. StorageFailure, UsageError."""
    step = _milliseconds(viewer, speed)
    pictures: list[Image.Image] = []
    for pixels in _frames(viewer, height, panel, progress):
        picture = Image.fromarray(pixels)
        # One palette for the whole film (from its first, middle and last frame), so that nothing flickers.
        if not pictures:
            palette = _palette(viewer, pixels, height, panel)
        pictures.append(picture.quantize(palette=palette, dither=Image.Dither.NONE))
    durations = [step] * (len(pictures) - 1) + [max(step, int(1000 * LAST_FRAME_SECONDS))]

    def save(temporary: Path) -> None:
        pictures[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            optimize=False,
            disposal=1,
        )

    replaced(path, save)


def _palette(viewer: Viewer, first: NDArray[np.uint8], height: int, panel: bool) -> Image.Image:
    middle = image(viewer, viewer.replay.steps // 2, height, panel)
    last = image(viewer, viewer.replay.steps, height, panel)
    return Image.fromarray(np.concatenate([first, middle, last])).quantize(256, Image.Quantize.MEDIANCUT)


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
    progress: Progress | None = None,
) -> None:
    """Write all frames as MP4 (H.264). UsageError with the cure where imageio-ffmpeg is missing; StorageFailure."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UsageError("MP4 needs imageio-ffmpeg: pip install imageio-ffmpeg (or use --gif)") from error
    repeat = max(1, round(_milliseconds(viewer, speed) / 1000 * MP4_RATE))
    rest = int(LAST_FRAME_SECONDS * MP4_RATE)

    def save(temporary: Path) -> None:
        writer: Any = imageio_ffmpeg.write_frames(
            str(temporary),
            frame_size(height, panel),
            fps=MP4_RATE,
            codec="libx264",
            macro_block_size=2,
            output_params=["-crf", "18", "-movflags", "+faststart", "-f", "mp4"],
        )
        writer.send(None)
        last = None
        for last in _frames(viewer, height, panel, progress):
            for _ in range(repeat):
                writer.send(last)
        for _ in range(rest):
            writer.send(last)
        writer.close()

    replaced(path, save)
