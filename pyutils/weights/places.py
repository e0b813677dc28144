"""Where the weights lie that a configuration or a command line names."""

from __future__ import annotations

from pathlib import Path

from pyutils.errors import InputError, nearest
from pyutils.weights import registry
from pyutils.weights.registry import MODELS_HOME

# Names of weight files in folders, the first that is there being the one that counts.
USUAL_FILES = ("model.safetensors", "model.pdparams", "model_state.pdparams", "pytorch_model.bin", "model.pth")
ENDINGS = (".safetensors", ".pdparams", ".bin", ".pth", ".pt", ".th")


def locate(source: str) -> Path:
    """The file or folder with weights that `source` means.

    Itself where it exists; the folder of that name below `~/.paddlenlp/models` (of several files there the one with a
    usual name, else the only one with weights); a name of the registry, which is downloaded on first use. InputError
    when it is none of them, naming the nearest known name, and in the cases of `registry.bring`.
    """
    if not source.strip():
        raise InputError("an empty name of a checkpoint: expected a file, a folder or a known name")
    path, named = Path(source).expanduser(), MODELS_HOME.expanduser() / source
    if path.exists():
        return path
    if named.is_dir():
        found = _weights_in(named)
        if found is not None:
            return found
    if source in registry.entries():
        return registry.bring(source)
    raise InputError(
        f"{source}: no such checkpoint: there is neither a file or folder {path} nor a folder {named} with weights; as "
        f"a name it is unknown: {nearest(source, registry.entries())}"
    )


def _weights_in(folder: Path) -> Path | None:
    """The folder where it holds a usual file, its only weight file otherwise; None where there is none."""
    if any((folder / name).is_file() for name in USUAL_FILES):
        return folder
    if any((folder / name).is_dir() for name in ("best", "last")):
        return folder
    files = sorted(file for file in folder.iterdir() if file.suffix in ENDINGS)
    if len(files) > 1:
        shown = ", ".join(file.name for file in files)
        raise InputError(f"{folder}: holds several weight files ({shown}); name the one that is meant with its path")
    return files[0] if files else None
