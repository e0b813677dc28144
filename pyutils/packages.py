"""Entry points that the model packages announce; `pyutils` names no model package.

A package is imported only when one of its entries is used.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any, Union

CHECKPOINTS = "paddle_vl.checkpoints"
"""Entry points: model → module with `is_ours(names)`, `convert(tensors, origin=…)`, `to_names(tensors, names)` and
`PRETRAINED`, a `pyutils.weights.pretrained.PretrainedIO`."""
COMMANDS = "paddle_vl.commands"
"""Entry points: model → its `pyutils.engine.commands.Package`."""
EXPORTS = "paddle_vl.exports"
"""Entry points: name → function that makes an `Exportable` of a checkpoint."""


def announced(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of `group` by name."""
    # A checkout runs without being installed, and an editable installation keeps the entry points of the day it was
    # made: the file beside the packages is right for both.
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    reader = configparser.ConfigParser(delimiters="=", strict=False, allow_no_value=True, interpolation=None)
    reader.read(project, encoding="utf-8")  # none in an installation, or another project's
    section = f'project.entry-points."{group}"'
    if reader.has_section(section):
        return {name: EntryPoint(name, value.strip('"'), group) for name, value in reader[section].items()}
    every = [entry for distribution in distributions() for entry in distribution.entry_points if entry.group == group]
    return {entry.name: entry for entry in reversed(every)}  # of two installations the first on sys.path counts


class PretrainedModel:
    """Mixin of a package's models: loading and saving by the `PRETRAINED` that the package announces.

    Importing a model loads no checkpoint code; the first call of these methods does. `config`: the configuration it was
    made from. `vocabulary`: the vocab.txt that came with the weights, which `save_pretrained` copies. `published`: the
    name of the published checkpoint that it was loaded from, "" for others.
    """

    config: Any
    vocabulary: Path | None = None
    published: str = ""

    @classmethod
    def from_pretrained(cls, source: Union[str, os.PathLike[str]], may_miss: Iterable[str] = (), **changes: Any) -> Any:
        """Return a model with the weights that `source` names, in evaluation mode.

        Args:
            source: a checkpoint folder, a weight file, or a name (`python -m pyutils.weights list`), of ours or of any
                code base that the package has a map for. The configuration is the `config.yaml` or `config.json` beside
                the weights; without one, the sizes are read from the tensors.
            may_miss: regular expressions of our names that may be missing in the file (a new head).
            changes: fields of the configuration to override: `hidden_dropout=0.0`, `**{"vision.image_size": 384}`; and
                what the package adds (ViLBERT: `heads`, names of heads or name → outputs; default: those in the file).

        Raises:
            InputError: no such checkpoint, a damaged file, weights of another model, a configuration that does not fit
                the weights (the field is named).
        """
        return _pretrained_io(cls).load(cls, source, may_miss, **changes)

    def save_pretrained(
        self,
        folder: Union[str, os.PathLike[str]],
        vocabulary: Union[str, os.PathLike[str], None] = None,
        weights_format: str = "safetensors",
    ) -> None:
        """Write weights, `config.yaml` and the vocabulary as a checkpoint folder, atomically.

        Args:
            vocabulary: the vocab.txt to copy; None: the one that came with the weights, if any.
            weights_format: "safetensors" or "pdparams".

        Raises:
            InputError: `folder` is a file, contains other files than a checkpoint's, or cannot be written; an unknown
                format; or `vocabulary` does not exist. A previous folder is intact then.
        """
        _pretrained_io(type(self)).save(self, folder, vocabulary, weights_format)

    @property
    def tokenizer(self) -> Any:
        """The WordPiece of `vocabulary`; that of a published checkpoint is downloaded at first use.

        Raises:
            InputError: no vocabulary came with the weights, or it is not of the model's size.
        """
        return _pretrained_io(type(self)).tokenizer_of(self)

    def push_to_hub(self, repository: str, private: bool = False, **options: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face repository `org/name`; return its address.

        `options` are those of `save_pretrained`. Raises InputError where huggingface_hub is not installed, without a
        log-in or network.
        """
        return _pretrained_io(type(self)).push(self, repository, private, **options)


def _pretrained_io(model_class: type) -> Any:
    """Return `PRETRAINED` of the package that `model_class` or the class it extends is from."""
    packages = {base.__module__.partition(".")[0] for base in model_class.__mro__}
    for entry in announced(CHECKPOINTS).values():
        if entry.value.partition(".")[0] in packages:
            return entry.load().PRETRAINED
    raise NotImplementedError(f"{model_class.__name__}: none of its packages announces {CHECKPOINTS}")
