"""Contact sheets and training curves: content, and no overlapping texts."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from pyutils.visualize import contact_sheet
from pyutils.visualize.contact_sheet import Card, draw_contact_sheet
from pyutils.visualize.curves import draw_training


@pytest.fixture
def kept_figures(monkeypatch):
    """Figures as they were when they were closed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    return figures


def picture(folder, number):
    path = folder / f"{number}.png"
    Image.fromarray(np.full((64, 64, 3), 20 * number, np.uint8)).save(path)
    return path


def test_no_text_of_a_contact_sheet_overlaps_another(tmp_path, kept_figures):
    question = "does the image not contain a brown rectangle?"  # two lines
    cards = [Card(picture(tmp_path, n), question, "yes", "no" if n % 2 else "yes") for n in range(7)]
    sheet = draw_contact_sheet(cards, tmp_path / "sheet.png", columns=3, title="seven cards")
    assert Image.open(sheet).size[0] > 300
    figure = kept_figures[0]
    figure.canvas.draw()
    used = figure.axes[: len(cards)]
    boxes = [text.get_window_extent() for axes in used for text in (axes.title, axes.xaxis.label)]
    boxes += [axes.get_window_extent() for axes in used]
    for first, second in itertools.combinations(boxes, 2):
        assert not (first.overlaps(second)), (first, second)
    colours = [axes.xaxis.label.get_color() for axes in used]
    assert colours[:2] == ["tab:green", "tab:red"]


def test_a_card_without_truth_is_neither_right_nor_wrong(tmp_path):
    assert contact_sheet.Card(tmp_path, "q", "a").right is None


def log_file(tmp_path, *lines):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_the_curve_is_the_logged_loss(tmp_path, kept_figures):
    rows = [{"kind": "train", "step": n, "loss": 10.0**-n, "lr": 1e-3} for n in range(1, 4)]
    log = log_file(tmp_path, *rows, {"kind": "eval", "step": 3, "accuracy": 81.5, "split": "val"}, '{"kind": "tr')
    draw_training(log, tmp_path / "curve.png")
    loss, scores = kept_figures[0].axes[:2]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [row["loss"] for row in rows])
    assert scores.get_title() == "accuracy on val"
    assert [text.get_text() for text in scores.texts] == ["81.50"]
