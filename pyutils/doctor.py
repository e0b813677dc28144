"""`paddle-vl doctor`: what this machine has for training, and the command that adds what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pyutils
from pyutils import extras, runtime
from pyutils.data.prepare.datasets import HOME as DATA_HOME
from pyutils.download.progress import human_size
from pyutils.weights.places import WEIGHT_FILES
from pyutils.weights.registry import MODELS_HOME

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"
_PYTHONS = ((3, 9), (3, 13))
_SHARED_MEMORY = 1 << 30  # data workers hand batches over in /dev/shm; Docker's default is 64 MB
_DISK = 10 << 30
_MOST_NAMED = 6


@dataclass(frozen=True)
class Finding:
    """One line of the report; `state` is OK, NOTE or PROBLEM, and a problem gives exit status 1."""

    check: str
    state: str
    found: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; return 1 when something would stop every command."""
    parser = argparse.ArgumentParser(prog="paddle-vl doctor", description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=Path(), help="folder of data/, output/ and the region features")
    options = parser.parse_args(arguments)
    findings = list(examine(options.root.expanduser()))
    for finding in findings:
        print(f"{finding.state:<8} {finding.check:<18} {finding.found}")
    return int(any(finding.state == PROBLEM for finding in findings))


def examine(root: Path) -> Iterator[Finding]:
    """Yield the findings: versions, devices, memory, disk, then data and checkpoints below `root` and in the cache."""
    yield _python()
    yield Finding("suite", OK, f"{pyutils.__version__} in {Path(pyutils.__file__).parents[1]}")
    yield _core()
    yield from _paddle()
    yield Finding("CPU", OK, f"{os.cpu_count()} cores; {runtime.thread_count()} threads in one process")
    yield from _extras()
    yield from _space(root)
    yield _listed("data", [*_folders(root / "data"), *_folders(DATA_HOME), *_region_folders(root)])
    yield _listed("checkpoints", [*_folders(MODELS_HOME), *_runs(root / "output")])


def _python() -> Finding:
    low, high = (".".join(map(str, bound)) for bound in _PYTHONS)
    supported = _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]
    advice = "" if supported else f"; Paddle has builds for Python {low} to {high}"
    return Finding("Python", OK if supported else PROBLEM, f"{platform.python_version()} at {sys.executable}{advice}")


def _core() -> Finding:
    """Find the packages that every command imports."""
    try:
        lines = [line for line in requires(pyutils.DISTRIBUTION) or () if "extra ==" not in line]
    except PackageNotFoundError:
        return Finding("core packages", NOTE, "not installed as a package: scripts run from the repository only")
    names = [line.partition(";")[0].split("[")[0] for line in lines]
    names = ["".join(_until_operator(name)) for name in names]
    found = {name: _version(name) for name in names}
    lost = [name for name, number in found.items() if not number]
    if lost:
        return Finding("core packages", PROBLEM, f"missing: pip install {' '.join(lost)}")
    return Finding("core packages", OK, ", ".join(f"{name} {number}" for name, number in found.items()))


def _until_operator(text: str) -> Iterator[str]:
    for letter in text.strip():
        if letter in "<>=!~ ":
            return
        yield letter


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _paddle() -> Iterator[Finding]:
    """Find Paddle and the devices that it can use."""
    try:
        import paddle
    except ImportError as error:
        yield Finding("Paddle", PROBLEM, f"cannot be imported ({error}); for the CPU: {extras.install_command('cpu')}")
        return
    cuda = bool(paddle.device.is_compiled_with_cuda())
    yield Finding("Paddle", OK, f"{paddle.__version__}, {'CUDA' if cuda else 'CPU'} build")
    count = paddle.device.cuda.device_count() if cuda else 0
    if count:
        for number in range(count):
            yield _gpu(paddle.device.cuda.get_device_properties(number), number)
    elif shutil.which("nvidia-smi"):
        how = "Paddle's build is for the CPU" if not cuda else "Paddle finds no usable one"
        yield Finding("GPU", NOTE, f"nvidia-smi is there, but {how}; see docs/dependencies.md for the CUDA build")
    else:
        yield Finding("GPU", NOTE, "none; commands run on the CPU")


def _gpu(properties: Any, number: int) -> Finding:
    """Describe one GPU; bfloat16 needs compute capability 8."""
    capability = f"{properties.major}.{properties.minor}"
    text = f"{number}: {properties.name}, {human_size(properties.total_memory)}, compute capability {capability}"
    if properties.major < 8:
        return Finding("GPU", NOTE, f"{text}; no bf16, use fp16: --set train.precision=fp16")
    return Finding("GPU", OK, text)


def _extras() -> Iterator[Finding]:
    """Find the packages of each extra."""
    for extra, lines in extras.PACKAGES.items():
        if extra == "cpu":
            continue
        names = ["".join(_until_operator(line)) for line in lines]
        lost = [name for name in names if not _version(name)]
        if lost:
            yield Finding(f"extra {extra}", NOTE, f"not installed: {extras.install_command(extra)}")
        else:
            yield Finding(f"extra {extra}", OK, ", ".join(f"{name} {_version(name)}" for name in names))


def _space(root: Path) -> Iterator[Finding]:
    """Measure shared memory and disk."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).free
        small = size < _SHARED_MEMORY
        advice = "; little for data workers: docker run --shm-size 8g, or --set train.workers=0" if small else ""
        yield Finding("/dev/shm", NOTE if small else OK, f"{human_size(size)} free{advice}")
    for name, place in (("disk", root), ("disk of the cache", Path.home())):
        if place.is_dir():
            free = shutil.disk_usage(place).free
            yield Finding(name, NOTE if free < _DISK else OK, f"{human_size(free)} free at {place.resolve()}")


def _folders(place: Path) -> list[str]:
    place = place.expanduser()
    return [str(item) for item in sorted(place.iterdir()) if item.is_dir()] if place.is_dir() else []


def _region_folders(root: Path) -> list[str]:
    return [str(root / name) for name in ("X_COCO", "X_NLVR", "sample_data") if (root / name).is_dir()]


def _runs(output: Path) -> list[str]:
    """Find the runs below `output` that saved weights."""
    return sorted({str(file.parents[1]) for name in WEIGHT_FILES for file in output.glob(f"*/*/{name}")})


def _listed(what: str, found: Sequence[str]) -> Finding:
    """Name the first few of what was found."""
    if not found:
        return Finding(what, NOTE, "none found here; docs/datasets.md and docs/weights.md say where to get them")
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return Finding(what, OK, ", ".join(found[:_MOST_NAMED]) + more)
