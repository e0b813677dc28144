"""Running an exported model with Paddle Inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike

DESCRIPTION = "export.json"
PROGRAM = "model"
PARAMETERS = f"{PROGRAM}.pdiparams"
PROGRAMS = tuple(f"{PROGRAM}{ending}" for ending in (".json", ".pdmodel"))  # Paddle 3, Paddle 2
_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")
_LONGEST_REASON = 200
# Raised by Paddle for a damaged program, and for inputs that operators refuse.
_PADDLE_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OSError, MemoryError)


class Predictor:
    """An exported model: a function from named arrays to named arrays.

    `inputs` maps each name to (shape, dtype), None in a shape being any length, and in the first place the length of
    the batch, which is the same for all; `outputs` are the names of what comes back; `settings` is what the exporter
    noted for those who prepare inputs.

    Args:
        folder: what `pyutils.export.export` wrote.
        threads: of the CPU.
        gpu: number of the GPU to run on; None: the CPU.

    Raises:
        InputError: the folder is no exported model, a damaged one, or one written by a Paddle that this one cannot
            read.
    """

    def __init__(self, folder: PathLike, threads: int = 1, gpu: int | None = None) -> None:
        self.folder = Path(folder)
        described = _description(self.folder)
        self.inputs: dict[str, tuple[list[int | None], str]] = {
            name: (item["shape"], item["dtype"]) for name, item in described["inputs"].items()
        }
        self.outputs: list[str] = described["outputs"]
        self.settings: dict[str, Any] = described["settings"]
        self._engine = self._open(described.get("sizes", {}), threads, gpu)

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the model.

        Raises:
            InputError: an input is missing, unknown, empty, or of another type or shape, or the model refuses it (ids
                beyond the vocabulary, a mask of another length than its input).
        """
        self._check(arrays)
        for name in self.inputs:
            self._engine.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(arrays[name]))
        try:
            self._engine.run()
        except _PADDLE_ERRORS as error:
            shapes = ", ".join(f"{name} {_shape(list(np.shape(arrays[name])))}" for name in self.inputs)
            raise InputError(
                f"{self.folder}: the model cannot take these inputs ({shapes}): {_reason(error)}. Do lengths agree, "
                "and are ids within the vocabulary?"
            ) from error
        found = [self._engine.get_output_handle(name).copy_to_cpu() for name in self._engine.get_output_names()]
        return dict(zip(self.outputs, found))

    def _open(self, sizes: Mapping[str, int], threads: int, gpu: int | None) -> Any:
        from paddle import inference

        program = next((self.folder / name for name in PROGRAMS if (self.folder / name).is_file()), None)
        if program is None:
            raise InputError(f"{self.folder}: the program is missing ({' or '.join(PROGRAMS)})")
        parameters = self.folder / PARAMETERS
        for path in (program, parameters):
            _check_size(path, sizes.get(path.name))
        config = inference.Config(str(program), str(parameters))
        config.disable_glog_info()
        if gpu is None:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
        else:
            config.enable_use_gpu(256, gpu)
        try:
            return inference.create_predictor(config)
        except _PADDLE_ERRORS as error:
            raise InputError(
                f"{program}: this Paddle cannot open the program and its {PARAMETERS} ({_reason(error)}). Copy them "
                "again, or export the model with this Paddle"
            ) from error

    def _check(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name in arrays:
            if name not in self.inputs:
                raise InputError(f"{self.folder}: the model has no input {name!r}: {nearest(name, self.inputs)}")
        for name, (shape, dtype) in self.inputs.items():
            if name not in arrays:
                raise InputError(f"{self.folder}: the input {name!r} is missing: {dtype} {_shape(shape)}")
            found = _array(arrays[name], f"{self.folder}: input {name!r}")
            fits = found.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, found.shape))
            if not fits or found.dtype != np.dtype(dtype):
                raise InputError(
                    f"{self.folder}: input {name!r}: expected {dtype} {_shape(shape)}, found {found.dtype} "
                    f"{_shape(list(found.shape))}"
                )
            if not found.size:
                raise InputError(f"{self.folder}: input {name!r}: {_shape(list(found.shape))} is empty")
        batches = {name: len(arrays[name]) for name, (shape, _) in self.inputs.items() if shape and shape[0] is None}
        if len(set(batches.values())) > 1:
            shown = ", ".join(f"{name} {count}" for name, count in batches.items())
            raise InputError(f"{self.folder}: expected one length of the batch, found {shown}")


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{folder}: no exported model ({DESCRIPTION} is missing): make one with python -m pyutils.export"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); export the model again") from error
    expected = {"inputs": dict, "outputs": list, "settings": dict, "sizes": dict}
    parts = {"sizes": {}, **found} if isinstance(found, dict) else {}
    wrong = next((name for name, kind in expected.items() if not isinstance(parts.get(name), kind)), None)
    if wrong is None and not all(map(_is_input, parts["inputs"].values())):
        wrong = "inputs"
    if wrong is not None:
        raise InputError(
            f"{path}: no description of an exported model: {wrong!r} is missing or of another kind; export "
            "the model again"
        )
    return parts


def _is_input(item: Any) -> bool:
    """True for an entry with an input's shape and type."""
    if not isinstance(item, dict) or not isinstance(item.get("shape"), list) or item.get("dtype") not in _DTYPES:
        return False
    return all(length is None or (type(length) is int and length >= 0) for length in item["shape"])


def _check_size(path: Path, size: int | None) -> None:
    """Raise InputError unless the file exists and has the size it was written with; Paddle reads a truncated one
    without an error. `size`: None in older exports."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; copy the folder of the exported model again")
    found = path.stat().st_size
    if size is not None and found != size:
        raise InputError(
            f"{path}: expected {size} bytes as written, found {found}: damaged or of another export. Copy or export it "
            "again"
        )


def _array(value: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"{where}: expected an array, found rows of unequal lengths") from error


def _reason(error: BaseException) -> str:
    """The line of Paddle's message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = next((line for line in lines if "Error: " in line or line.startswith("(")), lines[-1])
    return telling[:_LONGEST_REASON]


def _shape(shape: list[int | None]) -> str:
    return "[" + ", ".join("any" if length is None else str(length) for length in shape) + "]"
