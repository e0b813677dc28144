"""Figures of answers, drawn with Pillow: notebooks display the returned image without matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SIDE, _LINE, _MARGIN, _COLUMNS, _MOST_IMAGES = 320, 16, 6, 4, 12
_LETTERS = 6  # pixels of a letter of Pillow's own font
_BEST, _OTHER = (220, 30, 30), (250, 180, 60)


def draw_answer(
    images: Sequence[Image.Image],
    text: str,
    lines: Sequence[str],
    boxes: Sequence[tuple[float, float, float, float]] = (),
    heat: Optional[np.ndarray] = None,
) -> Image.Image:
    """Draw images side by side, the text above and the answer's `lines` below.

    Args:
        images: RGB, the first twelve are drawn.
        boxes: of the first image, in pixels, best first. heat: `[rows, columns]` float32, laid over the first image.
    """
    panels = [
        _panel(image, boxes if n == 0 else (), heat if n == 0 else None)
        for n, image in enumerate(images[:_MOST_IMAGES])
    ]
    panels = panels or [Image.new("RGB", (_SIDE, 1), "white")]
    columns = min(_COLUMNS, len(panels))
    height = max(panel.height for panel in panels)
    width = columns * (_SIDE + _MARGIN) + _MARGIN
    letters = width // _LETTERS - 2
    above, below = textwrap.wrap(text, letters), [line for long in lines for line in textwrap.wrap(long, letters)]
    top = len(above) * _LINE + _MARGIN
    rows = -(-len(panels) // columns)
    bottom = top + rows * (height + _MARGIN)
    sheet = Image.new("RGB", (width, bottom + len(below) * _LINE + _MARGIN), "white")
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        sheet.paste(panel, (_MARGIN + column * (_SIDE + _MARGIN), top + row * (height + _MARGIN)))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for start, written in ((0, above), (bottom, below)):
        for number, line in enumerate(written):
            pen.text((_MARGIN, start + number * _LINE + 2), _latin(line), fill="black", font=font)
    return sheet


def _panel(picture: Image.Image, boxes: Sequence[Any], heat: Optional[np.ndarray]) -> Image.Image:
    """Resize an image to the panel's width, with boxes and heat."""
    scale = _SIDE / picture.width
    panel = picture.resize((_SIDE, max(1, round(picture.height * scale))), Image.Resampling.BICUBIC)
    if heat is not None:
        panel = _heated(panel, heat)
    pen = ImageDraw.Draw(panel)
    for number in reversed(range(len(boxes))):
        corners = [edge * scale for edge in boxes[number]]
        pen.rectangle(corners, outline=_OTHER if number else _BEST, width=2 if number else 3)
    return panel


def _heated(panel: Image.Image, heat: np.ndarray) -> Image.Image:
    """Redden the panel where `heat` is high."""
    scaled = Image.fromarray((np.clip(heat, 0, None) / max(float(heat.max()), 1e-12)).astype(np.float32))
    level = np.clip(np.asarray(scaled.resize(panel.size, Image.Resampling.BICUBIC)), 0, 1)[..., None]
    pixels = np.asarray(panel, np.float32)
    mixed = pixels * (1 - 0.5 * level) + np.array([255.0, 40.0, 0.0], np.float32) * 0.5 * level
    return Image.fromarray(mixed.astype(np.uint8))


def _latin(line: str) -> str:
    """Replace letters that Pillow's own font lacks."""
    return line.encode("latin-1", "replace").decode("latin-1")
