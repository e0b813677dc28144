"""Read any weight file: the content decides the format, and nothing in it is executed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats import paddle_params, torch_legacy, torch_zip
from pyutils.formats.atomic import PathLike
from pyutils.formats.plain_values import brief
from pyutils.formats.tensor_files import read_safetensors

SAFETENSORS, TORCH_ZIP, TORCH_LEGACY, PADDLE = "safetensors", "PyTorch zip", "PyTorch before 1.6", "Paddle pickle"
_READERS: dict[str, Callable[[Path], Any]] = {
    SAFETENSORS: read_safetensors,
    TORCH_ZIP: torch_zip.load,
    TORCH_LEGACY: torch_legacy.load,
    PADDLE: paddle_params.load,
}
_STARTS = ((b"PK\x03\x04", TORCH_ZIP), (torch_legacy.MAGIC, TORCH_LEGACY), (b"\x80", PADDLE))
# Files that users take for weights by mistake, and the remedy.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself (git lfs pull)"),
    (b"<", "a web page: the download link is dead or requires a log-in"),
    (b"\x1f\x8b", "a gzip archive: unpack it and name the weights inside"),
    (b"\x89HDF", "an HDF5 file"),
    (b"{", "JSON text, perhaps a config.json"),
)
_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state", "module", "net")
_WIDEST = 8  # bytes a number
_MOST_WRAPPERS = 8
_LONGEST_NAME = 100
_PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")


def read(path: PathLike) -> dict[str, np.ndarray]:
    """Return the named arrays of a weight file: safetensors, PyTorch (zip or the older format), Paddle's `.pdparams`.

    Of a larger checkpoint (`{"model": …, "optimizer": …}`) the model's state dict. bfloat16 is widened to float32.
    Arrays are read-only views of the mapped file where the format allows it, so that memory stays near the file's size.

    Raises:
        InputError: the file is missing, of another format, damaged or truncated, its pickle is not plain data (nothing
            has been executed then), or a tensor is of anything but integers and floating-point numbers.
    """
    arrays = named_arrays(read_object(path), str(path))
    for name, value in arrays.items():
        if value.dtype.kind not in "biuf" or value.itemsize > _WIDEST:
            raise InputError(
                f"{path}: tensor {name!r} has the type {value.dtype}: expected integers or floating-point numbers "
                "of at most 64 bits. Save the file without it"
            )
    return {name: value.view(np.ndarray) for name, value in arrays.items()}


def read_object(path: PathLike) -> Any:
    """Return the content of a weight file as saved: dictionaries, lists, numbers, text, arrays. Errors as in `read`."""
    path = Path(path)
    return _READERS[file_format(path)](path)


def file_format(path: PathLike) -> str:
    """Return SAFETENSORS, TORCH_ZIP, TORCH_LEGACY or PADDLE by the first bytes. InputError for anything else."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(32)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    for magic, name in _STARTS:
        if start.startswith(magic) and (name != PADDLE or start[1:2] in _PICKLE_PROTOCOLS):
            return name
    # A safetensors file begins with the length of its header, which begins with a brace.
    if len(start) > 8 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < size:
        return SAFETENSORS
    known = next((what for magic, what in _OTHERS if start.lstrip().startswith(magic)), "")
    what = known or ("an empty file" if not start else f"a file that begins with {start[:8]!r}")
    raise InputError(
        f"{path}: expected weights (safetensors, PyTorch or Paddle), found {what}. Is it truncated or renamed? "
        "Copy or download it again."
    )


def named_arrays(content: Any, where: str) -> dict[str, np.ndarray]:
    """Return the named arrays in `content`, of the model where it is a larger checkpoint, as the readers make them.

    `stored_type` of `tensor_files` recognises their types. InputError when there are none.
    """
    for _ in range(_MOST_WRAPPERS):  # a dictionary may contain itself
        inner = None
        if isinstance(content, Mapping):
            inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    arrays: dict[str, np.ndarray] = {}
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, np.ndarray):
                arrays[name] = value
    if not arrays:
        held = f"the entries {', '.join(map(_shown, list(content)[:5]))}" if isinstance(content, Mapping) else ""
        raise InputError(
            f"{where}: expected a state dict of named arrays, found {held or type(content).__name__}; save the model's "
            "state_dict() itself"
        )
    return arrays


def _shown(name: Any) -> str:
    """The name of an entry for a message, without marks where it is plain text."""
    return name[:_LONGEST_NAME] if isinstance(name, str) and name.isprintable() else brief(name)
