"""Opening what arrived, joining pieces, and unpacking that stays in its folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from pyutils.download import DownloadError, join_pieces, unpack
from pyutils.download.transport import SourceFailed
from pyutils.download.verify import check_opens
from pyutils.errors import InputError

FILES = {"a/one.txt": b"one" * 4000, "two.json": b"[1, 2]"}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


WHOLE = {
    "a.zip": zipped(FILES),
    "a.tar": tarred(FILES, "w"),
    "a.tar.gz": tarred(FILES),
    "a.tgz": tarred(FILES),
    "a.json": b'{"a": 1}',
    "a.jsonl": b'{"a": 1}\n\n{"a": 2}\n',
    "a.npy": saved(np.arange(3000.0)),
    "a.json.gz": gzip.compress(b"[1]" * 1000),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_open_and_truncated_ones_do_not(tmp_path, name):
    path = tmp_path / "arrived.part"
    path.write_bytes(WHOLE[name])
    check_opens(path, name)
    path.write_bytes(WHOLE[name][: len(WHOLE[name]) * 2 // 3])
    with pytest.raises(SourceFailed, match="does not open as"):
        check_opens(path, name)


def test_lines_in_a_file_named_json(tmp_path):
    (tmp_path / "dev.json").write_text('{"a": 1}\n{"a": 2}\n')
    check_opens(tmp_path / "dev.json", "dev.json")
    (tmp_path / "dev.json").write_text("")
    with pytest.raises(SourceFailed, match="no entries"):
        check_opens(tmp_path / "dev.json", "dev.json")


def test_damage_inside_a_zip_is_found(tmp_path):
    content = bytearray(WHOLE["a.zip"])
    content[100] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceFailed, match="a/one.txt is damaged"):
        check_opens(tmp_path / "a.zip", "a.zip")


def test_object_arrays_are_not_unpickled(tmp_path):
    content = saved(np.array([{"a": 1}], dtype=object))
    (tmp_path / "imdb.npy").write_bytes(content)
    check_opens(tmp_path / "imdb.npy", "imdb.npy")


def test_a_web_page_with_a_good_name(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html><body>Service unavailable")
    with pytest.raises(SourceFailed, match="a web page"):
        check_opens(tmp_path / "a.zip", "a.zip")


def pieces_of(tmp_path, content: bytes, count: int = 3) -> list:
    size = -(-len(content) // count)
    paths = [tmp_path / f"a.zip.part{number:02d}" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(content[number * size : (number + 1) * size])
    return paths


def test_pieces_are_joined_in_order(tmp_path):
    pieces = pieces_of(tmp_path, WHOLE["a.zip"], count=12)
    joined = join_pieces(pieces, tmp_path / "a.zip", sha256=hashlib.sha256(WHOLE["a.zip"]).hexdigest())
    assert joined.read_bytes() == WHOLE["a.zip"]
    assert all(piece.is_file() for piece in pieces)


def test_joined_pieces_are_checked(tmp_path):
    pieces = pieces_of(tmp_path, WHOLE["a.zip"])
    with pytest.raises(DownloadError, match="joined from its pieces: expected 5 bytes, found"):
        join_pieces(pieces, tmp_path / "a.zip", size=5)
    pieces[2].write_bytes(b"")
    with pytest.raises(DownloadError, match="joined from its pieces: .*does not open as zip"):
        join_pieces(pieces, tmp_path / "a.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == [piece.name for piece in pieces]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_unpacking(tmp_path, name):
    (tmp_path / name).write_bytes(WHOLE[name])
    written = unpack(tmp_path / name, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in written} == FILES
    (tmp_path / "out" / "two.json").write_bytes(b"[")
    unpack(tmp_path / name, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "two.json").read_text()) == [1, 2]


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "..\\escaped", "C:\\escaped"])
@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_entries_that_point_outside_are_refused(tmp_path, name, kind):
    files = {"first.txt": b"1", name: b"2"}
    (tmp_path / kind).write_bytes(zipped(files) if kind == "a.zip" else tarred(files))
    with pytest.raises(InputError, match="points outside the folder"):
        unpack(tmp_path / kind, tmp_path / "out" / "deep")
    assert not (tmp_path / "out").exists()


def test_links_are_left_out(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    assert unpack(tmp_path / "a.tar", tmp_path / "out") == []


def test_damaged_archives(tmp_path):
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(WHOLE[name][:60])
        with pytest.raises(InputError, match=f"{name}: damaged"):
            unpack(tmp_path / name, tmp_path / "out")
