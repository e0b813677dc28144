"""JSON lists are read an entry at a time, with the values and errors of the standard library."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest

from pyutils.errors import InputError
from pyutils.formats import json_files
from pyutils.formats.json_files import first_key, read_json_items, read_json_list

_VALUES = [
    0,
    -1.5e300,
    12345678901234567890,
    "",
    'a\\"\n\u00e9\U0001f600',
    None,
    True,
    [],
    {},
    [[1], {"a": [2]}],
    {"b": "]"},
]


def _write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("window", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_values_are_those_of_json_load(tmp_path, monkeypatch, window, indent):
    monkeypatch.setattr(json_files, "_WINDOW", window)
    rng = random.Random(window)
    values = [rng.choice(_VALUES) for _ in range(60)]
    for content in ([], values[:1], values):
        path = _write(tmp_path / "list.json", json.dumps(content, indent=indent, ensure_ascii=False) + " \n")
        assert list(read_json_list(path)) == content


@pytest.mark.parametrize("window", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[1, 2",
        "[1,, 2]",
        "[1 2]",
        '[1,\n "abc',
        "[1]\n[2]",
        "[1,\n\n 2,\n]",
        '[{"a": 1},\n{"a" 1}, 3]',
        "{",
        "nul",
    ],
)
def test_errors_are_those_of_json_load(tmp_path, monkeypatch, window, text):
    monkeypatch.setattr(json_files, "_WINDOW", window)
    path = _write(tmp_path / "list.json", text)
    with pytest.raises(json.JSONDecodeError) as known:
        json.loads(text)
    with pytest.raises(InputError, match=f"line {known.value.lineno}, column {known.value.colno}:"):
        list(read_json_list(path))


def test_something_else_than_a_list(tmp_path):
    with pytest.raises(InputError, match="list.json: expected a JSON list of entries, found dict; make one"):
        list(read_json_list(_write(tmp_path / "list.json", ' {"a": 1}'), "; make one"))


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "_WINDOW", 1 << 12)
    path = _write(tmp_path / "list.json", json.dumps([{"image": str(n), "caption": "a dog"} for n in range(40_000)]))
    tracemalloc.start()
    assert sum(1 for _ in read_json_list(path)) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 10


@pytest.mark.parametrize("window", [1, 7, 1 << 20])
def test_objects_are_those_of_json_load(tmp_path, monkeypatch, window):
    monkeypatch.setattr(json_files, "_WINDOW", window)
    content = {f"key {n}": value for n, value in enumerate(_VALUES)}
    path = _write(tmp_path / "object.json", json.dumps(content, indent=1))
    assert dict(read_json_items(path)) == content
    assert first_key(path) == "key 0"
    assert list(read_json_items(_write(path, " {} "))) == []
    assert first_key(path) is None


@pytest.mark.parametrize("text", ['{"a" 1}', "{a: 1}", '{"a": 1,}', '{"a": 1', '{"a": 1} 2', "{"])
def test_errors_of_objects_are_those_of_json_load(tmp_path, text):
    path = _write(tmp_path / "object.json", text)
    with pytest.raises(json.JSONDecodeError) as known:
        json.loads(text)
    with pytest.raises(InputError, match=f"line {known.value.lineno}, column {known.value.colno}:"):
        list(read_json_items(path))
