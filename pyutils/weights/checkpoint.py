"""Checkpoint folders: everything to resume a run exactly, and to predict.

    model.safetensors (or model.pdparams)   parameters and buffers under their structured names
    config.yaml, vocab.txt, …               the configuration and other files of the task
    regions.json                            description of the region features of a model that reads them
    metrics.json                            metrics known when it was written
    run.json                                the name of the run that wrote it
    state.safetensors, state.json           optimizer, task and position in the run; in `last` only

Written atomically; if the disk fills up or the process dies, the previous checkpoint is intact.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, atomic_folder, recover_folder, write_json
from pyutils.formats.json_files import check_fields, read_json
from pyutils.formats.tensor_files import read_safetensors, write_pdparams, write_safetensors
from pyutils.weights import read
from pyutils.weights.loading import Adapt, LoadReport, load_arrays
from pyutils.weights.places import resolve_weights

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
RUN_FILE = "run.json"
STATE_ARRAYS = "state.safetensors"
STATE_VALUES = "state.json"
_STATE_VERSION = 1


@dataclass
class RunState:
    """State of a run to resume: `values` is JSON, `arrays` are NumPy arrays under flat names."""

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def save_checkpoint(
    folder: PathLike,
    model: paddle.nn.Layer,
    config_text: str = "",
    files: Sequence[Path] = (),
    metrics: Mapping[str, float] | None = None,
    state: RunState | None = None,
    weights_format: str = "safetensors",
    run: str = "",
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint folder of the run named `run`; a previous one at `folder` is replaced atomically.

    `files` are copied; `texts` are written: file name → content.

    Raises:
        InputError: it cannot be written (disk full, no permission); the previous one is intact.
    """
    try:
        with atomic_folder(folder) as building:
            _write_weights(building, model, weights_format)
            if config_text:
                (building / CONFIG_FILE).write_text(config_text, encoding="utf-8")
            for path in files:
                shutil.copyfile(path, building / Path(path).name)
            for name, text in (texts or {}).items():
                (building / name).write_text(text, encoding="utf-8")
            write_json(building / METRICS_FILE, dict(metrics or {}))
            if run:
                write_json(building / RUN_FILE, {"run": run})
            if state is not None:
                write_safetensors(building / STATE_ARRAYS, state.arrays)
                sums = {file.name: _sum(file) for file in _summed(building)}
                write_json(building / STATE_VALUES, {"version": _STATE_VERSION, "sha256": sums, **state.values})
    except OSError as error:
        kept = "the previous checkpoint is intact" if Path(folder).exists() else "nothing was left there"
        raise InputError(
            f"{folder}: the checkpoint could not be written: {error.strerror or error}; {kept}. Free disk space or set "
            "another --output_dir, then resume with --resume auto."
        ) from error


def load_weights(
    model: paddle.nn.Layer,
    path: PathLike,
    may_miss: Iterable[str] = (),
    may_be_extra: Iterable[str] = (),
    adapt: Adapt | None = None,
) -> LoadReport:
    """Load the weights that `path` names (`places.resolve_weights`) into `model`, strictly.

    See `loading.load_arrays` for the other arguments, the report and the errors.
    """
    file = resolve_weights(path)
    return load_arrays(model, read(file), str(file), may_miss, may_be_extra, adapt)


def load_state(folder: PathLike) -> RunState:
    """Return the state to resume from; InputError when the folder contains weights only (as `best` does)."""
    folder = Path(folder)
    recover_folder(folder)
    if not (folder / STATE_VALUES).is_file():
        raise InputError(
            f"{folder}: no {STATE_VALUES}: these weights can be evaluated or started from, not resumed. Resume "
            "from the `last` folder of a run."
        )
    values = read_json(folder / STATE_VALUES)
    check_fields(values, ("version",), str(folder / STATE_VALUES))
    version = values.pop("version")
    if version != _STATE_VERSION:
        raise InputError(f"{folder / STATE_VALUES}: version {version}, this program reads version {_STATE_VERSION}")
    _check_sums(folder, values.pop("sha256", {}))
    return RunState(values, read_safetensors(folder / STATE_ARRAYS))


def _summed(folder: Path) -> list[Path]:
    """The files of a checkpoint that a run continues from: weights and state arrays."""
    return sorted([*folder.glob("model.*"), folder / STATE_ARRAYS])


def _sum(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Raise InputError where a file is not the one that was written; checkpoints of earlier versions have no sums."""
    for name, expected in sums.items():
        file = folder / name
        if not file.is_file() or _sum(file) != expected:
            what = "its checksum differs" if file.is_file() else "it is missing"
            raise InputError(
                f"{file}: not the file that was written ({what}). "
                "Resume from another checkpoint of the run, or start again from `best` with --set init=…."
            )


def _write_weights(folder: Path, model: paddle.nn.Layer, weights_format: str) -> None:
    arrays = {name: _as_saved(tensor) for name, tensor in model.state_dict().items()}
    if weights_format == "pdparams":
        write_pdparams(folder / "model.pdparams", arrays)
    else:
        write_safetensors(folder / "model.safetensors", arrays, {"format": "pd"})


def _as_saved(tensor: paddle.Tensor) -> np.ndarray:
    """The tensor as an array; bfloat16, which NumPy lacks, as the equal float32."""
    return (tensor.astype("float32") if tensor.dtype == paddle.bfloat16 else tensor).numpy()
