"""Contact sheets: images with questions, answers and ground truth."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyutils.extras import need


@dataclass(frozen=True)
class Card:
    """One image of a sheet: file, heading (the question), predicted answer, ground truth ("" = unknown)."""

    image: Path
    heading: str
    given: str
    truth: str = ""

    @property
    def right(self) -> bool | None:
        """True for a correct answer; None when the truth is unknown."""
        return None if not self.truth else self.given == self.truth


def draw_contact_sheet(cards: Sequence[Card], output: Path, columns: int = 4, title: str = "") -> Path:
    """Draw `cards` on a grid into the PNG `output`: green where the answer is right, red where it is wrong."""
    need("plots", "matplotlib", "drawing a contact sheet")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    rows = -(-len(cards) // columns)
    height = 3.4 * rows
    figure, grid = plt.subplots(rows, columns, figsize=(2.6 * columns, height), squeeze=False)
    # Inches: room for two lines of question above and one of answer below each image.
    figure.subplots_adjust(hspace=0.42, wspace=0.06, left=0.02, right=0.98, bottom=0.3 / height, top=1 - 0.8 / height)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, card in zip(grid.flat, cards):
        with Image.open(card.image) as image:
            axes.imshow(image.convert("RGB"), interpolation="nearest")
        colour = {True: "tab:green", False: "tab:red", None: "black"}[card.right]
        axes.set_title("\n".join(textwrap.wrap(card.heading, 32)), fontsize=9)
        truth = f"   truth: {card.truth}" if card.truth else ""
        axes.set_xlabel(f"answer: {card.given}{truth}", fontsize=9, color=colour)
    if title:
        figure.suptitle(title)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110, bbox_inches="tight", pad_inches=0.1)
    plt.close(figure)
    return output
