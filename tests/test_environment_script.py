"""`shell/env.sh` with Pythons that cannot be used: what it says, and that it stops."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def stub(folder: Path, version: str = "3.11.7", pip: str = "exit 0") -> Path:
    """A directory laid out as a virtual environment whose Python only says its version and runs `pip`."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin/python"
    major, minor, _ = version.split(".")
    python.write_text(
        f"""#!/bin/sh
case "$*" in
--version) echo "Python {version}" ;;
*prefix*) echo "{folder}" ;;
*version_info*) [ {major} -eq 3 ] && [ {minor} -ge 9 ] && [ {minor} -le 13 ] ;;
*"pip --version"*) {pip if pip == "exit 1" else "exit 0"} ;;
*pip*) {pip} ;;
esac
""",
        encoding="utf-8",
    )
    python.chmod(0o755)
    return folder


def source(**variables: object) -> subprocess.CompletedProcess:
    """Source env.sh with these variables alone."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "ROOT": str(ROOT),
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
