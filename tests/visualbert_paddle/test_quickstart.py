"""The main job on a small share of easy-VQA."""

from __future__ import annotations

import json
import sys

import pytest

from pyutils.sample import easy_vqa
from tests.support import SmallEasyVQA
from visualbert_paddle import quickstart


@pytest.fixture
def small_package(monkeypatch):
    pytest.importorskip("easy_vqa")
    whole = easy_vqa._package()
    monkeypatch.setattr(easy_vqa, "_package", lambda: SmallEasyVQA(whole, 30))


def test_quickstart_leaves_what_it_promises(small_package, tmp_path, monkeypatch, capfd):
    output, data = tmp_path / "out", tmp_path / "data"
    arguments = ["quickstart", "--output", str(output), "--data", str(data), "--max_steps", "2", "--blind"]
    monkeypatch.setattr(sys, "argv", arguments)
    quickstart.main()
    printed = capfd.readouterr().err
    for name in ("VisualBERT", "pictures shuffled", "pictures withheld", "most frequent answer"):
        assert name in printed
        assert name in (output / "results.md").read_text()
    asked = json.loads((data / "VQA2/annotations/v2_OpenEnded_mscoco_test2015_questions.json").read_text())["questions"]
    answers = json.loads((output / "test/result.json").read_text())
    assert [entry["question_id"] for entry in answers] == [entry["question_id"] for entry in asked]
    for picture in ("training_curve.png", "contact_sheet.png"):
        assert (output / picture).stat().st_size > 5000
