"""Exported models that are damaged, and inputs that do not fit, are plain errors."""

from __future__ import annotations

import json
import shutil

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.export.predictor import StaticPredictor
from pyutils.export.program import Exportable, export


class Counting(paddle.nn.Layer):
    """Sums rows of a table over the words that a mask leaves."""

    def __init__(self):
        super().__init__()
        self.table = paddle.nn.Embedding(5, 4)

    def forward(self, ids, mask):
        return (self.table(ids) * mask.astype("float32").unsqueeze(-1)).sum(1)


def ones(*shape) -> np.ndarray:
    return np.ones(shape, "int64")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    inputs = dict.fromkeys(("ids", "mask"), ([None, None], "int64"))
    item = Exportable(Counting(), inputs, ["y"], lambda case: {"ids": ones(case + 1, 3), "mask": ones(case + 1, 3)})
    export(item, folder)
    return folder


@pytest.mark.parametrize(
    ("ids", "mask", "told"),
    [
        (ones(2, 3), ones(3, 3), "one batch size, found ids 2, mask 3"),
        (ones(0, 3), ones(0, 3), r"input 'ids': .*\[0, 3\]"),
        (ones(2, 3), ones(2, 4), r"cannot take these inputs \(ids \[2, 3\], mask \[2, 4\]\): .*[Bb]roadcast"),
        (ones(2, 3) * 9, ones(2, 3), r"cannot take these inputs .* got 9.*are ids within the vocabulary"),
    ],
)
def test_inputs_that_do_not_fit_are_named(served, ids, mask, told):
    predictor = StaticPredictor(served)
    with pytest.raises(InputError, match=told):
        predictor(ids=ids, mask=mask)
    assert predictor(ids=ones(2, 3), mask=ones(2, 3))["y"].shape == (2, 4)


@pytest.fixture
def copied(served, tmp_path):
    return shutil.copytree(served, tmp_path / "copy")


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"inputs": {"a": 5}, "outputs": [], "settings": {}}',
                                     '{"inputs": {}, "outputs": 3, "settings": {}}', "[" * 100_000])  # fmt: skip
def test_descriptions_of_no_model_are_named(copied, content):
    (copied / "export.json").write_text(content)
    with pytest.raises(InputError, match=r"export\.json: "):
        StaticPredictor(copied)


@pytest.mark.parametrize("share", [0, 0.5])
def test_files_cut_short_are_named(copied, share):
    for path in [next(copied / name for name in ("model.json", "model.pdmodel") if (copied / name).is_file()),
                 copied / "model.pdiparams"]:  # fmt: skip
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=rf"{path.name}: .*expected {len(whole)} bytes"):
            StaticPredictor(copied)
        path.write_bytes(whole)
    path.unlink()
    with pytest.raises(InputError, match=r"model\.pdiparams: no such file"):
        StaticPredictor(copied)


def test_a_damaged_program_of_an_older_export_is_named(copied):
    """One whose description tells no sizes."""
    described = json.loads((copied / "export.json").read_text())
    del described["sizes"]
    (copied / "export.json").write_text(json.dumps(described))
    assert StaticPredictor(copied)(ids=ones(1, 1), mask=ones(1, 1))["y"].shape == (1, 4)
    (copied / "model.pdiparams").write_bytes(b"")
    with pytest.raises(InputError, match=r"this Paddle cannot open the program and its model\.pdiparams \("):
        StaticPredictor(copied)
