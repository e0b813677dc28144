"""Run an exported model with Paddle Inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.formats.json_files import read_json

DESCRIPTION = "export.json"
PROGRAM = "model"
PARAMETERS = f"{PROGRAM}.pdiparams"
PROGRAMS = tuple(f"{PROGRAM}{ending}" for ending in (".json", ".pdmodel"))  # Paddle 3, Paddle 2
_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")
_LONGEST_REASON = 200
# Raised by Paddle for a damaged program, and for inputs that operators refuse.
_PADDLE_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OSError, MemoryError)


class StaticPredictor:
    """An exported model: a function from named arrays to named arrays.

    `inputs` maps each name to (shape, dtype); None in a shape is any length, as first entry the batch size. `outputs`:
    names of the results. `settings`: values of the exporter for preparing inputs.

    Args:
        folder: a directory written by `pyutils.export.export`.
        threads: CPU threads.
        gpu: number of the GPU to run on; None: the CPU.

    Raises:
        InputError: not an exported model, a damaged one, or one of another Paddle version.
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
            InputError: an input is missing, unknown, empty, of another dtype or shape, or invalid for the model (ids
                outside the vocabulary, a mask of another length than its input).
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
        # Paddle reads truncated files without an error. Older exports have no sizes.
        for path in (program, parameters):
            size = path.stat().st_size if path.is_file() else None
            if size is None or size != sizes.get(path.name, size):
                found = (
                    "no such file" if size is None else f"{size} bytes, expected {sizes[path.name]} bytes as written"
                )
                raise InputError(f"{path}: {found}; copy the folder again, or export the model again")
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
        problem = next(self._problems(arrays), None)
        if problem is not None:
            raise InputError(f"{self.folder}: {problem}")

    def _problems(self, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
        """Yield the reasons why the model cannot take `arrays`."""
        for name in arrays:
            if name not in self.inputs:
                yield f"the model has no input {name!r}: {nearest(name, self.inputs)}"
        for name, (shape, dtype) in self.inputs.items():
            if name not in arrays:
                yield f"the input {name!r} is missing: {dtype} {_shape(shape)}"
            found = np.asarray(arrays[name])
            fits = found.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, found.shape))
            if not fits or found.dtype != np.dtype(dtype) or not found.size:
                actual = f"{found.dtype} {_shape(list(found.shape))}" + ("" if found.size else " (empty)")
                yield f"input {name!r}: expected {dtype} {_shape(shape)}, found {actual}"
        batches = {name: len(arrays[name]) for name, (shape, _) in self.inputs.items() if shape and shape[0] is None}
        if len(set(batches.values())) > 1:
            yield f"expected one batch size, found {', '.join(f'{name} {count}' for name, count in batches.items())}"


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{path} is missing: not an exported model; create one with python -m pyutils.export")
    found = read_json(path)
    expected = {"inputs": dict, "outputs": list, "settings": dict, "sizes": dict}
    parts = {"sizes": {}, **found} if isinstance(found, dict) else {}
    wrong = [name for name, kind in expected.items() if not isinstance(parts.get(name), kind)]
    if wrong or not all(map(_is_input, parts["inputs"].values())):
        raise InputError(
            f"{path}: not the description of an exported model: {', '.join(wrong) or 'inputs'} missing or invalid; "
            "export the model again"
        )
    return parts


def _is_input(item: Any) -> bool:
    """Return True for an entry with the shape and dtype of an input."""
    if not isinstance(item, dict) or not isinstance(item.get("shape"), list) or item.get("dtype") not in _DTYPES:
        return False
    return all(length is None or (type(length) is int and length >= 0) for length in item["shape"])


def _reason(error: BaseException) -> str:
    """Return the line of Paddle's message with the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = next((line for line in lines if "Error: " in line or line.startswith("(")), lines[-1])
    return telling[:_LONGEST_REASON]


def _shape(shape: list[int | None]) -> str:
    return "[" + ", ".join("any" if length is None else str(length) for length in shape) + "]"
