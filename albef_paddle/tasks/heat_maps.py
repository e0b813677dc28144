"""Heat maps over an image, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pyutils.data.images import as_rgb

_SIDE, _LINE, _COLUMNS = 224, 18, 6


def draw_maps(image: Path, maps: np.ndarray, names: Sequence[str], target: Path) -> Path:
    """Write one picture with the image under each of `maps` `[n, rows, columns]` (warm is high), named above.

    Each map is scaled by its own maximum. Returns `target`.
    """
    with Image.open(image) as opened:
        ground = np.asarray(as_rgb(opened).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    columns = min(_COLUMNS, len(maps))
    rows = -(-len(maps) // columns)
    sheet = Image.new("RGB", (columns * _SIDE, rows * (_SIDE + _LINE)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (heat, name) in enumerate(zip(maps, names)):
        left, top = number % columns * _SIDE, number // columns * (_SIDE + _LINE)
        pen.text((left + 4, top + 3), name, fill="black")
        sheet.paste(_overlaid(ground, heat), (left, top + _LINE))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)
    return target


def _overlaid(ground: np.ndarray, heat: np.ndarray) -> Image.Image:
    """Image `[side, side, 3]` in 0 … 1 with the map in colours from blue over green to red."""
    scaled = Image.fromarray((heat / max(float(heat.max()), 1e-12)).astype(np.float32))
    level = np.clip(np.asarray(scaled.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)), 0, 1)
    colours = np.stack([np.clip(1.5 - np.abs(4 * level - peak), 0, 1) for peak in (3, 2, 1)], axis=-1)
    return Image.fromarray(((0.5 * ground + 0.5 * colours) * 255).astype(np.uint8))
