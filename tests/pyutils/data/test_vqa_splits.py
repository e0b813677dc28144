"""Questions that are trained on and evaluated on."""

from __future__ import annotations

import json

import pytest

from pyutils.data.table import concat
from pyutils.data.vqa import annotations as vqa
from pyutils.data.vqa.splits import SplitOverlaps, VQAConfig, VQAFiles, read_split
from pyutils.errors import InputError
from tests.support import golden

IMDBS = golden("visualbert/data_formats").folder / "datasets/VQA2/annotations"


def test_shared_questions_are_counted_in_whichever_order_splits_are_read():
    train, val, minival = (vqa.read(IMDBS / f"imdb_{name}2014.npy") for name in ("train", "val", "minival"))
    overlaps = SplitOverlaps()
    assert overlaps.add("train", train) == "" and overlaps.add("val", minival) == ""
    assert "warning: 2 of the 2 questions of split 'val'" in overlaps.add("train", concat([train, val]))
    assert "warning: 6 of the 6 questions of split 'whole'" in overlaps.add("whole", val)
    assert overlaps.add("train", train) == ""


def test_the_recorded_minival_is_part_of_val():
    val, minival = (vqa.read(IMDBS / f"imdb_{name}2014.npy") for name in ("val", "minival"))
    assert set(minival.column("question_id")) < set(val.column("question_id"))


def test_a_part_cut_by_ids_leaves_something(tmp_path):
    questions = [{"question_id": number, "image_id": 1, "question": "what ?"} for number in (30, 10, 20)]
    (tmp_path / "q.json").write_text(json.dumps({"questions": questions, "data_subtype": "val2014"}))

    def ids(**cut):
        config = VQAConfig(root=str(tmp_path), splits={"val": [VQAFiles("q.json", **cut)]})
        return read_split(config, "val").column("question_id").tolist()

    assert ids(without_last=1) == [10, 20]
    assert ids(only_last=2) == [30, 20]
    assert ids(without_last=1, only_last=1) == [20]
    for count in (3, 4):
        with pytest.raises(InputError, match=f"without_last {count} leaves none of its 3 questions"):
            ids(without_last=count)


def test_a_missing_file_is_replaced_by_the_one_that_is_there(tmp_path, capsys):
    (tmp_path / "imdb_val2014.npy").write_bytes((IMDBS / "imdb_val2014.npy").read_bytes())
    part = VQAFiles("imdb_minival2014.npy", if_missing="imdb_val2014.npy")
    config = VQAConfig(root=str(tmp_path), splits={"val": [part]})
    assert len(read_split(config, "val")) == len(vqa.read(IMDBS / "imdb_val2014.npy"))
    said = capsys.readouterr().err
    assert "imdb_minival2014.npy" in said and "imdb_val2014.npy is read" in said
    (tmp_path / "imdb_minival2014.npy").write_bytes((IMDBS / "imdb_minival2014.npy").read_bytes())
    assert len(read_split(config, "val")) == len(vqa.read(IMDBS / "imdb_minival2014.npy"))
    with pytest.raises(InputError, match="imdb_x.npy"):
        read_split(
            VQAConfig(root=str(tmp_path), splits={"val": [VQAFiles("imdb_x.npy", if_missing="none.npy")]}), "val"
        )
