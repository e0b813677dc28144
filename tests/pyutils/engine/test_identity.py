"""Fingerprints of training records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable
from pyutils.engine.identity import fingerprint

RECORDS = [VQARecord(number, f"image_{number}", "what is it?", ("a", "b")) for number in range(300)]


def table(records):
    return RecordTable(VQARecord, records)


def test_equal_records_have_one_fingerprint_in_a_list_and_a_table():
    assert fingerprint(RECORDS) == fingerprint(table(RECORDS)) == fingerprint([replace(item) for item in RECORDS])


def test_order_selection_and_content_tell_apart():
    other = [*RECORDS[:150], replace(RECORDS[150], answers=("a", "c")), *RECORDS[151:]]
    variants = [RECORDS, RECORDS[::-1], RECORDS[:299], other, [(1, np.arange(3))], [(1, np.arange(3.0))], []]
    assert len({fingerprint(variant) for variant in variants}) == len(variants)


def test_of_paths_only_the_file_name_counts():
    assert fingerprint([{"image": "/a/b/x.jpg"}]) == fingerprint([{"image": "c/x.jpg"}])
    assert fingerprint([{"image": "/a/b/x.jpg"}]) != fingerprint([{"image": "/a/b/y.jpg"}])
    assert fingerprint(["a and/or b"]) != fingerprint(["or b"])
