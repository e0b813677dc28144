"""Images with their regions drawn over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_INCHES = 9.0


def draw_boxes(pixels: np.ndarray, boxes: np.ndarray, labels: Sequence[str], output: Path, title: str = "") -> Path:
    """Draw `boxes` `[n, 4]` (left, top, right, bottom in pixels) with their `labels` over the image `pixels`
    `[h, w, 3]` uint8 into the PNG `output`; the first box comes on top. Returns `output`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    height, width = pixels.shape[:2]
    scale = _INCHES / max(height, width)
    figure, axes = plt.subplots(figsize=(max(1.0, width * scale), max(1.0, height * scale)))
    axes.imshow(pixels)
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for number in reversed(range(len(boxes))):
        left, top, right, bottom = boxes[number].tolist()
        colour = colours[number % len(colours)]
        axes.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.5))
        if labels[number]:
            background = {"facecolor": colour, "edgecolor": "none", "alpha": 0.75, "pad": 1}
            axes.text(left, top, labels[number], fontsize=7, verticalalignment="top", bbox=background)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], title=title)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)
    return output
