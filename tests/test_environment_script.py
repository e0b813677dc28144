"""`shell/env.sh`: which Python it takes, what it installs, and what it says about one that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def stub(folder: Path, version: str = "3.11.7", pip: str = "exit 0", paddle: bool = False, missing: str = "") -> Path:
    """A directory laid out as a virtual environment whose Python only says its version, imports `paddle`, prints what
    is `missing` of the core, and runs `pip`."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin/python"
    major, minor, _ = version.split(".")
    python.write_text(
        f"""#!/bin/sh
case "$*" in
--version) echo "Python {version}" ;;
*prefix*) echo "{folder}" ;;
*version_info*) [ {major} -eq 3 ] && [ {minor} -ge 9 ] && [ {minor} -le 13 ] ;;
*"import paddle"*) {"exit 0" if paddle else "exit 1"} ;;
*missing_requirements*) echo "{missing}" ;;
*"pip --version"*) {pip if pip == "exit 1" else "exit 0"} ;;
*pip*) {pip} ;;
esac
""",
        encoding="utf-8",
    )
    python.chmod(0o755)
    return folder


def python3(folder: Path, **options) -> Path:
    """A directory for PATH whose `python3` is a stub."""
    place = stub(folder, **options) / "bin"
    (place / "python3").symlink_to(place / "python")
    return place


def source(**variables: object) -> subprocess.CompletedProcess:
    """Source env.sh with these variables alone."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "ROOT": str(ROOT),
        "AISTUDIO_HOME": "/nonexistent",
        **{name: str(value) for name, value in variables.items()},
    }
    command = ["sh", "-c", '. "$ROOT/shell/env.sh"; echo "took $PYTHON"']
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["2.7.18", "3.8.18", "3.14.0"])
@pytest.mark.parametrize("variable", ["PYTHON", "PYTHON3"])
def test_a_python_without_a_paddle_build_is_named(version, variable, tmp_path):
    python = stub(tmp_path / "old", version) / "bin/python"
    done = source(**{variable: python, "VENV": tmp_path / "new"} if variable == "PYTHON3" else {variable: python})
    assert done.returncode == 2
    assert f"{python} is Python {version}" in done.stderr and "3.9 to 3.13" in done.stderr
    assert not (tmp_path / "new").exists()


def test_an_environment_without_pip(tmp_path):
    done = source(VIRTUAL_ENV=stub(tmp_path / "bare", pip="exit 1"))
    assert done.returncode == 2 and "no pip" in done.stderr and "ensurepip" in done.stderr


def test_a_failed_installation_is_tried_again_by_the_next_command(tmp_path):
    place = stub(tmp_path / "full", pip='echo "No space left on device" >&2; exit 3')
    for _ in range(2):
        done = source(VIRTUAL_ENV=place)
        assert done.returncode == 2
        assert "No space left" in done.stderr and "network" in done.stderr and "disk space" in done.stderr
    assert not (place / ".installed-requirements").exists()


def test_packages_are_installed_once(tmp_path):
    place = stub(tmp_path / "fine", pip=f'echo "$*" >>{tmp_path}/calls')
    for _ in range(2):
        done = source(VIRTUAL_ENV=place)
        assert done.returncode == 0 and f"took {place}/bin/python" in done.stdout
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert len(calls) == 2 and "requirements.txt" in calls[0] and "--editable" in calls[1]


def repository(folder: Path) -> Path:
    """A checkout without a .venv."""
    folder.mkdir()
    for name in ("shell", "constraints", "pyproject.toml", "setup.py", "requirements.txt", "requirements-core.txt"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.parametrize("kind", ["virtual environment", "conda or system"])
def test_a_paddle_that_works_is_used_and_only_the_core_installed(kind, tmp_path):
    calls = tmp_path / "calls"
    place = python3(tmp_path / "own", pip=f'echo "$*" >>{calls}', paddle=True, missing="lmdb>=1.4 tqdm>=4.66")
    where = {"VIRTUAL_ENV": tmp_path / "own"} if kind == "virtual environment" else {"PATH": f"{place}:/usr/bin:/bin"}
    done = source(ROOT=repository(tmp_path / "repository"), **where)
    assert done.returncode == 0, done.stderr
    name = "python" if kind == "virtual environment" else "python3"
    assert f"took {place}/{name}" in done.stdout and "lmdb>=1.4" in done.stdout
    (call,) = calls.read_text(encoding="utf-8").splitlines()
    assert call.endswith("lmdb>=1.4 tqdm>=4.66") and "requirements" not in call and "--target" not in call
    assert not (tmp_path / "repository/.venv").exists()


def test_nothing_is_installed_where_nothing_is_missing(tmp_path):
    place = python3(tmp_path / "own", pip="exit 3", paddle=True)
    done = source(ROOT=repository(tmp_path / "repository"), PATH=f"{place}:/usr/bin:/bin")
    assert done.returncode == 0 and f"took {place}/python3" in done.stdout


def test_ai_studio_keeps_the_core_in_its_external_libraries(tmp_path):
    calls, home = tmp_path / "calls", tmp_path / "aistudio"
    home.mkdir()
    place = python3(tmp_path / "own", pip=f'echo "$*" >>{calls}', paddle=True, missing="lmdb>=1.4")
    where = {"PATH": f"{place}:/usr/bin:/bin", "AISTUDIO_HOME": home}
    done = source(ROOT=repository(tmp_path / "repository"), **where)
    assert done.returncode == 0, done.stderr
    assert f"--target {home}/external-libraries" in calls.read_text(encoding="utf-8")


def test_an_environment_of_the_suite_comes_before_the_running_python(tmp_path):
    place = python3(tmp_path / "own", paddle=True)
    folder = repository(tmp_path / "repository")
    stub(folder / ".venv")
    done = source(ROOT=folder, PATH=f"{place}:/usr/bin:/bin")
    assert f"took {folder}/.venv/bin/python" in done.stdout


@pytest.mark.parametrize("own", ["yes", "no"])
def test_a_gpu_without_paddle_is_said_and_the_cpu_used(own, tmp_path):
    made = f'[ "$2" = venv ] && mkdir -p "$3/bin" && cp "{tmp_path}/own/bin/python" "$3/bin/python"; exit 0'
    place = python3(tmp_path / "own", paddle=own == "no")
    python = place / "python"
    python.write_text(python.read_text().replace("*pip*)", f"*venv*) {made} ;;\n*pip*)"))
    (place / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: Some GPU (UUID: GPU-0)'\n")
    (place / "nvidia-smi").chmod(0o755)
    folder = repository(tmp_path / "repository")
    done = source(ROOT=folder, PATH=f"{place}:/usr/bin:/bin", OWN_PADDLE=own)
    assert "Some GPU" in done.stderr and "requirements-gpu.txt" in done.stderr and "CPU" in done.stderr
    assert f"took {folder}/.venv/bin/python" in done.stdout, done.stderr


def test_missing_requirements_are_those_this_python_does_not_meet(tmp_path):
    (tmp_path / "core.txt").write_text("# a comment\nnumpy>=1.24\nno-such-package>=2 ; python_version >= '3.9'\n")
    command = [sys.executable, str(ROOT / "shell/missing_requirements.py"), str(tmp_path / "core.txt")]
    found = subprocess.run([*command, "pytest>999", "numpy"], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["no-such-package>=2;python_version>='3.9'", "pytest>999"]
