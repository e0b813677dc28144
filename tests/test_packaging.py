"""The distribution: what its wheel holds, that it runs without the repository, and that its requirements resolve."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]
PACKAGES = ["albef_paddle", "vilbert_paddle", "visualbert_paddle", "pyutils"]
UV = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))

needs_uv = pytest.mark.skipif(UV is None, reason="needs uv: pip install uv")
pythons = pytest.mark.parametrize("version", PYTHONS)


def call(*command: object, cwd: Path, status: int = 0) -> str:
    """Run a command outside the repository; return its output."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def find_python(version: str) -> str | None:
    """Return an interpreter of `version` on this machine: on PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    for path in filter(None, found):
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):  # pyenv's shims exist for versions that are not active
            return str(path)
    return None


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of the sources: building in place would leave a build/ that a later build picks up."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in [*PACKAGES, "configs"]:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements-core.txt"):
        shutil.copy(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    call(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel) -> Path:
    """The scripts of a new environment with the wheel, which sees the packages of the running one: no second Paddle."""
    place = wheel.parent / "environment"
    call(sys.executable, "-m", "venv", "--without-pip", place, cwd=wheel.parent)
    python = place / "bin/python"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    call(sys.executable, "-m", "pip", "--python", python, *install, cwd=wheel.parent)
    packages = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=wheel.parent).strip()
    # An editable installation there is not followed: it is a path file too, and those of this folder are not read.
    (Path(packages) / "running.pth").write_text("\n".join(path for path in sys.path if "-packages" in path) + "\n")
    return place / "bin"


def test_the_wheel_holds_recipes_tables_and_types(wheel):
    names = set(ZipFile(wheel).namelist())
    for model in ("albef", "vilbert", "visualbert"):
        recipes = {
            path.relative_to(ROOT / "configs" / model).as_posix() for path in ROOT.glob(f"configs/{model}/**/*.yaml")
        }
        assert {name for name in recipes if f"{model}_paddle/configs/{name}" not in names} == set()
    code = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml", ".typed")
    ]
    assert {name for path in code if (name := path.relative_to(ROOT).as_posix()) not in names} == set()
    assert not [name for name in names if name.startswith(("tests/", "configs/", "benchmarks/"))]


def test_an_installed_wheel_trains_from_another_folder(installed, tmp_path):
    command = installed / "paddle-vl"
    place = call(installed / "python", "-c", "import pyutils; print(pyutils.__file__)", cwd=tmp_path)
    assert str(installed.parent) in place
    call(command, "sample", "world", "--output", "world", "--scenes", 24, "--shapes", 3, "--only", "vqa", cwd=tmp_path)
    call(
        *(command, "train", "visualbert", "vqa2", "--config", "tiny/world_vqa", "--output_dir", "out"),
        *("--set", "tokenizer=world/vocab.txt", "--set", "regions.path=world/X_COCO/data/detectron_fix_100"),
        *("--set", "vqa.root=world/VQA2", "--set", "train.max_steps=1"),
        cwd=tmp_path,
    )
    assert (tmp_path / "out/last/model.safetensors").is_file()
    shown = call(command, "train", "visualbert", "vqa2", "--config", "tiny/world_vqb", cwd=tmp_path, status=2)
    assert "tiny/world_vqa.yaml" in shown and "Traceback" not in shown


@needs_uv
@pythons
def test_requirements_resolve(version, tmp_path):
    """Also without an interpreter of that version: uv reads only what the packages declare."""
    output = tmp_path / "resolved.txt"
    _online(
        *("pip", "compile", "--quiet", "--python-version", version, "--no-annotate", "--output-file", output),
        *(ROOT / "requirements.txt", ROOT / "requirements-dev.txt"),
        cwd=tmp_path,
    )
    pins = (ROOT / f"constraints/python{version}.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition(";")[0].strip().lower() for line in pins if not line.startswith("#")}
    lines = output.read_text(encoding="utf-8").splitlines()
    resolved = {line.partition(";")[0].strip().lower() for line in lines if not line.startswith("#")}
    assert resolved == pinned, "run bash shell/constraints.sh"


@needs_uv
@pytest.mark.slow
@pythons
def test_the_core_runs_on_every_python_of_this_machine(version, wheel, tmp_path):
    """The commands that need no Paddle, with nothing but the core installed."""
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} here")
    place = tmp_path / "environment"
    python = place / "bin/python"
    call(UV, "venv", "--quiet", "--python", interpreter, place, cwd=tmp_path)
    pins = ["--constraint", ROOT / f"constraints/python{version}.txt"]
    _online("pip", "install", "--quiet", "--python", python, *pins, wheel, cwd=tmp_path)
    command = place / "bin/paddle-vl"
    call(command, "--help", cwd=tmp_path)
    for model, task in (("albef", "vqa"), ("vilbert", "refer"), ("visualbert", "vqa2")):
        call(command, "train", model, task, "--help", cwd=tmp_path)
    call(command, "sample", "world", "--output", "world", "--scenes", 24, "--only", "vqa", cwd=tmp_path)
    call(command, "features", "inspect", "world/X_COCO/data/detectron_fix_100", cwd=tmp_path)
    call(command, "weights", "list", cwd=tmp_path)
    shown = call(command, "sample", "easy-vqa", "--output", "easy", cwd=tmp_path, status=2)
    assert "pip install easy-vqa" in shown
    shown = call(command, "doctor", cwd=tmp_path, status=1)
    assert "pip install paddlepaddle" in shown


def _online(*arguments: object, cwd: Path) -> None:
    """Run uv; skip the test where the package index cannot be reached."""
    done = subprocess.run([UV, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode and any(
        text in done.stderr for text in ("error sending request", "Failed to fetch", "dns error")
    ):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
