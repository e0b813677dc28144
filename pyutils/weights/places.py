"""Resolve the name of weights in a configuration or on a command line to a file."""

from __future__ import annotations

from pathlib import Path

from pyutils.console import say
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike, recover_folder
from pyutils.weights import registry
from pyutils.weights.hubs import download_repository, is_hub_name

WEIGHT_FILES = ("model.safetensors", "model.pdparams")
"""In our own checkpoint folders."""
ENDINGS = (".safetensors", ".pdparams", ".bin", ".pth", ".pt", ".th")
# Names of weight files in folders; the first that exists counts.
_USUAL_FILES = (*WEIGHT_FILES, "model_state.pdparams", "pytorch_model.bin", "model.pth")
_LISTED = 12
BEST_OF_ALBEF = "checkpoint_best.pth"
"""The best weights of a run of the original ALBEF, in its output folder; those of ours are in `best`."""


def resolve_weights(source: PathLike) -> Path:
    """Return the weight file that `source` names; a published checkpoint is downloaded on first use.

    Args:
        source: a weight file (the original's `checkpoint_best.pth`, where missing: `best` beside it); a checkpoint
            folder, the output folder of a run (`best`, else `last`) or a folder of another code base; or a name: a
            folder below `~/.paddlenlp/models`, an entry of the registry, or a repository of a hub (`org/name`,
            `modelscope:org/name`, `aistudio:org/name`).

    Raises:
        InputError: it is none of them (the nearest known name is given), or it cannot be downloaded.
    """
    name = str(source)
    if not name.strip():
        raise InputError("an empty name of a checkpoint: expected a file, a folder or a known name")
    known = registry.known_name(name)
    path, cached = Path(name).expanduser(), registry.MODELS_HOME.expanduser() / (known or name)
    recover_folder(path)
    if path.exists():
        return _file_in(path)
    if path.name == BEST_OF_ALBEF and (path.parent / "best").is_dir():
        say(f"{path}: taken as {path.parent / 'best'}, where a run of this suite has its best weights")
        return _file_in(path.parent / "best")
    found = _cached_file(cached) if cached.is_dir() else None
    if found is not None:
        return found
    if known is not None:
        return registry.download(known)
    if is_hub_name(name):
        return _file_in(download_repository(name))
    raise InputError(
        f"{name}: no such checkpoint: neither the file or folder {path} exists nor a folder {cached} with weights; as "
        f"a name it is unknown: {nearest(name, registry.entries())}"
    )


def find_checkpoint(path: PathLike) -> Path:
    """Return the checkpoint folder that `path` names: itself, or `best` and else `last` in an output folder.

    Raises:
        InputError: there is none; the message lists what `path` contains.
    """
    path = Path(path)
    for folder in (path, path / "best", path / "last"):
        recover_folder(folder)
        if any((folder / name).is_file() for name in WEIGHT_FILES):
            return folder
    found = sorted(item.name for item in path.iterdir())[:_LISTED] if path.is_dir() else ["no such folder"]
    raise InputError(
        f"{path}: no checkpoint here: expected {' or '.join(WEIGHT_FILES)}, or a folder best/ or last/ with one; "
        f"found {', '.join(found) or 'nothing'}"
    )


def _file_in(path: Path) -> Path:
    """The weight file of a file or a folder."""
    if path.is_file():
        return path
    folder = path if any((path / name).is_file() for name in _USUAL_FILES) else find_checkpoint(path)
    return next(folder / name for name in _USUAL_FILES if (folder / name).is_file())


def _cached_file(folder: Path) -> Path | None:
    """`_file_in` of a folder in the cache, or its only weight file under any name; None where it has no weights."""
    known = (*_USUAL_FILES, "best", "last")
    if any((folder / name).exists() for name in known):
        return _file_in(folder)
    files = sorted(file for file in folder.iterdir() if file.suffix in ENDINGS)
    if len(files) > 1:
        shown = ", ".join(file.name for file in files)
        raise InputError(f"{folder}: contains several weight files ({shown}); give the path of one of them")
    return files[0] if files else None
