"""Pre-training lists of web crawls."""

from __future__ import annotations

import hashlib

import pytest

from pyutils.data.annotations import albef
from pyutils.data.prepare.crawl import main
from pyutils.errors import InputError


@pytest.fixture()
def crawl(tmp_path):
    """A table of four rows; two addresses end alike, one image was not downloaded, one caption has no word."""
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "same.jpg", "dots.jpg"):
        (tmp_path / "images" / name).touch()
    rows = [
        ('a "red" cup', "http://one/x/a.jpg?size=2"),
        ("a dog", "http://one/same.jpg"),
        ("a cat", "http://two/same.jpg"),
        ("gone", "http://one/gone.jpg"),
        ("...", "http://one/dots.jpg"),
    ]
    return tmp_path, rows


def _write(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return str(path)


def _run(folder, table, *more):
    output = folder / "list.json"
    assert main([table, "--images", str(folder / "images"), "--output", str(output), *more]) == 0
    return [(record.image, record.captions) for record in albef.read_pretrain(output)]


@pytest.mark.parametrize("swapped", [False, True])
def test_names_of_addresses(crawl, capsys, swapped):
    folder, rows = crawl
    table = _write(folder / "train.tsv", [row[::-1] for row in rows] if swapped else rows)
    assert _run(folder, table) == [("a.jpg", ('a "red" cup',))]
    printed = capsys.readouterr().out
    assert "1 of 5 pairs" in printed
    assert "1 have no image there" in printed
    assert "2 have a file name that other addresses have too" in printed
    assert "1 have a caption without letter or digit" in printed


def test_names_by_row_or_digest(crawl):
    folder, rows = crawl
    table = _write(folder / "train.tsv", rows)
    for number in (0, 2):
        (folder / f"images/{number:05d}.jpg").touch()
    kept = [("00000.jpg", ('a "red" cup',)), ("00002.jpg", ("a cat",))]
    assert _run(folder, table, "--name", "{row:05d}.jpg") == kept
    digest = hashlib.sha1(rows[1][1].encode()).hexdigest()
    (folder / "images" / digest).touch()
    assert _run(folder, table, "--name", "{sha1}") == [(digest, ("a dog",))]


def test_names_of_a_column(crawl):
    folder, _ = crawl
    table = _write(folder / "train.tsv", [("url", "caption", "file"), ("http://h/1", "a dog", "same.jpg")])
    assert _run(folder, table) == [("same.jpg", ("a dog",))]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("a dog", "a cat")], "line 1: expected a caption and an address, or a header"),
        ([("a dog", "http://h/a.jpg"), ("a cat",)], "line 2: expected 2 columns"),
        ([("a dog", "http://h/none.jpg")], "none of the 1 images is there, e.g. none.jpg"),
        ([], "the table is empty"),
    ],
)
def test_errors_name_the_line(crawl, rows, problem):
    folder, _ = crawl
    with pytest.raises(InputError, match=problem):
        _run(folder, _write(folder / "train.tsv", rows))
    assert not (folder / "list.json").exists()


def test_an_unknown_field_of_a_name(crawl):
    folder, rows = crawl
    with pytest.raises(InputError, match="--name .*rows.*row"):
        _run(folder, _write(folder / "train.tsv", rows), "--name", "{rows}.jpg")
