from __future__ import annotations

import dataclasses

import pytest

from pyutils.data import records
from pyutils.data.table import RecordTable

ALL = [
    records.VQARecord(7, "COCO_val2014_000000262148", "What?", ("yes", "no"), "what", "other"),
    records.CaptionRecord("a", ("one", "two"), 12, (1, 2)),
    records.CaptionRecord("a", (), "flickr-12"),
    records.PairRecord("dev-1-0-0", "dev-1-0-img0", "dev-1-0-img1", "Two dogs.", True),
    records.PairRecord("test2-1-0-0", "l", "r", "Two dogs.", None),
    records.EntailmentRecord("a", "s", None, "1"),
    records.ReferRecord(1, 2, "a", 3, "left dog", (1.0, 2.5, 30.0, 40.25), 5, 18),
    records.VCRRecord(
        "val-0",
        "movie/a",
        records.TaggedText(("is", "", "sad"), ((), (0, 2), ())),
        (records.TaggedText(("yes",), ((),)),) * 4,
        (),
        3,
        None,
        ("person", "dog"),
        ((0.0, 0.0, 5.0, 5.0), (1.0, 1.0, 2.0, 2.0)),
        640,
        480,
    ),
    records.PhraseRecord(
        "a", "A man runs", (records.Phrase(0, 2, "A man", "17", "people", ((1.0, 2.0, 3.0, 4.0),)),), 2, 10, 20
    ),
]


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
def test_every_record_comes_back_from_a_table_as_it_was(record):
    table = RecordTable(type(record), [record, record])
    assert table[1] == record
    assert list(table) == [record, record]


@pytest.mark.parametrize("record", ALL[:3], ids=lambda record: type(record).__name__)
def test_records_are_frozen(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.image = "b"
