"""Vocabulary and answer list of a published checkpoint, for a configuration whose own are not there."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyutils.console import say
from pyutils.text.vocabularies import VOCABULARIES, vocabulary_file
from pyutils.weights import registry
from pyutils.weights.pretrained import with_fields

if TYPE_CHECKING:
    from pyutils.engine.split_task import SplitTask


def with_published_files(config: Any, task_class: type[SplitTask], typed: Collection[str] = ()) -> Any:
    """Return `config` with the files that belong to the published checkpoint `config.init`.

    A file that is `typed` (a configuration key) or that exists is kept. Weights that are a file or a folder bring none.

    Raises:
        InputError: a file of the checkpoint that cannot be downloaded.
    """
    name = registry.known_name(config.init)
    if name is None or Path(config.init).exists():
        return config
    lacking = [key for key in task_class.file_keys if key not in typed and not _is_there(config, key)]
    if not lacking:
        return config
    registry.download_files(name)
    usual, folder = task_class.config_class(), registry.find(name).folder.resolve()
    wanted = {key: folder / ("vocab.txt" if key == "tokenizer" else Path(_value(usual, key)).name) for key in lacking}
    found = {key: str(path) for key, path in wanted.items() if path.is_file()}
    for key, path in found.items():
        say(f"{key}: {path}, of the checkpoint {name}, as {_value(config, key) or 'the configuration'} gives no file")
    return with_fields(config, found, name)


def _is_there(config: Any, key: str) -> bool:
    """True if a key names a file, also below the `root` of its section, or a vocabulary known by name."""
    value = _value(config, key)
    if not value:
        return False
    if key == "tokenizer" and (value in VOCABULARIES or vocabulary_file(value).is_file()):
        return True
    root = getattr(_value(config, key.rpartition(".")[0]), "root", "")
    return (Path(root).expanduser() / Path(value).expanduser()).exists()


def _value(config: Any, key: str) -> Any:
    return reduce(getattr, key.split(".") if key else (), config)
