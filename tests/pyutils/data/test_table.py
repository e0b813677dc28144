from __future__ import annotations

import multiprocessing
import pickle
import tracemalloc
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import pytest

from pyutils.data.records import CaptionRecord, PairRecord, VQARecord
from pyutils.data.table import RecordTable, concat
from pyutils.errors import InputError


def questions(count: int, start: int = 0):
    return (
        VQARecord(number, f"COCO_train2014_{number:012d}", f"What is number {number}?", ("yes", f"{number}"), "what")
        for number in range(start, start + count)
    )


@pytest.fixture(scope="module")
def table() -> RecordTable[VQARecord]:
    # More than one chunk, the last one partial.
    return RecordTable(VQARecord, questions(20_000))


def test_indexing_from_both_ends_and_across_chunks(table):
    assert len(table) == 20_000
    for position in (0, 8191, 8192, 19_999):
        assert table[position] == next(questions(1, position))
    assert table[-1].question_id == 19_999
    assert table[np.int64(3)].question_id == 3
    for outside in (20_000, -20_001):
        with pytest.raises(IndexError):
            table[outside]


def test_iteration_equals_indexing(table):
    assert [record.question_id for record in table] == list(range(20_000))
    assert next(iter(table)) == table[0]


def test_slices_and_selections(table):
    assert [record.question_id for record in table[8190:8194]] == [8190, 8191, 8192, 8193]
    assert [record.question_id for record in table[10:4:-3]] == [10, 7]
    assert len(table[5:5]) == 0
    assert table.select([5, -1, 5]).column("question_id").tolist() == [5, 19_999, 5]
    mask = np.zeros(len(table), dtype=bool)
    mask[[3, 9000]] = True
    assert table.select(mask).column("question_id").tolist() == [3, 9000]
    assert len(table.select([])) == 0
    with pytest.raises(IndexError, match="20000"):
        table.select([0, 20_000])
    with pytest.raises(IndexError):
        table.select(np.ones(3, dtype=bool))


def test_columns_are_arrays(table):
    ids = table.column("question_id")
    assert ids.dtype == np.int64 and ids.shape == (20_000,)
    images = table.column("image")
    assert images.dtype == object and images[1] == "COCO_train2014_000000000001"
    assert table[:3].column("answers").tolist() == [("yes", "0"), ("yes", "1"), ("yes", "2")]
    labels = RecordTable(PairRecord, [PairRecord("a", "b", "c", "d", label) for label in (True, None)]).column("label")
    assert labels.tolist() == [True, None]
    mixed = RecordTable(CaptionRecord, [CaptionRecord("a", (), 4), CaptionRecord("a", (), "x")]).column("image_id")
    assert mixed.tolist() == [4, "x"]
    with pytest.raises(KeyError):
        table.column("caption")


def test_different_values_of_several_columns():
    pairs = RecordTable(PairRecord, [PairRecord("0", left, "b", "c", None) for left in ("z", "a", "z")])
    assert list(pairs.distinct("left", "right")) == ["a", "b", "z"]
    assert list(pairs[1:2].distinct("left")) == ["a"]
    assert list(RecordTable(PairRecord).distinct("left")) == []


def test_concat_keeps_order(table):
    joined = concat([table[:2], table[100:101]])
    assert [record.question_id for record in joined] == [0, 1, 100]
    assert concat([joined]) == joined


def test_pickle_holds_the_rows_of_a_slice_only(table):
    part = table[9000:9003]
    stream = pickle.dumps(part)
    assert len(stream) < 5000
    assert pickle.loads(stream) == part
    assert pickle.loads(stream)[2].question_id == 9002


def _read_in_child(table, position, queue):
    queue.put(table[position])


def test_a_forked_process_reads_it(table):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(table, 12_345, queue))
    child.start()
    assert queue.get(timeout=60) == table[12_345]
    child.join()


def test_many_records_are_no_python_objects():
    RecordTable(VQARecord, questions(1))  # Arrow imports the rest of itself with its first array.
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    table = RecordTable(VQARecord, questions(200_000))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept - before < 2 * 2**20
    # One chunk of records and its columns, whatever the number of records.
    assert peak - before < 16 * 2**20
    assert table._table.nbytes < 200 * len(table)
    assert table[199_999].answers == ("yes", "199999")


@pytest.mark.parametrize("value", ["seven", None, 1.5])
def test_a_value_of_another_type_names_the_field(value):
    with pytest.raises(ValueError, match=r"VQARecord\.question_id"):
        RecordTable(VQARecord, [VQARecord(value, "a", "q")])


def test_a_missing_value_is_allowed_only_where_the_record_says_so():
    assert RecordTable(PairRecord, [PairRecord("a", "b", "c", "d", None)])[0].label is None
    with pytest.raises(ValueError, match=r"PairRecord\.sentence: None of record 0"):
        RecordTable(PairRecord, [PairRecord("a", "b", "c", None, True)])


def test_unknown_types_are_refused():
    @dataclass(frozen=True)
    class Odd:
        value: Any

    with pytest.raises(TypeError, match=r"Odd\.value"):
        RecordTable(Odd, [])


def test_an_empty_table():
    table = RecordTable(VQARecord)
    assert len(table) == 0 and list(table) == [] and table.column("image").tolist() == []
    assert pickle.loads(pickle.dumps(table)) == table


def test_optional_scalars_inside_structures():
    @dataclass(frozen=True)
    class Inner:
        name: Optional[str]
        box: tuple[float, float]

    @dataclass(frozen=True)
    class Outer:
        inner: Optional[Inner]
        many: tuple[Inner, ...]

    # Annotations of local classes are strings that only this scope can resolve.
    Inner.__annotations__ = {"name": Optional[str], "box": tuple[float, float]}
    Outer.__annotations__ = {"inner": Optional[Inner], "many": tuple[Inner, ...]}
    records = [Outer(None, ()), Outer(Inner(None, (1.0, 2.0)), (Inner("a", (0.0, 0.5)),))]
    assert list(RecordTable(Outer, records)) == records


@pytest.mark.parametrize(("question", "found"), [(None, "None of record 9000"), (7, "7 of record 9000")])
def test_a_value_that_does_not_fit_is_named_by_its_record(question, found):
    records = (VQARecord(n, "a", question if n == 9000 else "b") for n in range(9001))
    with pytest.raises(InputError, match=rf"VQARecord\.question.*{found}"):
        RecordTable(VQARecord, records)
