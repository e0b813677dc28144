from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyutils.data.annotations import nlvr2
from pyutils.errors import InputError
from tests.support import golden

FORMATS = golden("visualbert/data_formats")
REAL = Path(os.environ.get("NLVR2_DATA", Path(__file__).parents[4].parent / "shared/data/nlvr2"))


@pytest.mark.parametrize("split", ["train", "dev", "test1"])
def test_records_are_what_the_authors_loader_reads(split):
    table = nlvr2.read(FORMATS.folder / f"datasets/NLVR2/annotations/{split}.json")
    samples = FORMATS.json(f"expected/nlvr_finetune_{split}.json")["samples"]
    records = {record.identifier: record for record in table}
    assert samples
    for sample in samples:
        record = records[sample["identifier"]]
        assert [f"{record.left}.png", f"{record.right}.png"] == sample["images"]
        assert record.sentence == sample["sentence"] and int(record.label) == sample["label"]


@pytest.mark.parametrize(("name", "count"), [("dev.json", 6982), ("test1.json", 6967)])
def test_the_published_files_read_whole(name, count):
    if not (REAL / name).is_file():
        pytest.skip(f"NLVR2's {name} is not in {REAL}; NLVR2_DATA names another folder")
    table = nlvr2.read(REAL / name)
    assert len(table) == count
    assert set(table.column("label")) == {True, False}
    assert all(left[:-1] == right[:-1] for left, right in zip(table.column("left"), table.column("right")))


def line(**changes):
    entry = {"identifier": "dev-1-0-0", "sentence": "Two dogs.", "label": "True", **changes}
    return json.dumps({key: value for key, value in entry.items() if value is not None})


def test_the_hidden_split_has_no_label(tmp_path):
    path = tmp_path / "test2.json"
    path.write_text(line(label=None) + "\n\n")
    assert nlvr2.read(path)[0].label is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[]", "line 2: expected an? .*object, found list"),
        (line(identifier="dev-1-0"), 'line 2: "dev-1-0" is not an NLVR2 identifier'),
        (line(identifier="dev-1-0-0"), "line 2: the identifier dev-1-0-0 occurs twice"),
        (line(identifier="dev-1-0-1", label="yes"), "line 2: expected the label .* found 'yes'"),
        (line(sentence=None), 'line 2: lacks "sentence"'),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    path = tmp_path / "dev.json"
    path.write_text(line() + "\n" + text + "\n")
    with pytest.raises(InputError, match=message):
        nlvr2.read(path)
