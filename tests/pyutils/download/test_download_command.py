"""The table of data sets and the command line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pyutils.download import Patience, catalogue
from pyutils.download.__main__ import main
from pyutils.errors import InputError
from tests.pyutils.download.local_server import Served
from tests.pyutils.download.test_verify_archives import FILES, WHOLE, zipped

ROOT = Path(__file__).parents[3]


@pytest.fixture
def table(server, tmp_path, monkeypatch):
    """A small table whose sources are the local server."""
    whole = WHOLE["a.zip"]
    for number in range(3):
        size = -(-len(whole) // 3)
        server.files[f"/a_part{number:02d}"] = Served(whole[number * size : (number + 1) * size])
    server.files["/lines.json"] = Served(WHOLE["a.jsonl"])
    server.files["/a.zip"] = Served(whole, cut=5000, cuts=2)
    entry = {
        "about": "a test",
        "folder": "small",
        "licence": "none",
        "parts": {
            "lines": {"file": "lines.json", "about": "text", "sources": [f"{server.url}/lines.json"]},
            "zip": {"file": "a.zip", "about": "an archive", "size": len(whole), "unpack_to": "zipped",
                    "sources": [f"{server.url}/dead.zip", f"{server.url}/a.zip"]},
            "pieces": {"file": "b.zip", "about": "in pieces", "unpack_to": "joined", "extra": True,
                       "pieces": [f"{server.url}/a_part{number:02d}" for number in range(3)]},
            "asked": {"file": "asked.zip", "about": "on request", "by_hand": "ask its owners", "extra": True},
            "dead": {"file": "dead.zip", "about": "gone", "sources": [f"{server.url}/dead.zip"], "extra": True,
                     "by_hand": "build it from lines"},
        },
    }  # fmt: skip
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump({"small": entry}))
    monkeypatch.setattr(catalogue, "TABLE", path)
    monkeypatch.setattr("pyutils.download.catalogue.read_table", lambda: _read(path))
    monkeypatch.setattr("pyutils.download.__main__.read_table", lambda: _read(path))
    monkeypatch.setattr("pyutils.download.transfer.Patience", lambda: Patience(attempts=2, wait=0.01))
    return tmp_path / "data"


_read = catalogue.read_table.__wrapped__


def test_downloads_unpacks_and_does_it_once(server, table, capsys):
    assert main(["small", "--root", str(table)]) == 0
    assert (table / "small/zipped/a/one.txt").read_bytes() == b"one" * 4000
    assert (table / "small/lines.json").is_file()
    assert not (table / "small/a.zip").exists()
    requests = len(server.files["/a.zip"].requests)
    assert main(["small", "--root", str(table)]) == 0
    assert len(server.files["/a.zip"].requests) == requests
    assert "small:zip: already here" in capsys.readouterr().out


def test_what_was_deleted_comes_again(table):
    assert main(["small:zip", "--root", str(table), "--keep_archives"]) == 0
    (table / "small/zipped/two.json").unlink()
    assert main(["small:zip", "--root", str(table)]) == 0
    assert (table / "small/zipped/two.json").is_file()


def test_pieces(table):
    assert main(["small:pieces", "--root", str(table)]) == 0
    assert sorted(path.name for path in (table / "small").iterdir()) == [
        ".small-pieces.unpacked.json",
        "b.zip.sha256",
        "joined",
    ]
    assert (table / "small/joined/two.json").read_bytes() == b"[1, 2]"


def test_parts_that_cannot_be_had_do_not_stop_the_others(table, capsys):
    assert main(["small:asked", "small:dead", "small:lines", "--root", str(table)]) == 1
    out, err = capsys.readouterr()
    assert "small:lines: done" in out
    assert "small:asked cannot be downloaded: ask its owners; put it at" in err
    assert "dead.zip: the server answered 404" in err and "by hand: build it from lines" in err
    assert "2 of 3 parts failed" in err


def test_check_downloads_nothing(server, table, capsys):
    assert main(["--check", "--root", str(table)]) == 1
    out, err = capsys.readouterr()
    assert "small:zip" in out and "NOT REACHABLE (the server answered 404" in out
    assert "small:dead is not reachable; by hand: build it from lines" in err
    assert "small:zip is not" not in err
    assert not table.exists()
    assert {request["method"] for request in server.files["/a.zip"].requests} == {"HEAD"}
    assert main(["--check", "small:zip"]) == 0


def test_check_names_a_size_that_is_not_the_known_one(server, table, capsys):
    server.files["/a.zip"].content += b"x"
    main(["--check", "small:zip"])
    expected = len(WHOLE["a.zip"])
    assert f"EXPECTED {expected} bytes, FOUND {expected + 1}" in capsys.readouterr().out


def test_list_says_what_is_here(table, capsys):
    main(["small:lines", "--root", str(table)])
    capsys.readouterr()
    assert main(["--list", "--root", str(table)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert " here " in lines["lines"] and " here " not in lines["zip"]
    assert " by hand " in lines["asked"]


def test_mirrors_come_first(server, table, tmp_path):
    mirror = tmp_path / "mirror" / "small"
    mirror.mkdir(parents=True)
    (mirror / "lines.json").write_text("[7]")
    main(["small:lines", "--root", str(table), "--mirror", str(tmp_path / "mirror")])
    assert (table / "small/lines.json").read_text() == "[7]"
    assert not server.files["/lines.json"].requests


def test_mismatch_is_accepted_with_a_warning(server, table, capsys):
    server.files["/a.zip"].content = WHOLE["a.zip"] + b"\0"
    assert main(["small:zip", "--root", str(table)]) == 1
    assert "--accept_mismatch" in capsys.readouterr().err
    assert main(["small:zip", "--root", str(table), "--accept_mismatch"]) == 0
    assert "warning: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["smal"], "unknown data set 'smal': did you mean \"small\""),
        (["small:zap"], "small has no part 'zap': did you mean \"zip\""),
        (["--accept-mismatch"], "unknown option --accept-mismatch: did you mean --accept_mismatch"),
        (["--root"], "--root: expected one argument"),
    ],
)
def test_unknown_names(table, arguments, message):
    with pytest.raises(InputError, match=message):
        main(arguments)


def test_the_real_table_is_well_formed():
    table = _read(ROOT / "pyutils/download/datasets.yaml")
    assert {"coco2014", "vqa2", "karpathy", "flickr30k", "nlvr2", "snli-ve", "refcoco", "refcoco+", "refcocog"} <= set(
        table
    )
    for data_set in table.values():
        for part in data_set.parts:
            assert part.sources or part.pieces or part.by_hand, part
            for path in (data_set.folder, part.file, part.unpack_to or "."):
                assert not path.startswith("/") and ".." not in path.split("/"), path
            for url in (*part.sources, *part.pieces):
                assert url.startswith(("http://", "https://", "s3://")), url
            assert part.sha256 is None or len(part.sha256) == 64
            assert part.md5 is None or len(part.md5) == 32


def test_the_script_from_another_folder(tmp_path):
    run = subprocess.run(
        ["bash", str(ROOT / "download_dataset.sh"), "--list", "refcoco+"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "the Internet Archive keeps its file" in run.stdout
    run = subprocess.run(
        ["bash", str(ROOT / "download_dataset.sh"), "refcoco-plus"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    assert (run.returncode, "Traceback" in run.stderr) == (2, False)
    assert "did you mean" in run.stderr


def test_the_sum_of_the_first_download_is_recorded_and_compared(server, table, capsys):
    assert main(["small:zip", "--root", str(table)]) == 0
    record = table / "small/a.zip.sha256"
    assert record.read_text() == f"{hashlib.sha256(WHOLE['a.zip']).hexdigest()}  a.zip\n"
    assert "no checksum of it is known" in capsys.readouterr().err
    (table / "small/zipped/two.json").unlink()
    server.files["/a.zip"] = Served(zipped({**FILES, "a/one.txt": b"two" * 4000}))
    assert main(["small:zip", "--root", str(table)]) == 1
    assert "expected sha256" in capsys.readouterr().err
    assert main(["small:zip", "--root", str(table), "--accept_mismatch"]) == 0
    assert (table / "small/zipped/a/one.txt").read_bytes() == b"two" * 4000
    assert record.read_text().startswith(hashlib.sha256(server.files["/a.zip"].content).hexdigest())
