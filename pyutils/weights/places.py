"""Where the weights lie that a configuration names."""

from __future__ import annotations

from pathlib import Path

from pyutils.errors import InputError

MODELS_HOME = Path("~/.paddlenlp/models")


def locate(source: str) -> Path:
    """The path that `source` means: itself, or the folder of that name below `~/.paddlenlp/models`. InputError when
    there is neither."""
    path, named = Path(source).expanduser(), MODELS_HOME.expanduser() / source
    if path.exists():
        return path
    if named.is_dir():
        return named
    raise InputError(f"{source}: no such checkpoint: there is neither a file or folder {path} nor a folder {named}")
