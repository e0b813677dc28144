"""Weight files from one code base, format and precision to another; what is in them; how two differ."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyutils.download.progress import human_size
from pyutils.engine.tensor_files import cast_floats, stored_type, write_pdparams, write_safetensors
from pyutils.errors import InputError
from pyutils.weights import packages
from pyutils.weights.looks import looks_like
from pyutils.weights.reading import file_format, named_arrays, read, read_object

DTYPES = ("float32", "float16", "bfloat16")
_WEIGHTS = "model.safetensors"


def convert(
    source: Path, destination: Path, model: str, dtype: str | None = None, names: str | None = None
) -> dict[str, np.ndarray]:
    """Write the weights of `source` to `destination` under our names, or those of another code base.

    Args:
        destination: `NAME.safetensors`, `NAME.pdparams`, or a folder for model.safetensors.
        model: "albef", "vilbert" or "visualbert".
        dtype: one of DTYPES for all floating-point tensors; None: each as it is.
        names: the code base whose names are written; None: ours.

    Raises:
        InputError: what `read` and the maps refuse, a destination of another kind, one that cannot be written (nothing
            half written is left).
    """
    target = _target(destination, dtype)
    tensors = packages.to_ours(model, read(source), str(source))
    if names is not None:
        tensors = packages.to_theirs(model, tensors, names)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, tensors, dtype)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was left there. Make room or choose "
            "another place"
        ) from error
    return tensors


def _target(destination: Path, dtype: str | None) -> Path:
    if destination.is_dir() or not destination.suffix:
        return destination / _WEIGHTS
    if destination.suffix not in (".safetensors", ".pdparams"):
        raise InputError(
            f"{destination}: weights are written as .safetensors, .pdparams or into a folder; PyTorch reads the first "
            "with safetensors.torch.load_file"
        )
    if destination.suffix == ".pdparams" and dtype == "bfloat16":
        raise InputError(f"{destination}: bfloat16 is written to .safetensors only")
    return destination


def _write(target: Path, tensors: Mapping[str, np.ndarray], dtype: str | None) -> None:
    """Write beside `target` and rename, so that it is whole or not there."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        written = Path(folder) / target.name
        if target.suffix == ".pdparams":
            cast = {name: _cast(name, value, dtype) for name, value in tensors.items()}
            write_pdparams(written, cast)
        else:
            write_safetensors(written, tensors, {"format": "pd"}, dtype)
        written.replace(target)


def _cast(name: str, array: np.ndarray, dtype: str | None) -> np.ndarray:
    return cast_floats(name, array, np.dtype(dtype)) if dtype is not None and array.dtype.kind == "f" else array


def describe(path: Path) -> str:
    """What a weight file holds: a summary and a Markdown table of its tensors in the order of the file."""
    tensors = named_arrays(read_object(path), str(path))
    rows = [(name, _shape(array), stored_type(array), _stored_bytes(array)) for name, array in tensors.items()]
    numbers, sizes = Counter(), Counter()
    for (_, _, kind, size), array in zip(rows, tensors.values()):
        numbers[kind] += array.size
        sizes[kind] += size
    kinds = "; ".join(f"{numbers[kind]:,} {kind} ({human_size(sizes[kind])})" for kind in numbers)
    lines = [
        f"{path}: {file_format(path)}, {path.stat().st_size:,} bytes",
        f"{len(tensors)} tensors, {sum(numbers.values()):,} numbers, {sum(sizes.values()):,} bytes: {kinds}",
        f"looks like {looks_like({name: array.shape for name, array in tensors.items()})}",
        "",
        "| tensor | shape | dtype | bytes |",
        "|---|---|---|---|",
    ]
    return "\n".join(lines + [f"| {name} | {shape} | {kind} | {size:,} |" for name, shape, kind, size in rows])


def _stored_bytes(array: np.ndarray) -> int:
    """Bytes of the array in its file."""
    return array.size * (2 if stored_type(array) == "bfloat16" else array.itemsize)


@dataclass(frozen=True)
class Difference:
    """One tensor that differs: how, and the largest absolute difference where shapes agree."""

    name: str
    what: str


def differences(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], tolerance: float = 0.0
) -> Iterator[Difference]:
    """Tensors that are in one only, of another shape, or further apart than `tolerance` anywhere.

    Types do not matter as long as the numbers agree; NaN equals NaN.
    """
    for name in [*first, *(name for name in second if name not in first)]:
        if name not in second or name not in first:
            yield Difference(name, f"only in {'the first' if name in first else 'the second'}")
            continue
        left, right = first[name], second[name]
        if left.shape != right.shape:
            yield Difference(name, f"shape {_shape(left)} and {_shape(right)}")
            continue
        gap = _largest_gap(left, right)
        if not gap <= tolerance:
            yield Difference(name, f"differ by up to {gap:.3g}")


def _largest_gap(left: np.ndarray, right: np.ndarray) -> float:
    """The largest absolute difference; infinity where one is NaN and the other is not."""
    if not left.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        gap = np.asarray(np.abs(left.astype(np.float64) - right.astype(np.float64)))
    gap[gap == 0.0] = 1.0  # different integers beyond 2^53 may be the same float64
    gap[(left == right) | ((left != left) & (right != right))] = 0.0
    return float(np.where(np.isnan(gap), np.inf, gap).max())


def _shape(array: np.ndarray) -> str:
    return "[" + ", ".join(map(str, array.shape)) + "]"
