"""The output directory belongs to one run: an earlier one is set aside, one of another task is refused."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyutils import distributed
from pyutils.config.loading import read_tree
from pyutils.console import say
from pyutils.engine.boards import TENSORBOARD_FOLDER, VISUALDL_FOLDER
from pyutils.engine.resume import LAST
from pyutils.engine.run_log import LOG_FILE
from pyutils.errors import InputError
from pyutils.formats.json_files import read_json
from pyutils.weights.checkpoint import CONFIG_FILE, METRICS_FILE, RUN_FILE

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEST = "best"
_EARLIER = "earlier"
_OF_SPLIT = "metrics_"
_LOCK = ".lock"
_LONGEST_OWNER = 200


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the output directory `folder` while the body runs; its main process holds a lock.

    The system releases it however the process ends. File systems without locks are used without one.

    Raises:
        InputError: another process trains there; names it.
    """
    if fcntl is None or not distributed.is_main():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            owner = stream.read(_LONGEST_OWNER).strip() or "another process"
            raise InputError(
                f"{folder}: {owner} trains into this folder. Wait for its end, stop it, or give another --output_dir."
            ) from error
        except OSError as error:
            say(f"{folder}: the file system has no locks ({error.strerror}); do not start a second run there")
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        yield


def run_name(identity: Mapping[str, Any]) -> str:
    """Return the name of a run in its checkpoints: a digest of its identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def check_owner(folder: Path, task: str, one_run: bool = True) -> None:
    """Raise InputError if the output directory `folder` has a run of another task, or with `one_run` parts of two."""
    for part in (LAST, BEST):
        file = folder / part / CONFIG_FILE
        found = read_tree(file).get("task") if file.is_file() else None
        if found and found != task:
            raise InputError(
                f"{folder / part}: the checkpoint of a run of task {found}, not of {task}; give every task an "
                "--output_dir of its own"
            )
    names = {name for part in (LAST, BEST) if (name := _saved_name(folder / part))}
    if one_run and len(names) > 1:
        raise InputError(
            f"{folder / BEST}: of another run than {folder / LAST}; evaluate the one you mean with --set "
            f"init={folder / LAST}, or move {folder / BEST} away"
        )


def set_aside(folder: Path) -> None:
    """Move what an earlier run wrote to `folder` into `folder`/earlier_<n>, so that no file of it passes for new."""
    distributed.barrier()
    if distributed.is_main() and any((folder / part).is_dir() for part in (LAST, BEST)):
        number = 1
        while (folder / f"{_EARLIER}_{number}").exists():
            number += 1
        target = folder / f"{_EARLIER}_{number}"
        target.mkdir()
        for path in list(_written_by_run(folder)):
            path.rename(target / path.name)
        say(f"{folder} had an earlier run: moved to {target}; --resume auto would have resumed it")
    distributed.barrier()


def _written_by_run(folder: Path) -> Iterator[Path]:
    """Yield the files and folders of a run: checkpoints, log, metrics, and the result files of its splits."""
    names = {LAST, BEST, CONFIG_FILE, METRICS_FILE, LOG_FILE, VISUALDL_FOLDER, TENSORBOARD_FOLDER}
    for path in folder.glob(f"{_OF_SPLIT}*.json"):
        names |= {path.name, path.stem[len(_OF_SPLIT) :]}
    metrics = folder / METRICS_FILE
    found = read_json(metrics) if metrics.is_file() else {}
    names |= {str(found["split"])} if isinstance(found, dict) and found.get("split") else set()
    names |= {path.name for path in folder.glob("step_*") if path.is_dir()}
    return (folder / name for name in sorted(names) if (folder / name).exists())


def _saved_name(folder: Path) -> str:
    """The name of the run that wrote a checkpoint; "" if there is none or it does not say."""
    file = folder / RUN_FILE
    values = read_json(file) if file.is_file() else {}
    return str(values.get("run", "")) if isinstance(values, dict) else ""
