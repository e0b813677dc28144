"""Export a model as a Paddle Inference program and as ONNX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils.errors import InputError
from pyutils.export.predictor import DESCRIPTION, PARAMETERS, PROGRAM, PROGRAMS, StaticPredictor
from pyutils.extras import install_command
from pyutils.formats.atomic import PathLike, atomic_folder, check_replaceable, write_json

ONNX_FILE = "model.onnx"
_OPSET = 17
_PARITY_CASES = 3
_WRITTEN = (*PROGRAMS, PARAMETERS, f"{PARAMETERS}.info", ONNX_FILE)


@dataclass(frozen=True)
class Exportable:
    """A model ready to be exported.

    model: its `forward` takes the inputs in order and returns one tensor, or a tuple of them.
    inputs: name → (shape with None for any length, dtype); None as first entry is the batch size.
    outputs: names of the returned tensors.
    example: case number → input arrays, of other lengths for each number, for the parity check.
    files: copied beside the program (vocabulary, answers). settings: JSON values, `StaticPredictor.settings`.
    """

    model: paddle.nn.Layer
    inputs: Mapping[str, tuple[Sequence[int | None], str]]
    outputs: Sequence[str]
    example: Callable[[int], dict[str, np.ndarray]]
    files: Sequence[Path] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def export(item: Exportable, folder: PathLike, onnx: bool = False, tolerance: float = 1e-5) -> float:
    """Write `item` as a Paddle Inference program, with `onnx` also as ONNX; return the largest difference found.

    Runs the program on three batches of different sizes and compares it with the model; differences are relative to the
    output's largest number if that is above 1. The directory is written atomically and replaces an earlier export.

    Raises:
        InputError: outputs differ by more than `tolerance`; paddle2onnx is missing for ONNX; the directory cannot be
            written, or contains other files than those of an export.
    """
    check_replaceable(folder, (DESCRIPTION,), (*_WRITTEN, *(path.name for path in item.files)), "an exported model")
    convert = _onnx_converter() if onnx else None
    item.model.eval()
    cases = [item.example(number) for number in range(_PARITY_CASES)]
    expected = [_eager(item, case) for case in cases]
    try:
        with atomic_folder(folder) as building:
            _write_program(item, building)
            write_json(building / DESCRIPTION, _description(item, building))
            for path in item.files:
                (building / path.name).write_bytes(path.read_bytes())
            runs: list[Callable[..., dict[str, np.ndarray]]] = [StaticPredictor(building)]
            if convert is not None:
                _write_onnx(convert, building)
                runs += _onnx_runner(item, building)
            gap = max(_gap(run(**case), wanted) for run in runs for case, wanted in zip(cases, expected))
            if not gap <= tolerance:
                raise InputError(
                    f"{folder}: the exported program differs from the model by {gap:.3g}, more than {tolerance:g}; it "
                    "was not kept"
                )
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); nothing was left there") from error
    return gap


def _eager(item: Exportable, case: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with paddle.no_grad():
        found = item.model(*(paddle.to_tensor(case[name]) for name in item.inputs))
    found = found if isinstance(found, (tuple, list)) else [found]
    return {name: tensor.numpy() for name, tensor in zip(item.outputs, found)}


def _write_program(item: Exportable, folder: Path) -> None:
    specs = [
        paddle.static.InputSpec([-1 if length is None else length for length in shape], dtype, name)
        for name, (shape, dtype) in item.inputs.items()
    ]
    program = paddle.jit.to_static(item.model, input_spec=specs, full_graph=True)
    paddle.jit.save(program, str(folder / PROGRAM))


def _description(item: Exportable, folder: Path) -> dict[str, Any]:
    """Return the description for `StaticPredictor`, which detects truncated files by their sizes."""
    inputs = {name: {"shape": list(shape), "dtype": dtype} for name, (shape, dtype) in item.inputs.items()}
    sizes = {name: (folder / name).stat().st_size for name in (*PROGRAMS, PARAMETERS) if (folder / name).is_file()}
    return {"inputs": inputs, "outputs": list(item.outputs), "settings": dict(item.settings), "sizes": sizes}


def _onnx_converter() -> Callable[..., Any]:
    """Return `paddle2onnx.export`. Raises InputError if it is missing or for another Paddle version."""
    try:
        import paddle2onnx
    except (ImportError, ValueError) as error:
        raise InputError(
            f"ONNX export needs a paddle2onnx for this Paddle ({str(error).splitlines()[0]}). Install the extra "
            f'"onnx": {install_command("onnx")}, or omit --onnx'
        ) from error
    return paddle2onnx.export


def _write_onnx(convert: Callable[..., Any], folder: Path) -> None:
    program = next(folder / name for name in PROGRAMS if (folder / name).is_file())
    files = [str(path) for path in (program, folder / PARAMETERS, folder / ONNX_FILE)]
    convert(*files, opset_version=_OPSET, optimize_tool="None")  # its optimizer would install packages


def _onnx_runner(item: Exportable, folder: Path) -> list[Callable[..., dict[str, np.ndarray]]]:
    """Return the ONNX file as a function, if onnxruntime is installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    return [lambda **arrays: dict(zip(item.outputs, session.run(None, arrays)))]


def _gap(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Return the largest difference as in `export`; infinity for another shape or NaN."""
    gap = 0.0
    for name, wanted in expected.items():
        if found[name].shape != wanted.shape:
            return float("inf")
        difference = np.abs(found[name].astype(np.float64) - wanted.astype(np.float64))
        largest = float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))
        gap = max(gap, largest / max(1.0, float(np.abs(wanted).max(initial=0.0))))
    return gap
