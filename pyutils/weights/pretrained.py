"""`Model.from_pretrained(folder or name)` and `model.save_pretrained(folder)`: configuration and vocabulary travel with
the weights, and a configuration that does not fit them is an error that names the field."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from pyutils.config import parse_config, to_yaml
from pyutils.errors import InputError, nearest
from pyutils.files import PathLike

Arrays = Mapping[str, np.ndarray]
_YAML = "config.yaml"
_JSON = ("config.json", "model_config.json")  # Hugging Face, paddlenlp


class Pretrained:
    """Mixin of models. A model package fills in the five hooks below."""

    config_class: ClassVar[type]
    other_heads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read_tensors(cls, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """Hook: tensors of a weight file under our names, and regular expressions of what it rightly lacks."""
        raise NotImplementedError

    @classmethod
    def sizes(cls, tensors: Arrays) -> dict[str, Any]:
        """Hook: the configuration's fields that the shapes of `tensors` tell."""
        raise NotImplementedError

    @classmethod
    def from_foreign(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Hook: fields of our configuration from another code base's `config.json`."""
        raise NotImplementedError

    @classmethod
    def build(cls, config: Any, tensors: Arrays) -> Any:
        """Hook: a new model; the sizes of its heads are those in `tensors`."""
        raise NotImplementedError

    def own_config(self) -> Any:
        """Hook: the configuration this model was made from."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, source: PathLike, may_miss: Iterable[str] = (), **changes: Any) -> Any:
        """A model with the weights that `source` names, in evaluation mode.

        Args:
            source: a checkpoint folder, a weight file, or a name (`pyutils.weights.places.locate`), of ours or of any
                code base that the package has a map for. The configuration is the `config.yaml` or `config.json` beside
                the weights; without one, the sizes are read from the tensors.
            may_miss: regular expressions of our names that the file need not hold (a new head).
            changes: fields of the configuration to set otherwise, e.g. `hidden_dropout=0.0`.

        Raises:
            InputError: no such checkpoint, a damaged file, weights of another model, a configuration that does not fit
                the weights (the field is named).
        """
        from pyutils.engine.checkpoint import weight_file
        from pyutils.engine.loading import load_arrays
        from pyutils.weights.places import locate

        file = weight_file(locate(str(source)))
        tensors, lacking = cls.read_tensors(file)
        config = cls._config_for(file, tensors)
        _check_changes(config, changes)
        model = cls.build(replace(config, **changes), tensors)
        load_arrays(model, tensors, str(file), [*may_miss, *lacking], cls.other_heads)
        model.eval()
        return model

    def save_pretrained(
        self, folder: PathLike, vocabulary: PathLike | None = None, weights_format: str = "safetensors"
    ) -> None:
        """Write weights, `config.yaml` and, if given, the file `vocabulary` as a checkpoint folder.

        `weights_format`: "safetensors" or "pdparams". A folder that is there is replaced in one step; InputError when
        it cannot be written.
        """
        from pyutils.engine.checkpoint import save_checkpoint

        text = "model:\n" + textwrap.indent(to_yaml(self.own_config()), "  ")
        files = [Path(vocabulary)] if vocabulary is not None else []
        save_checkpoint(folder, self, text, files, weights_format=weights_format)

    @classmethod
    def _config_for(cls, file: Path, tensors: Arrays) -> Any:
        """The configuration beside `file`, checked against the tensors; without one, what their shapes tell."""
        sizes = cls.sizes(tensors)
        for path in (file.with_name(name) for name in (_YAML, *_JSON)):
            if path.is_file():
                config = cls._read_config(path)
                _check_sizes(config, sizes, path, file)
                return config
        return replace(cls.config_class(), **sizes)

    @classmethod
    def _read_config(cls, path: Path) -> Any:
        try:
            text = path.read_text(encoding="utf-8")
            values = yaml.safe_load(text) if path.name == _YAML else json.loads(text)
        except (ValueError, yaml.YAMLError, OSError) as error:
            raise InputError(f"{path}: cannot be read as {path.suffix[1:].upper()}: {error}") from error
        if not isinstance(values, Mapping):
            raise InputError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
        fields = values.get("model", values) if path.name == _YAML else cls.from_foreign(values)
        return parse_config(cls.config_class, yaml.safe_dump(fields), str(path))


def _check_sizes(config: Any, sizes: Mapping[str, Any], path: Path, file: Path) -> None:
    for field, found in sizes.items():
        if field == "num_heads":  # shapes do not tell
            continue
        told = getattr(config, field)
        if told != found:
            raise InputError(
                f"{path}: model.{field} is {told}, but the weights in {file.name} are made for {found}: take the "
                "configuration that was saved with them, or set the field to what they have"
            )


def _check_changes(config: Any, changes: Mapping[str, Any]) -> None:
    for field in changes:
        if not hasattr(config, field):
            raise InputError(f"unknown configuration field {field!r}: {nearest(field, vars(config))}")
