"""Questions that are trained on and evaluated on."""

from __future__ import annotations

from pyutils.data.annotations import vqa
from pyutils.data.vqa_splits import SplitOverlaps
from tests.support import golden

IMDBS = golden("visualbert/data_formats").folder / "datasets/VQA2/annotations"


def test_shared_questions_are_counted_in_whichever_order_splits_are_read():
    train, val, minival = (vqa.read(IMDBS / f"imdb_{name}2014.npy") for name in ("train", "val", "minival"))
    overlaps = SplitOverlaps()
    assert overlaps.add("train", train) == "" and overlaps.add("val", minival) == ""
    assert "warning: 2 of the 2 questions of split 'val' are in" in overlaps.add("train", train.concat(val))
    assert "warning: 6 of the 6 questions of split 'whole' are in" in overlaps.add("whole", val)
    assert overlaps.add("train", train) == ""


def test_the_recorded_minival_is_part_of_val():
    val, minival = (vqa.read(IMDBS / f"imdb_{name}2014.npy") for name in ("val", "minival"))
    assert set(minival.column("question_id")) < set(val.column("question_id"))
