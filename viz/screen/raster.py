"""Painting scenes: shapes at several times the size, scaled down smoothly, then text at its own size.

Coordinates may be anything, NaN included: what is not finite is not painted, what is far away is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viz.letters import font_path
from viz.page import Pane
from viz.scene import Arrow, Box, Bubble, Circle, Color, Fit, Line, Picture, Point, Polygon, Scene, Shape, Text, fit
from viz.screen import pygame_module

pygame = pygame_module()

SMALLEST_FONT = 6


def picture(panes: Sequence[Pane], width: int, height: int, smoothness: int = 3) -> NDArray[np.uint8]:
    """Panes as an image `[height, width, 3]`, uint8. Opens no window."""
    surface = blank(width, height)
    paint_page(surface, panes, smoothness)
    return np.frombuffer(bytearray(pygame.image.tobytes(surface, "RGB")), np.uint8).reshape(height, width, 3)


def blank(width: int, height: int) -> Any:
    """A surface to paint on, without a window."""
    return pygame.Surface((width, height), depth=32)


def paint_page(surface: Any, panes: Sequence[Pane], smoothness: int = 2) -> None:
    """Paint panes onto a surface, each at its place, later ones over earlier ones."""
    Painter().paint_page(surface, panes, smoothness)


class Painter:
    """Paints one page after another, anew only the panes that are others than on the page before."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Scene, tuple[int, int, int], Any]] = {}

    def paint_page(self, surface: Any, panes: Sequence[Pane], smoothness: int = 2, scale: float = 1.0) -> None:
        """Panes onto a surface, with `scale` pixels for every unit of the page."""
        shown = {}
        for k, pane in enumerate(panes):
            ends = (pane.x, pane.y, pane.x + pane.width, pane.y + pane.height)
            x, y, right, bottom = (round(scale * end) for end in ends)
            if right <= x or bottom <= y:
                continue
            look = (right - x, bottom - y, smoothness)
            scene, kept_look, painted = self._kept.get(k, (None, None, None))
            if kept_look != look or not (scene is pane.scene or scene == pane.scene):
                painted = paint(pane.scene, *look)
            shown[k] = (pane.scene, look, painted)
            surface.blit(painted, (x, y))
        self._kept = shown


def paint(scene: Scene, width: int, height: int, smoothness: int) -> Any:
    """A scene on a surface of its own: the view is centred, and what is around it is shown too."""
    size = (width * smoothness, height * smoothness)
    if scene.background is None:
        large = pygame.Surface(size, pygame.SRCALPHA, 32)
        large.fill((255, 255, 255, 0))
    else:
        large = pygame.Surface(size, depth=32)
        large.fill(scene.background[:3])
    frame = fit(scene.view, width * smoothness, height * smoothness)
    texts: list[Text] = []
    for shape in scene.shapes:
        if isinstance(shape, Text):
            texts.append(shape)
        elif isinstance(shape, Bubble):
            box, text = _unfold(shape, frame, smoothness)
            _draw(large, frame, box)
            texts.append(text)
        else:
            _draw(large, frame, shape)
    surface = pygame.transform.smoothscale(large, (width, height)) if smoothness > 1 else large
    frame = fit(scene.view, width, height)
    for text in texts:
        _write(surface, frame, text)
    return surface


def _finite(*points: Point) -> bool:
    return all(math.isfinite(x) and math.isfinite(y) for x, y in points)


def _draw(surface: Any, frame: Fit, shape: Shape) -> None:
    if isinstance(shape, Circle):
        _draw_circle(surface, frame, shape)
    elif isinstance(shape, Line):
        _draw_line(
            surface, [frame.pixel(p) for p in shape.points if _finite(p)], shape.color, frame.length(shape.width)
        )
    elif isinstance(shape, Polygon):
        _draw_polygon(surface, frame, shape)
    elif isinstance(shape, Box):
        _draw_box(surface, frame, shape)
    elif isinstance(shape, Arrow):
        _draw_arrow(surface, frame, shape)
    elif isinstance(shape, Picture):
        _draw_picture(surface, frame, shape)


def _draw_circle(surface: Any, frame: Fit, circle: Circle) -> None:
    if not _finite(circle.center, (circle.radius, circle.width)) or circle.radius <= 0:
        return
    center = frame.pixel(circle.center)
    radius = frame.length(circle.radius)
    if circle.fill is not None:
        fill = circle.fill
        _blend(surface, fill, _around([center], radius), lambda s, at: pygame.draw.circle(s, fill, at(center), radius))
    if circle.line is not None and circle.width > 0:
        line = circle.line
        width = max(1, round(frame.length(circle.width)))
        outer = radius + width / 2
        _blend(
            surface, line, _around([center], outer), lambda s, at: pygame.draw.circle(s, line, at(center), outer, width)
        )


def _draw_line(surface: Any, pixels: list[tuple[float, float]], color: Color, width: float) -> None:
    """Straight pieces with round joints and ends."""
    if len(pixels) < 2:
        return
    half = max(width, 1.0) / 2

    def stroke(target: Any, at: Callable[[Point], Point]) -> None:
        for (x0, y0), (x1, y1) in pairwise(pixels):
            length = math.hypot(x1 - x0, y1 - y0)
            if length > 0:
                nx, ny = (y0 - y1) / length * half, (x1 - x0) / length * half
                corners = [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)]
                pygame.draw.polygon(target, color, [at(corner) for corner in corners])
        if half > 1:
            for point in pixels:
                pygame.draw.circle(target, color, at(point), half)

    _blend(surface, color, _around(pixels, half), stroke)


def _draw_polygon(surface: Any, frame: Fit, polygon: Polygon) -> None:
    if len(polygon.points) < 3 or not _finite(*polygon.points):
        return
    pixels = [frame.pixel(point) for point in polygon.points]
    if polygon.fill is not None:
        fill = polygon.fill
        _blend(
            surface,
            fill,
            _around(pixels, 1),
            lambda s, at: pygame.draw.polygon(s, fill, [at(pixel) for pixel in pixels]),
        )
    if polygon.line is not None and polygon.width > 0:
        _draw_line(surface, [*pixels, pixels[0]], polygon.line, frame.length(polygon.width))


def _draw_box(surface: Any, frame: Fit, box: Box) -> None:
    if not _finite(box.corner, box.opposite):
        return
    (x0, y0), (x1, y1) = frame.pixel(box.corner), frame.pixel(box.opposite)
    left, top = min(x0, x1), min(y0, y1)
    size = (round(abs(x1 - x0)), round(abs(y1 - y0)))
    radius = round(frame.length(box.radius))
    for color, width in ((box.fill, 0), (box.line, max(1, round(frame.length(box.width))))):
        if color is not None and (width == 0 or box.width > 0):
            _draw_rectangle(surface, color, (left, top), size, width, radius)


def _draw_rectangle(surface: Any, color: Color, corner: Point, size: tuple[int, int], width: int, radius: int) -> None:
    def draw(target: Any, at: Callable[[Point], Point]) -> None:
        pygame.draw.rect(target, color, pygame.Rect(at(corner), size), width, border_radius=radius)

    _blend(surface, color, _around([corner, (corner[0] + size[0], corner[1] + size[1])], 1), draw)


def _draw_arrow(surface: Any, frame: Fit, arrow: Arrow) -> None:
    if not _finite(arrow.start, arrow.end):
        return
    (x0, y0), (x1, y1) = frame.pixel(arrow.start), frame.pixel(arrow.end)
    length = math.hypot(x1 - x0, y1 - y0)
    width = frame.length(arrow.width)
    if length < 1:
        return
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    head = min(length, 4 * width)
    neck = (x1 - ux * head, y1 - uy * head)
    _draw_line(surface, [(x0, y0), neck], arrow.color, width)
    side = head * 0.6
    corners = [(x1, y1), (neck[0] - uy * side, neck[1] + ux * side), (neck[0] + uy * side, neck[1] - ux * side)]
    _blend(
        surface,
        arrow.color,
        _around(corners, 1),
        lambda s, at: pygame.draw.polygon(s, arrow.color, [at(corner) for corner in corners]),
    )


def _draw_picture(surface: Any, frame: Fit, picture: Picture) -> None:
    """The part of a picture that is visible; its points stay sharp where they are enlarged."""
    if not _finite(picture.corner, picture.opposite):
        return
    xs = sorted(frame.x + frame.scale * x for x, _ in (picture.corner, picture.opposite))
    ys = sorted(frame.y + frame.scale * frame.down * y for _, y in (picture.corner, picture.opposite))
    left, right = max(0, round(xs[0])), min(surface.get_width(), round(xs[1]))
    top, bottom = max(0, round(ys[0])), min(surface.get_height(), round(ys[1]))
    if right <= left or bottom <= top:
        return
    rows, columns = picture.pixels.shape[:2]
    if xs[1] - xs[0] >= columns:
        across = ((np.arange(left, right) + 0.5 - xs[0]) * columns / (xs[1] - xs[0])).astype(int).clip(0, columns - 1)
        along = ((np.arange(top, bottom) + 0.5 - ys[0]) * rows / (ys[1] - ys[0])).astype(int).clip(0, rows - 1)
        surface.blit(_as_surface(picture.pixels[along[:, None], across]), (left, top))
        return
    whole = (max(1, round(xs[1] - xs[0])), max(1, round(ys[1] - ys[0])))
    surface.blit(pygame.transform.smoothscale(_as_surface(picture.pixels), whole), (round(xs[0]), round(ys[0])))


def _as_surface(pixels: NDArray[np.uint8]) -> Any:
    return pygame.image.frombuffer(np.ascontiguousarray(pixels).tobytes(), pixels.shape[1::-1], "RGB")


def _around(pixels: Sequence[tuple[float, float]], margin: float) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of some pixels and what is painted around them."""
    xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
    return min(xs) - margin - 1, min(ys) - margin - 1, max(xs) + margin + 2, max(ys) + margin + 2


def _blend(
    surface: Any,
    color: Color,
    bounds: tuple[float, float, float, float],
    draw: Callable[[Any, Callable[[Point], Point]], None],
) -> None:
    """Draw opaque shapes directly, translucent ones by way of a layer of their own (pygame does not blend them)."""
    if color.a >= 255:
        draw(surface, lambda point: point)
        return
    left, top = max(0, math.floor(bounds[0])), max(0, math.floor(bounds[1]))
    width = min(surface.get_width(), math.ceil(bounds[2])) - left
    height = min(surface.get_height(), math.ceil(bounds[3])) - top
    if width <= 0 or height <= 0 or color.a == 0:
        return
    layer = pygame.Surface((width, height), pygame.SRCALPHA, 32)
    draw(layer, lambda point: (point[0] - left, point[1] - top))
    surface.blit(layer, (left, top))


def _unfold(bubble: Bubble, frame: Fit, smoothness: int) -> tuple[Box, Text]:
    """A bubble as a box that fits its text, in scene units, and the text."""
    font = _font(frame.length(bubble.height) / smoothness, False)
    half_width = font.size(bubble.text)[0] * smoothness / frame.scale / 2 + bubble.height * 0.45
    half_height = bubble.height * 0.75
    (x, y) = bubble.at
    box = Box(
        (x - half_width, y - half_height),
        (x + half_width, y + half_height),
        bubble.fill,
        bubble.line,
        bubble.height * 0.08,
        bubble.height * 0.5,
    )
    return box, Text(bubble.at, bubble.text, bubble.height, bubble.color)


def _write(surface: Any, frame: Fit, text: Text) -> None:
    if not text.text or not _finite(text.at):
        return
    font = _font(frame.length(text.height), text.bold)
    content = _shorten(font, text.text, frame.length(text.max_width)) if text.max_width > 0 else text.text
    image = _image(font, content, text.color)
    x, y = frame.pixel(text.at)
    x -= {"left": 0.0, "center": image.get_width() / 2, "right": float(image.get_width())}[text.anchor]
    surface.blit(image, (round(x), round(y - image.get_height() / 2)))


def _shorten(font: Any, text: str, width: float) -> str:
    if font.size(text)[0] <= width:
        return text
    kept = text
    while kept and font.size(kept + "…")[0] > width:
        kept = kept[:-1]
    return kept + "…"


@lru_cache(maxsize=1024)
def _image(font: Any, text: str, color: Color) -> Any:
    image = font.render(text, True, color[:3])
    if color.a < 255:
        image.set_alpha(color.a)
    return image


def _font(height: float, bold: bool) -> Any:
    """A font of that height in pixels. Fonts die with every `pygame.quit`, which other libraries call as they like."""
    size = max(SMALLEST_FONT, round(height))
    pygame.font.init()
    try:
        font = _font_of_size(size, bold)
        font.size("")
    except pygame.error:
        _font_of_size.cache_clear()
        _image.cache_clear()
        font = _font_of_size(size, bold)
    return font


@cache
def _font_of_size(size: int, bold: bool) -> Any:
    return pygame.font.Font(font_path(bold), size)
