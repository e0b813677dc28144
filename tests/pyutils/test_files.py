from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pyutils.errors import InputError
from pyutils.formats import atomic as files
from pyutils.formats.atomic import atomic_folder, atomic_write, check_replaceable, recover_folder, write_json

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_atomic_write_makes_parents_and_leaves_nothing_else(tmp_path):
    with atomic_write(tmp_path / "a" / "b.txt") as stream:
        stream.write("één\n")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_bytes() == "één\n".encode()
    with atomic_write(tmp_path / "a" / "c.bin", "wb") as stream:
        stream.write(b"\x00\r\n")
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\r\n"
    assert names(tmp_path / "a") == ["b.txt", "c.bin"]


def test_atomic_write_keeps_the_previous_file_on_an_error(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(target, "wb") as stream:
        stream.write(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


def test_a_full_disk_is_reported_with_the_file_and_keeps_the_previous_one(tmp_path):
    target = tmp_path / "model.bin"
    target.write_bytes(b"old")
    with pytest.raises(OSError, match="model.bin") as caught, atomic_write(target, "wb"):
        raise OSError(*NO_SPACE.args)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


def test_files_get_the_usual_permissions(tmp_path):
    with atomic_write(tmp_path / "x") as stream:
        stream.write("1")
    (tmp_path / "y").write_text("1")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


@pytest.mark.parametrize("exchange", [True, False])
def test_atomic_folder_replaces_the_whole_folder(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "last") as folder:
            (folder / text).mkdir()
            (folder / text / "file").write_text(text)
    assert names(tmp_path) == ["last"]
    assert names(tmp_path / "last") == ["two"]


def test_a_full_disk_leaves_the_previous_folder_whole(tmp_path):
    with atomic_folder(tmp_path / "last") as folder:
        (folder / "model").write_text("old")
    with pytest.raises(OSError, match="last"), atomic_folder(tmp_path / "last") as folder:
        (folder / "model").write_text("new")
        raise OSError(*NO_SPACE.args)
    assert names(tmp_path) == ["last"]
    assert (tmp_path / "last" / "model").read_text() == "old"


def test_a_failed_swap_leaves_the_previous_folder_whole(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "last") as folder:
        (folder / "model").write_text("old")

    def fail(building, target):
        raise OSError(*NO_SPACE.args)

    monkeypatch.setattr(files, "_swap_in", fail)
    with pytest.raises(OSError, match="No space"), atomic_folder(tmp_path / "last") as folder:
        (folder / "model").write_text("new")
    assert (tmp_path / "last" / "model").read_text() == "old"


@pytest.mark.parametrize("late", [False, True])
def test_a_file_in_the_place_of_a_folder_is_left_alone(tmp_path, late):
    if not late:
        (tmp_path / "last").write_text("mine")
    with pytest.raises(InputError, match="last: is a file"), atomic_folder(tmp_path / "last"):
        (tmp_path / "last").write_text("mine")
    assert names(tmp_path) == ["last"] and (tmp_path / "last").read_text() == "mine"


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").touch()
    (tmp_path / "last").symlink_to(tmp_path / "disk")
    with atomic_folder(tmp_path / "last") as folder:
        (folder / "new").touch()
    assert (tmp_path / "last").is_symlink() and names(tmp_path / "disk") == ["new"]
    assert names(tmp_path) == ["disk", "last"]


def test_only_an_own_earlier_folder_may_be_replaced(tmp_path):
    def check():
        check_replaceable(tmp_path / "out", ["mark"], ["known"], "an export")

    check()
    (tmp_path / "out").mkdir()
    check()
    (tmp_path / "out" / "known").touch()
    with pytest.raises(InputError, match="out: the folder contains known, which would be lost"):
        check()
    (tmp_path / "out" / "mark").touch()
    check()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"contains thesis\.tex, .*an export"):
        check()


KILLED = """
import sys, time
from pyutils.formats.atomic import atomic_folder
with atomic_folder(sys.argv[1]) as folder:
    (folder / "model").write_text("new")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_the_previous_folder_and_its_rest_is_cleared(tmp_path):
    with atomic_folder(tmp_path / "last") as folder:
        (folder / "model").write_text("old")
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "last")], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"writing\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert (tmp_path / "last" / "model").read_text() == "old"
    assert len(names(tmp_path)) == 2
    with atomic_folder(tmp_path / "last") as folder:
        (folder / "model").write_text("newer")
    assert names(tmp_path) == ["last"]


def test_a_living_writers_folder_is_not_cleared(tmp_path):
    other = tmp_path / f".last.partial-{files.socket.gethostname()}-{os.getppid()}"
    other.mkdir()
    with atomic_folder(tmp_path / "last"):
        time.sleep(0)
    assert other.is_dir()


def test_recover_folder_finishes_an_interrupted_swap(tmp_path):
    (tmp_path / ".last.previous").mkdir()
    (tmp_path / ".last.previous" / "model").write_text("old")
    recover_folder(tmp_path / "last")
    assert (tmp_path / "last" / "model").read_text() == "old"
    recover_folder(tmp_path / "last")
    assert names(tmp_path) == ["last"]


def test_write_json(tmp_path):
    write_json(tmp_path / "m.json", {"naïve": [1, 2.5, None]})
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8")) == {"naïve": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "m.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8")) == {"naïve": [1, 2.5, None]}


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_places_without_a_name_are_refused_and_left_alone(tmp_path, monkeypatch, name):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    recover_folder(name)
    with pytest.raises(InputError, match="no name of its own"), atomic_folder(name):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["inner"]
