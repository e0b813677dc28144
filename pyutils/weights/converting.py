"""Convert weight files between code bases, formats and precisions; describe and compare them."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pyutils.download.progress import human_size
from pyutils.errors import InputError, closest
from pyutils.formats.tensor_files import cast_floats, stored_type, write_pdparams, write_safetensors
from pyutils.formats.weight_files import file_format, named_arrays, read, read_object
from pyutils.packages import CHECKPOINTS, announced
from pyutils.weights.looks import looks_like
from pyutils.weights.places import ENDINGS

DTYPES = ("float32", "float16", "bfloat16")
_WEIGHTS = "model.safetensors"
_WRITTEN = (".safetensors", ".pdparams")
_FILE_ENDINGS = (*ENDINGS, ".pdopt", ".pkl", ".ckpt", ".h5", ".npz", ".npy", ".onnx", ".zip", ".tar", ".gz")
_OURS = ("config.yaml", "metrics.json")  # in every checkpoint folder of ours
_LEFT_BEHIND = ("metrics.json", "state.json")
_COMPANIONS = ("config.yaml", "config.json", "model_config.json", "vocab.txt")


def convert_weights(
    source: Path, destination: Path, model: str, dtype: str | None = None, names: str | None = None
) -> dict[str, np.ndarray]:
    """Write the weights of `source` to `destination` under our names, or those of another code base.

    Args:
        destination: `NAME.safetensors`, `NAME.pdparams`, or a folder for model.safetensors and the `companions` of
            `source`, with which `from_pretrained` knows the settings that do not follow from shapes.
        model: an announced model (`pyutils.packages`).
        dtype: one of DTYPES for all floating-point tensors; None: unchanged.
        names: the code base whose names are written; None: ours.

    Raises:
        InputError: `read` or the maps refuse the source, or the destination is of another kind or cannot be written
            (then nothing is left there).
    """
    target = _target(destination, dtype)
    tensors = to_ours(model, read(source), str(source))
    if names is not None:
        tensors = to_theirs(model, tensors, names)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, tensors, dtype, companions(source) if is_folder(destination) else [])
    except OSError as error:
        room = "Make room or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose"
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was left there. {room} another place"
        ) from error
    return tensors


def to_ours(model: str, tensors: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint of `model` under our names; unchanged when they have them.

    Raises:
        InputError: another model's checkpoint, or tensors for which there is no rule.
    """
    module = announced(CHECKPOINTS)[model].load()
    if module.is_ours(tensors):
        return dict(tensors)
    converted = module.convert(tensors, origin=origin)
    if converted.unmapped:
        shown = ", ".join(converted.unmapped[:5])
        raise InputError(f"{origin}: no rule for {len(converted.unmapped)} tensors, e.g. {shown}")
    return converted.tensors


def to_theirs(model: str, tensors: Mapping[str, np.ndarray], names: str) -> dict[str, np.ndarray]:
    """Return our tensors under the names of another code base of `model`. InputError for an unknown one."""
    return announced(CHECKPOINTS)[model].load().to_names(tensors, names)


def is_folder(destination: Path) -> bool:
    """True when `convert_weights` treats `destination` as a folder: it is one, or has no name of a weight file."""
    ending = destination.suffix.lower()
    return destination.is_dir() or (ending not in _FILE_ENDINGS and closest(ending, _WRITTEN) is None)


def companions(source: Path) -> list[Path]:
    """Return the files that belong to the weights `source`: configuration and vocabulary, and in a checkpoint folder of
    ours the task's other files (answer lists), but not metrics and the state of the run."""
    folder = source.parent
    if not all((folder / name).is_file() for name in _OURS):
        return [folder / name for name in _COMPANIONS if (folder / name).is_file()]
    own = sorted(item for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
    return [item for item in own if item.suffix not in ENDINGS and item.name not in _LEFT_BEHIND]


def _target(destination: Path, dtype: str | None) -> Path:
    if is_folder(destination):
        if destination.exists() and not destination.is_dir():
            raise InputError(f"{destination}: is a file; name a folder, NAME.safetensors or NAME.pdparams")
        return destination / _WEIGHTS
    if destination.suffix not in _WRITTEN:
        raise InputError(
            f"{destination}: weights are written as .safetensors, .pdparams or into a folder; PyTorch reads the first "
            "with safetensors.torch.load_file"
        )
    if destination.suffix == ".pdparams" and dtype == "bfloat16":
        raise InputError(f"{destination}: bfloat16 is written to .safetensors only")
    return destination


def _write(target: Path, tensors: Mapping[str, np.ndarray], dtype: str | None, along: Sequence[Path]) -> None:
    """Write beside `target` and rename, which is atomic; copy the files `along` to it."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        written = Path(folder) / target.name
        for path in along:
            shutil.copyfile(path, written.with_name(path.name))
        if target.suffix == ".pdparams":
            floats = {name for name, value in tensors.items() if dtype is not None and value.dtype.kind == "f"}
            cast = {n: cast_floats(n, value, np.dtype(dtype)) if n in floats else value for n, value in tensors.items()}
            write_pdparams(written, cast)
        else:
            write_safetensors(written, tensors, {"format": "pd"}, dtype)
        for path in (*along, written):
            written.with_name(path.name).replace(target.with_name(path.name))


def describe(path: Path) -> str:
    """Describe a weight file: a summary and a Markdown table of its tensors in the order of the file."""
    tensors = named_arrays(read_object(path), str(path))
    rows = [(name, _shape(array), stored_type(array), _stored_bytes(array)) for name, array in tensors.items()]
    numbers, sizes = Counter[str](), Counter[str]()
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
    return "\n".join(
        lines + [f"| {in_table(name)} | {shape} | {kind} | {size:,} |" for name, shape, kind, size in rows]
    )


def in_table(name: str) -> str:
    """Escape a tensor's name for a Markdown table on a terminal: control characters, unprintable ones and bars."""
    shown = (mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in name)
    return "".join(shown).replace("|", "\\|")


def _stored_bytes(array: np.ndarray) -> int:
    """Bytes of the array in its file."""
    return array.size * (2 if stored_type(array) == "bfloat16" else array.itemsize)


def differences(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], tolerance: float = 0.0
) -> Iterator[tuple[str, str]]:
    """Yield (name, difference) of tensors in one only, of another shape, or different by more than `tolerance`.

    Types do not matter as long as the numbers agree; NaN equals NaN.
    """
    for name in [*first, *(name for name in second if name not in first)]:
        if name not in second or name not in first:
            yield name, f"only in {'the first' if name in first else 'the second'}"
            continue
        left, right = first[name], second[name]
        if left.shape != right.shape:
            yield name, f"shape {_shape(left)} and {_shape(right)}"
            continue
        gap = _largest_gap(left, right)
        if not gap <= tolerance:
            yield name, f"differ by up to {gap:.3g}"


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
