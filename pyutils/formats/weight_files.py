"""One entry to every weight file these models ever had: the format is told by the content, nothing in it is run."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats import paddle_params, torch_legacy, torch_zip
from pyutils.formats.atomic import PathLike
from pyutils.formats.safe_pickle import told
from pyutils.formats.tensor_files import read_safetensors

SAFETENSORS, TORCH_ZIP, TORCH_LEGACY, PADDLE = "safetensors", "PyTorch zip", "PyTorch before 1.6", "Paddle pickle"
_READERS: dict[str, Callable[[Path], Any]] = {
    SAFETENSORS: read_safetensors,
    TORCH_ZIP: torch_zip.load,
    TORCH_LEGACY: torch_legacy.load,
    PADDLE: paddle_params.load,
}
_STARTS = ((b"PK\x03\x04", TORCH_ZIP), (torch_legacy.MAGIC, TORCH_LEGACY), (b"\x80", PADDLE))
# What lies in the place of weights by mistake, and what to do about it.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself (git lfs pull)"),
    (b"<", "a web page: the download link is dead or wants a log-in"),
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
    """Named arrays of a weight file: safetensors, PyTorch (zip or the older format), Paddle's `.pdparams`.

    Of a checkpoint with more in it (`{"model": …, "optimizer": …}`) the model's state dict. bfloat16 comes as float32.
    Arrays are read-only views of the mapped file where the format allows it, so that memory stays near the file's size.

    Raises:
        InputError: no such file, none of these formats, damaged, cut short, or a pickle that is not plain data (nothing
            of it has been run); the message names the file.
    """
    return state_dict(read_object(path), str(path))


def read_object(path: PathLike) -> Any:
    """What a weight file holds, as it was saved: dictionaries, lists, numbers, text and arrays. Errors as in `read`."""
    path = Path(path)
    return _READERS[file_format(path)](path)


def file_format(path: PathLike) -> str:
    """SAFETENSORS, TORCH_ZIP, TORCH_LEGACY or PADDLE, by the first bytes. InputError for anything else."""
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
    known = next((told for magic, told in _OTHERS if start.lstrip().startswith(magic)), "")
    what = known or ("an empty file" if not start else f"a file that begins with {start[:8]!r}")
    raise InputError(
        f"{path}: expected weights (safetensors, PyTorch or Paddle), found {what}. Was it cut short or renamed? "
        "Copy or download it again."
    )


def state_dict(content: Any, where: str) -> dict[str, np.ndarray]:
    """The named arrays in `content`, of the model where it holds several things.

    InputError when there are none, and for one of anything but whole and floating-point numbers of at most 64 bits.
    """
    arrays = named_arrays(content, where)
    for name, value in arrays.items():
        if value.dtype.kind not in "biuf" or value.itemsize > _WIDEST:
            raise InputError(
                f"{where}: tensor {name!r} holds {value.dtype}, which no model here has: expected whole or "
                "floating-point numbers of at most 64 bits. Save the file without it"
            )
    return {name: value.view(np.ndarray) for name, value in arrays.items()}


def named_arrays(content: Any, where: str) -> dict[str, np.ndarray]:
    """`state_dict` with the arrays as the readers make them, which `stored_type` of `tensor_files` knows."""
    for _ in range(_MOST_WRAPPERS):  # a dictionary may lie inside itself
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
    return name[:_LONGEST_NAME] if isinstance(name, str) and name.isprintable() else told(name)
