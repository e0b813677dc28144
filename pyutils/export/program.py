"""Export a model as files for other programs: Paddle Inference, ONNX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils.errors import InputError
from pyutils.export.predictor import DESCRIPTION, PARAMETERS, PROGRAM, PROGRAMS, Predictor
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
    inputs: name → (shape with None for any length, dtype); None in the first place is the length of the batch.
    outputs: names of what it returns.
    example: case number → arrays of those names, of other lengths each time, for the parity check.
    files: copied beside the program (vocabulary, answers). settings: JSON that `Predictor` hands on.
    """

    model: paddle.nn.Layer
    inputs: Mapping[str, tuple[Sequence[int | None], str]]
    outputs: Sequence[str]
    example: Callable[[int], dict[str, np.ndarray]]
    files: Sequence[Path] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def export(item: Exportable, folder: PathLike, onnx: bool = False, tolerance: float = 1e-5) -> float:
    """Write `item` as a Paddle Inference program, with `onnx` as ONNX too; return the largest difference found.

    The written program is run on three batches of different sizes and compared with the model; the difference is
    relative to the output's largest number where that is above 1. The folder is written atomically; an earlier export
    is replaced.

    Raises:
        InputError: outputs differ by more than `tolerance`; ONNX is asked for and paddle2onnx is missing; the folder
            cannot be written, or contains other files than an earlier export (a checkpoint, say).
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
            runs: list[Callable[..., dict[str, np.ndarray]]] = [Predictor(building)]
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
    """Description for `Predictor`; with the sizes of the files it detects truncated ones."""
    inputs = {name: {"shape": list(shape), "dtype": dtype} for name, (shape, dtype) in item.inputs.items()}
    sizes = {name: (folder / name).stat().st_size for name in (*PROGRAMS, PARAMETERS) if (folder / name).is_file()}
    return {"inputs": inputs, "outputs": list(item.outputs), "settings": dict(item.settings), "sizes": sizes}


def _onnx_converter() -> Callable[..., Any]:
    """`paddle2onnx.export`; InputError where it is missing or made for another Paddle."""
    try:
        import paddle2onnx
    except (ImportError, ValueError) as error:
        raise InputError(
            f"ONNX export needs a paddle2onnx for this Paddle ({str(error).splitlines()[0]}). Install the extra "
            f'"onnx": {install_command("onnx")}, or leave --onnx out'
        ) from error
    return paddle2onnx.export


def _write_onnx(convert: Callable[..., Any], folder: Path) -> None:
    program = next(folder / name for name in PROGRAMS if (folder / name).is_file())
    # Its own optimiser would install packages by itself: it stays off.
    convert(
        str(program),
        str(folder / PARAMETERS),
        str(folder / ONNX_FILE),
        opset_version=_OPSET,
        optimize_tool="None",
    )


def _onnx_runner(item: Exportable, folder: Path) -> list[Callable[..., dict[str, np.ndarray]]]:
    """The ONNX file as a function, where onnxruntime is installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    return [lambda **arrays: dict(zip(item.outputs, session.run(None, arrays)))]


def _gap(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest difference, relative to an output's largest number where that is above 1; infinity for another shape
    or NaN."""
    gap = 0.0
    for name, wanted in expected.items():
        if found[name].shape != wanted.shape:
            return float("inf")
        difference = np.abs(found[name].astype(np.float64) - wanted.astype(np.float64))
        largest = float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))
        gap = max(gap, largest / max(1.0, float(np.abs(wanted).max(initial=0.0))))
    return gap
