"""Repositories of model hubs, `org/name`, through the hubs' own packages where they are installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pyutils.download import published
from pyutils.errors import InputError, nearest

_FILES = ("*.json", "*.yaml", "*.txt", "*.safetensors", "*.bin", "*.pdparams", "*.pth", "*.th")


def _hugging_face(repository: str) -> Any:
    from huggingface_hub import snapshot_download

    return snapshot_download(repository, allow_patterns=list(_FILES), local_files_only=published.is_offline())


def _model_scope(repository: str) -> Any:
    from modelscope import snapshot_download

    return snapshot_download(repository)


def _ai_studio(repository: str) -> Any:
    from aistudio_sdk.snapshot_download import snapshot_download

    return snapshot_download(repository)


class Hub(NamedTuple):
    """A hub's name, the package to install, and the function that downloads a repository and returns its folder."""

    name: str
    package: str
    download: Callable[[str], Any]


HUBS = {
    "hf": Hub("Hugging Face", "huggingface_hub", _hugging_face),
    "modelscope": Hub("ModelScope", "modelscope", _model_scope),
    "aistudio": Hub("AI Studio", '"aistudio_sdk>=0.3"', _ai_studio),
}
"""Prefix of a name (`modelscope:org/name`; none: Hugging Face) → hub."""


def is_hub_name(name: str) -> bool:
    """Return True for `org/name`, with or without the prefix of a hub."""
    parts = name.rpartition(":")[2].split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~", "/"))


def download_repository(name: str) -> Path:
    """Download the repository `name` (`org/name`, `modelscope:org/name`, …) and return its folder in the hub's cache.

    Raises:
        InputError: an unknown hub, its package is not installed, or no such repository.
    """
    prefix, _, repository = name.rpartition(":")
    if (prefix or "hf") not in HUBS:
        raise InputError(f"{name}: unknown hub {prefix!r}: {nearest(prefix, HUBS)}")
    hub = HUBS[prefix or "hf"]
    try:
        return Path(hub.download(repository))
    except ImportError as error:
        raise InputError(
            f"{name}: neither a file nor a known name; to download it from {hub.name}: pip install {hub.package}"
        ) from error
    except Exception as error:  # the hubs' packages have no common class of errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{name}: not downloaded from {hub.name} ({type(error).__name__}: {reason}); check the name and the network"
        ) from error


def upload_folder(folder: Path, repository: str, private: bool = False) -> str:
    """Upload `folder` to the Hugging Face repository `org/name`, created if missing; return its address.

    Raises:
        InputError: huggingface_hub is not installed, no log-in, or no network.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError(f"{repository}: uploading needs huggingface_hub: pip install huggingface_hub") from error
    try:
        HfApi().create_repo(repository, private=private, exist_ok=True)
        HfApi().upload_folder(repo_id=repository, folder_path=str(folder))
    except Exception as error:
        raise InputError(f"{repository}: not uploaded ({error}); log in with `huggingface-cli login`") from error
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{repository}"
