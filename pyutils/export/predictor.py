"""Running an exported model with Paddle Inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError, nearest
from pyutils.files import PathLike

DESCRIPTION = "export.json"
PROGRAM = "model"
_PROGRAM_ENDINGS = (".json", ".pdmodel")  # Paddle 3, Paddle 2


class Predictor:
    """An exported model: a function from named arrays to named arrays.

    `inputs` maps each name to (shape, dtype), None in a shape being any length; `outputs` are the names of what comes
    back; `settings` is what the exporter noted for those who prepare inputs.

    Args:
        folder: what `pyutils.export.export` wrote.
        threads: of the CPU.
        gpu: number of the GPU to run on; None: the CPU.

    Raises:
        InputError: the folder is no exported model, or one written by a Paddle that this one cannot read.
    """

    def __init__(self, folder: PathLike, threads: int = 1, gpu: int | None = None) -> None:
        self.folder = Path(folder)
        described = _description(self.folder)
        self.inputs: dict[str, tuple[list[int | None], str]] = {
            name: (item["shape"], item["dtype"]) for name, item in described["inputs"].items()
        }
        self.outputs: list[str] = described["outputs"]
        self.settings: dict[str, Any] = described["settings"]
        self._engine = self._open(threads, gpu)

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the model. InputError names an input that is missing, unknown, or of another type or shape."""
        self._check(arrays)
        for name in self.inputs:
            self._engine.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(arrays[name]))
        self._engine.run()
        found = [self._engine.get_output_handle(name).copy_to_cpu() for name in self._engine.get_output_names()]
        return dict(zip(self.outputs, found))

    def _open(self, threads: int, gpu: int | None) -> Any:
        from paddle import inference

        programs = [self.folder / f"{PROGRAM}{ending}" for ending in _PROGRAM_ENDINGS]
        program = next((path for path in programs if path.is_file()), None)
        if program is None:
            raise InputError(f"{self.folder}: no program there ({' or '.join(path.name for path in programs)})")
        config = inference.Config(str(program), str(self.folder / f"{PROGRAM}.pdiparams"))
        config.disable_glog_info()
        if gpu is None:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
        else:
            config.enable_use_gpu(256, gpu)
        return inference.create_predictor(config)

    def _check(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name in arrays:
            if name not in self.inputs:
                raise InputError(f"{self.folder}: the model has no input {name!r}: {nearest(name, self.inputs)}")
        for name, (shape, dtype) in self.inputs.items():
            if name not in arrays:
                raise InputError(f"{self.folder}: the input {name!r} is missing: {dtype} {_shape(shape)}")
            found = np.asarray(arrays[name])
            fits = found.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, found.shape))
            if not fits or found.dtype != np.dtype(dtype):
                raise InputError(
                    f"{self.folder}: input {name!r}: expected {dtype} {_shape(shape)}, found {found.dtype} "
                    f"{_shape(list(found.shape))}"
                )


def _description(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{folder}: no exported model there (no {DESCRIPTION}): make one with python -m pyutils.export"
        ) from error
    except ValueError as error:
        raise InputError(f"{folder / DESCRIPTION}: not JSON ({error}); export the model again") from error


def _shape(shape: list[int | None]) -> str:
    return "[" + ", ".join("any" if length is None else str(length) for length in shape) + "]"
