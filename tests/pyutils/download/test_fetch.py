"""Downloads from a server that cuts, lies, refuses and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
import urllib.request

import numpy as np
import pytest

from pyutils.download import DownloadError, Patience, fetch, probe
from pyutils.download.partial import Partial
from pyutils.download.transport import SourceFailed
from pyutils.download.web import _SafeRedirects
from pyutils.errors import InputError
from tests.pyutils.download.local_server import Served

QUICK = Patience(attempts=3, wait=0.01, timeout=5)
CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


def bring(server, tmp_path, *names: str, **facts):
    return fetch([server.url + name for name in names], tmp_path / "file.bin", patience=QUICK, **facts)


def left(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def begun(tmp_path, url: str, data: bytes, validator: str = '"1"', total: int = len(CONTENT)) -> None:
    """A download that an earlier process began."""
    partial = Partial(tmp_path / "file.bin")
    partial.note(url, validator, total)
    partial.path.write_bytes(data)


def test_whole_file(server, tmp_path):
    server.files["/a"] = Served(CONTENT)
    path = bring(server, tmp_path, "/a", size=len(CONTENT), sha256=SHA256.upper(), md5=MD5)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == ["file.bin"]


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert bring(server, tmp_path, "/nowhere", sha256=SHA256).read_bytes() == CONTENT


def test_what_is_there_but_differs_is_replaced(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"old")
    server.files["/a"] = Served(CONTENT)
    with pytest.raises(DownloadError):
        bring(server, tmp_path, "/nowhere", sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert bring(server, tmp_path, "/a", sha256=SHA256).read_bytes() == CONTENT


def test_cut_connections_are_resumed(server, tmp_path):
    served = server.files["/a"] = Served(CONTENT, cut=700_000, cuts=4)
    assert bring(server, tmp_path, "/a").read_bytes() == CONTENT
    starts = [request.get("Range") for request in served.requests]
    assert starts == [None, "bytes=700000-", "bytes=1400000-", "bytes=2100000-", "bytes=2800000-"]
    assert served.requests[1]["If-Range"] == '"1"'


def test_cut_connections_without_ranges_begin_again(server, tmp_path):
    served = server.files["/a"] = Served(CONTENT, cut=700_000, cuts=2, ranges=False)
    assert bring(server, tmp_path, "/a", sha256=SHA256).read_bytes() == CONTENT
    assert len(served.requests) == 3


def test_a_new_process_goes_on_where_the_last_one_stopped(server, tmp_path):
    served = server.files["/a"] = Served(CONTENT)
    begun(tmp_path, server.url + "/a", CONTENT[:1_000_000])
    assert bring(server, tmp_path, "/a").read_bytes() == CONTENT
    assert [request["Range"] for request in served.requests] == ["bytes=1000000-"]


def test_a_file_that_changed_on_the_server_begins_again(server, tmp_path):
    server.files["/a"] = Served(CONTENT, etag='"2"')
    begun(tmp_path, server.url + "/a", b"x" * 1_000_000)
    assert bring(server, tmp_path, "/a").read_bytes() == CONTENT


def test_a_shorter_file_on_the_server_begins_again(server, tmp_path):
    server.files["/a"] = Served(CONTENT[:500_000], etag="")
    begun(tmp_path, server.url + "/a", b"x" * 1_000_000, validator="")
    assert bring(server, tmp_path, "/a").read_bytes() == CONTENT[:500_000]


def test_a_server_that_sends_another_range_begins_again(server, tmp_path):
    server.files["/a"] = Served(CONTENT, shift=7)
    begun(tmp_path, server.url + "/a", CONTENT[:1000])
    assert bring(server, tmp_path, "/a", sha256=SHA256).read_bytes() == CONTENT


def test_bytes_of_unknown_origin_are_not_used(server, tmp_path):
    server.files["/a"] = Served(CONTENT)
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    assert bring(server, tmp_path, "/a").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 410])
def test_refusals_are_not_repeated(server, tmp_path, status):
    served = server.files["/a"] = Served(CONTENT, status=status, failures=-1)
    with pytest.raises(DownloadError, match=rf"file.bin(?s:.*)http.*/a: the server answered {status}"):
        bring(server, tmp_path, "/a")
    assert len(served.requests) == 1
    assert "file.bin" not in left(tmp_path)


def test_a_busy_server_is_asked_again(server, tmp_path):
    served = server.files["/a"] = Served(CONTENT, status=503, failures=2, retry_after="0")
    assert bring(server, tmp_path, "/a").read_bytes() == CONTENT
    assert len(served.requests) == 3


def test_attempts_end(server, tmp_path):
    served = server.files["/a"] = Served(CONTENT, status=500, failures=-1)
    with pytest.raises(DownloadError, match=r"answered 500 .*\(3 attempts"):
        bring(server, tmp_path, "/a")
    assert len(served.requests) == 3


def test_mirrors_in_order_and_every_failure_is_told(server, tmp_path):
    first = server.files["/1"] = Served(CONTENT, status=404, failures=-1)
    server.files["/2"] = Served(CONTENT)
    third = server.files["/3"] = Served(CONTENT)
    assert bring(server, tmp_path, "/1", "/2", "/3").read_bytes() == CONTENT
    assert (len(first.requests), len(third.requests)) == (1, 0)
    with pytest.raises(DownloadError, match=r"(?s)/1: the server answered 404.*/4: the server answered 404"):
        fetch([server.url + "/1", server.url + "/4"], tmp_path / "other", patience=QUICK)


def test_a_mirror_goes_on_only_where_a_sum_is_known(server, tmp_path):
    served = server.files["/b"] = Served(CONTENT, etag='"other"')
    begun(tmp_path, server.url + "/a", CONTENT[:1_000_000])
    assert bring(server, tmp_path, "/b", sha256=SHA256).read_bytes() == CONTENT
    assert served.requests[0]["Range"] == "bytes=1000000-"
    (tmp_path / "file.bin").unlink()
    begun(tmp_path, server.url + "/a", b"x" * 1_000_000)
    assert bring(server, tmp_path, "/b").read_bytes() == CONTENT
    assert "Range" not in served.requests[1]


def test_wrong_size_is_seen_before_anything_is_downloaded(server, tmp_path):
    server.files["/a"] = Served(CONTENT)
    with pytest.raises(DownloadError, match=r"expected 17 bytes, the server offers 3000000.*--accept_mismatch"):
        bring(server, tmp_path, "/a", size=17)
    assert left(tmp_path) == []


def test_a_server_that_announces_too_much(server, tmp_path):
    server.files["/a"] = Served(CONTENT, announced=len(CONTENT) + 10, ranges=False)
    with pytest.raises(DownloadError, match="ended at byte 3000000 of 3000010|cut"):
        bring(server, tmp_path, "/a")
    assert "file.bin" not in left(tmp_path)


@pytest.mark.parametrize("name, right", [("sha256", SHA256), ("md5", MD5)])
def test_wrong_sum_names_both_and_can_be_accepted(server, tmp_path, name, right):
    served = server.files["/a"] = Served(CONTENT)
    wrong = {name: "0" * len(right)}
    with pytest.raises(DownloadError, match=rf"expected {name} 0+, found {right}.*--accept_mismatch"):
        bring(server, tmp_path, "/a", **wrong)
    assert "file.bin" not in left(tmp_path)
    with pytest.warns(UserWarning, match=rf"expected {name} 0+, found {right}; kept"):
        assert bring(server, tmp_path, "/a", accept_mismatch=True, **wrong).read_bytes() == CONTENT
    assert len(served.requests) == 1, "what had arrived was enough"
    assert left(tmp_path) == ["file.bin"]


def test_wrong_sum_is_downloaded_afresh_the_next_time(server, tmp_path):
    served = server.files["/a"] = Served(b"x" + CONTENT[1:])
    with pytest.raises(DownloadError, match="expected sha256"):
        bring(server, tmp_path, "/a", sha256=SHA256)
    served.content = CONTENT
    assert bring(server, tmp_path, "/a", sha256=SHA256).read_bytes() == CONTENT


def test_wrong_sum_at_one_mirror_right_at_the_next(server, tmp_path):
    server.files["/1"] = Served(b"x" + CONTENT[1:])
    server.files["/2"] = Served(CONTENT)
    assert bring(server, tmp_path, "/1", "/2", sha256=SHA256).read_bytes() == CONTENT


def test_a_web_page_is_not_the_file(server, tmp_path):
    server.files["/a"] = Served(b"\n<!DOCTYPE html><html>log in</html>")
    with pytest.raises(DownloadError, match="a web page, not the file"):
        bring(server, tmp_path, "/a")
    assert left(tmp_path) == []


def test_unknown_scheme_and_no_sources(tmp_path):
    with pytest.raises(DownloadError, match="expected http://, https://, s3:// or a path, found ftp://"):
        fetch("ftp://host/a", tmp_path / "a")
    with pytest.raises(DownloadError, match="no source is known"):
        fetch([], tmp_path / "a")


def test_nobody_listens(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"cannot be reached \(.*3 attempts"):
        bring(server, tmp_path, "/a")


def test_full_disk_before_the_download(server, tmp_path, monkeypatch):
    server.files["/a"] = Served(CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(DownloadError, match=r"disk is full: 2.9 MiB still to come, 1.0 MiB free in .*--root"):
        bring(server, tmp_path, "/a")


def test_full_disk_during_the_download_keeps_what_is_there(server, tmp_path, monkeypatch):
    served = server.files["/a"] = Served(CONTENT)
    usual = Partial.open
    monkeypatch.setattr(Partial, "open", lambda partial: _Full(usual(partial)))
    with pytest.raises(DownloadError, match=r"file.bin: the disk is full: .* still to come.*run again to resume"):
        bring(server, tmp_path, "/a")
    monkeypatch.undo()
    assert 0 < Partial(tmp_path / "file.bin").size < len(CONTENT)
    assert bring(server, tmp_path, "/a", sha256=SHA256).read_bytes() == CONTENT
    assert "Range" in served.requests[1]


class _Full:
    """A file on a disk with room for one write."""

    def __init__(self, stream) -> None:
        self._stream, self._writes = stream, 0

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self._stream.close()

    def write(self, data: bytes) -> int:
        self._writes += 1
        if self._writes > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._stream.write(data)


def test_two_at_once_download_once(server, tmp_path):
    served = server.files["/a"] = Served(CONTENT, cut=2_000_000, cuts=1)
    results = []
    threads = [threading.Thread(target=lambda: results.append(bring(server, tmp_path, "/a"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in results] == [True] * 3
    assert len(served.requests) == 2
    assert left(tmp_path) == ["file.bin"]


def test_local_files_are_sources(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.json").write_text(json.dumps([1]))
    for number, url in enumerate([str(tmp_path / "mirror/a.json"), (tmp_path / "mirror/a.json").as_uri()]):
        assert fetch(url, tmp_path / f"{number}.json").read_text() == "[1]"
    with pytest.raises(DownloadError, match="No such file"):
        fetch(str(tmp_path / "mirror/b.json"), tmp_path / "b.json")


def test_probe(server):
    server.files["/a"] = Served(CONTENT)
    server.files["/no-head"] = Served(CONTENT, head=False)
    assert (probe(server.url + "/a").size, probe(server.url + "/a").resumable) == (len(CONTENT), True)
    assert (probe(server.url + "/no-head").size, probe(server.url + "/no-head").resumable) == (len(CONTENT), True)
    assert "404" in probe(server.url + "/b").problem
    assert all(request["method"] == "HEAD" for request in server.files["/a"].requests)


def test_the_error_is_one_that_command_lines_print():
    assert issubclass(DownloadError, InputError)


@pytest.mark.parametrize("name", ["file.bin.part", ".file.bin.lock", "file.bin.part.json"])
def test_links_beside_the_destination_are_not_followed(server, tmp_path, name):
    server.files["/a"] = Served(CONTENT)
    victim = tmp_path / "elsewhere"
    victim.write_text("precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).symlink_to(victim)
    try:
        fetch(f"{server.url}/a", tmp_path / "data/file.bin", patience=QUICK)
    except DownloadError as error:
        assert name in str(error) and "delete it" in str(error)
    assert victim.read_text() == "precious"


def test_credentials_are_sent_but_neither_shown_nor_stored(server, tmp_path):
    address = server.url.replace("http://", "http://someone:secret1@")
    server.files["/a?token=secret2"] = Served(CONTENT, cut=1000, cuts=9)
    with pytest.raises(DownloadError) as raised:
        fetch([f"{address}/gone?token=secret2", f"{address}/a?token=secret2"], tmp_path / "file.bin", size=7)
    assert "/gone" in str(raised.value) and "secret" not in str(raised.value)
    with pytest.raises(DownloadError):
        fetch(f"{address}/a?token=secret2", tmp_path / "file.bin", patience=Patience(attempts=0, wait=0))
    notes = (tmp_path / "file.bin.part.json").read_text()
    assert "/a#" in notes and "secret" not in notes
    fetch(f"{address}/a?token=secret2", tmp_path / "file.bin", patience=QUICK)
    sent = server.files["/a?token=secret2"].requests
    assert {request["Authorization"] for request in sent} == {"Basic c29tZW9uZTpzZWNyZXQx"}
    assert sent[-1]["Range"].startswith("bytes=")


@pytest.mark.parametrize("target", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd"])
def test_https_is_not_left(target):
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(SourceFailed, match="redirects to"):
        _SafeRedirects().redirect_request(request, None, 302, "Found", {}, target)
    followed = _SafeRedirects().redirect_request(request, None, 302, "Found", {}, "https://example.net/b")
    assert followed.full_url == "https://example.net/b"
