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


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_every_flipped_bit_of_a_compressed_tar_is_found(tmp_path, name):
    modes = {"a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}
    whole = tarred({"one.bin": np.random.default_rng(0).bytes(3000)}, modes[name])
    path = tmp_path / name
    path.write_bytes(whole)
    check_opens(path, name)
    skipped = range(3, 10) if name == "a.tar.gz" else range(0)  # flags, time and system of gzip: no content
    for place in np.random.default_rng(1).integers(0, len(whole), 60):
        if place in skipped:
            continue
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        with pytest.raises(SourceFailed):
            check_opens(path, name)
        with pytest.raises(InputError, match="damaged"):
            unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [512 + 1024, None])
def test_a_tar_is_not_taken_for_a_short_one(tmp_path, place):
    """A damaged second header, and a tar that was cut between two entries: `tarfile` sees one entry and no fault."""
    whole = bytearray(tarred({"one": b"1" * 1024, "two": b"2" * 1024}, "w"))
    if place is None:
        whole = whole[: 512 + 1024]
    else:
        whole[place] ^= 1
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(SourceFailed):
        check_opens(tmp_path / "a.tar", "a.tar")
    with pytest.raises(InputError, match="damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_unpacking_again_repairs_files_of_the_right_size(tmp_path, name):
    (tmp_path / name).write_bytes(WHOLE[name])
    unpack(tmp_path / name, tmp_path / "out")
    (tmp_path / "out/a/one.txt").write_bytes(b"bad" * 4000)
    unpack(tmp_path / name, tmp_path / "out")
    assert (tmp_path / "out/a/one.txt").read_bytes() == FILES["a/one.txt"]


def test_unpacking_does_not_write_through_links(tmp_path):
    (tmp_path / "a.zip").write_bytes(WHOLE["a.zip"])
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.two.json.partial").symlink_to(tmp_path / "victim")
    (tmp_path / "out/two.json").symlink_to(tmp_path / "victim")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert (tmp_path / "out/two.json").read_bytes() == FILES["two.json"]


def test_an_archive_larger_than_the_disk_is_refused_before_it_is_unpacked(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("zeros", b"")
    content = bytearray(stream.getvalue())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")  # the size that the directory announces
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: _Usage)
        with pytest.raises(InputError, match="4294967280 bytes, 1000000 are free"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class _Usage:
    free = 1_000_000


def test_an_encrypted_zip_is_named(tmp_path):
    content = bytearray(WHOLE["a.zip"])
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(mark, start + 4)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceFailed, match="encrypted"):
        check_opens(tmp_path / "a.zip", "a.zip")
    with pytest.raises(InputError, match="encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
