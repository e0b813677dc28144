"""Packages that only some features need: the extra of each, and the command that installs it."""

from __future__ import annotations

import importlib.util

from pyutils.errors import InputError

PACKAGES: dict[str, tuple[str, ...]] = {
    "cpu": ("paddlepaddle==3.3.1",),
    "regions": ("h5py", "pybase64"),
    "refer": ("pycocotools",),
    "s3": ("boto3",),
    "plots": ("matplotlib",),
    "boards": ("visualdl", "tensorboardX"),
    "sample": ("easy-vqa==1.0",),
    # Without the upper bounds pip installs versions with which paddlenlp cannot be imported.
    "paddlenlp": ("paddlenlp==2.8.1", "aistudio_sdk<0.3", "datasets<3", "huggingface_hub<0.24", "pyarrow<20"),
    "onnx": ("paddle2onnx", "onnx", "onnxruntime"),
}
"""Extra of pyproject.toml → what its command installs."""


def install_command(extra: str) -> str:
    """Return the command that installs the packages of `extra`.

    It names the packages, not the distribution with its extra, which no package index has.
    """
    # Quotes keep a shell from reading < as a redirection.
    return "pip install " + " ".join(f'"{name}"' if "<" in name else name for name in PACKAGES[extra])


def missing(extra: str, module: str, feature: str) -> str:
    """Return the message for `feature`, which needs `module` of `extra`."""
    return f'{feature} needs {module}, which is not installed. Install the extra "{extra}": {install_command(extra)}'


def need(extra: str, module: str, feature: str) -> None:
    """Raise InputError with the install command where `module`, which `feature` needs, is not installed."""
    if importlib.util.find_spec(module) is None:
        raise InputError(missing(extra, module, feature))
