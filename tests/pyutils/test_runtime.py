from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pyutils import runtime

AMD = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2{}\n\nvendor_id\t: Other\nflags : x\n"


@pytest.mark.parametrize(("extra", "expected"), [("", "5"), (" avx512f", "7")])
def test_amd_processors_get_mkls_fast_path(tmp_path, extra, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(AMD.format(extra))
    assert runtime.mkl_cpu_type(*runtime.cpu_flags(info)) == expected


def test_other_processors_and_systems_are_left_alone(tmp_path):
    assert runtime.mkl_cpu_type("GenuineIntel", frozenset({"avx512f"})) is None
    assert runtime.mkl_cpu_type("AuthenticAMD", frozenset({"sse"})) is None
    assert runtime.cpu_flags(tmp_path / "absent") == ("", frozenset())


def test_a_users_own_setting_wins(monkeypatch):
    monkeypatch.setattr(runtime, "cpu_flags", lambda: ("AuthenticAMD", frozenset({"avx2"})))
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "4")
    runtime.prepare()
    assert os.environ["MKL_DEBUG_CPU_TYPE"] == "4"


def test_thread_count_order(monkeypatch):
    monkeypatch.setenv("PYUTILS_CPU_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert runtime.thread_count() == 3
    monkeypatch.setenv("PYUTILS_CPU_THREADS", "many")
    assert runtime.thread_count() == 5


def test_cores_are_shared_by_the_processes_of_this_machine(monkeypatch):
    for name in ("PYUTILS_CPU_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert runtime.thread_count() == 8
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "4")
    assert runtime.thread_count() == 2
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "100")
    assert runtime.thread_count() == 1


def test_importing_pyutils_does_not_import_paddle():
    code = "import sys, pyutils.config.command_line, pyutils.formats.atomic; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_zlib_and_compiled_packages_work_after_paddle():
    """Paddle 2.6 breaks Python's zlib unless it was loaded before; pyutils sees to that."""
    code = "import pyutils, paddle, zlib; assert zlib.decompress(zlib.compress(b'a' * 99)) == b'a' * 99"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_compat_reads_the_version():
    from pyutils import compat

    assert compat.PADDLE_VERSION >= (2, 6)
