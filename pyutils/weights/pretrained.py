"""`Model.from_pretrained(folder or name)` and `model.save_pretrained(folder)`: configuration and vocabulary travel with
the weights, and a configuration that does not fit them is an error that names the field."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import numpy as np
import yaml

from pyutils.config import to_yaml
from pyutils.config.conversion import ConfigPath, convert
from pyutils.config.loading import parse_config
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike, check_replaceable

Arrays = Mapping[str, np.ndarray]
_YAML, _VOCABULARY = "config.yaml", "vocab.txt"
_FORMATS = ("safetensors", "pdparams")
_JSON = ("config.json", "model_config.json")  # Hugging Face, paddlenlp


class Pretrained:
    """Mixin of models. A model package fills in the hooks below. Fields of a configuration inside another are dotted.

    config_class: a dataclass. other_heads: regular expressions of names in a file that this model need not have.
    unchecked: fields that do not follow from shapes for certain, or that may differ from the file's. vocabulary: the
    vocab.txt that came with the weights, which `save_pretrained` copies.
    """

    config_class: ClassVar[type]
    other_heads: ClassVar[tuple[str, ...]] = ()
    unchecked: ClassVar[tuple[str, ...]] = ()
    vocabulary: Path | None = None

    @classmethod
    def read_tensors(cls, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """Hook: tensors of a weight file under our names, and regular expressions of what it rightly lacks."""
        raise NotImplementedError

    @classmethod
    def sizes(cls, tensors: Arrays) -> dict[str, Any]:
        """Hook: the configuration's fields that follow from the shapes of `tensors`."""
        raise NotImplementedError

    @classmethod
    def from_foreign(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Hook: fields of our configuration from another code base's `config.json`."""
        raise NotImplementedError

    @classmethod
    def build(cls: Any, config: Any, tensors: Arrays, **choice: Any) -> Any:
        """Hook: a new model; the sizes of its heads are those in `tensors`. `choice`: what a subclass lets one choose
        in its own `from_pretrained`."""
        return cls(config)

    @classmethod
    def fill(cls, model: Any, tensors: Arrays, origin: str, may_miss: list[str]) -> None:
        """Hook: put `tensors` of the file `origin` into `model`, strictly but for the names `may_miss`."""
        from pyutils.weights.loading import load_arrays

        load_arrays(model, tensors, origin, may_miss, cls.other_heads)

    def own_config(self) -> Any:
        """Hook: the configuration this model was made from."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, source: PathLike, may_miss: Iterable[str] = (), **changes: Any) -> Any:
        """A model with the weights that `source` names, in evaluation mode.

        Args:
            source: a checkpoint folder, a weight file, or a name (`resolve_weights`), of ours or of any
                code base that the package has a map for. The configuration is the `config.yaml` or `config.json` beside
                the weights; without one, the sizes are read from the tensors.
            may_miss: regular expressions of our names that the file need not hold (a new head).
            changes: fields of the configuration to set otherwise: `hidden_dropout=0.0`, `**{"vision.image_size": 384}`.

        Raises:
            InputError: no such checkpoint, a damaged file, weights of another model, a configuration that does not fit
                the weights (the field is named).
        """
        return cls._from_pretrained(source, may_miss, changes)

    @classmethod
    def _from_pretrained(
        cls, source: PathLike, may_miss: Iterable[str], changes: Mapping[str, Any], **choice: Any
    ) -> Any:
        from pyutils.weights.places import resolve_weights

        file = resolve_weights(source)
        tensors, lacking = cls.read_tensors(file)
        config = _changed(cls._config_for(file, tensors), changes)
        model = cls.build(config, tensors, **choice)
        cls.fill(model, tensors, str(file), [*may_miss, *lacking])
        model.eval()
        if file.with_name(_VOCABULARY).is_file():
            model.vocabulary = file.with_name(_VOCABULARY)
        return model

    def save_pretrained(
        self, folder: PathLike, vocabulary: PathLike | None = None, weights_format: str = "safetensors"
    ) -> None:
        """Write weights, `config.yaml` and the vocabulary (the file `vocabulary`; None: the one that came with the
        weights, if any) as a checkpoint folder.

        `weights_format`: "safetensors" or "pdparams". A previous checkpoint folder is replaced atomically.

        Raises:
            InputError: `folder` is a file, contains other files than a checkpoint's, or cannot be written; an unknown
                format; or `vocabulary` does not exist. A previous folder is intact then.
        """
        from pyutils.weights.checkpoint import METRICS_FILE, save_checkpoint
        from pyutils.weights.places import WEIGHT_FILES

        text = "model:\n" + textwrap.indent(to_yaml(self.own_config()), "  ")
        vocabulary = self.vocabulary if vocabulary is None else vocabulary
        files = [Path(vocabulary)] if vocabulary is not None else []
        if weights_format not in _FORMATS:
            raise InputError(f"unknown weights_format {weights_format!r}: {nearest(weights_format, _FORMATS)}")
        for path in files:
            if not path.is_file():
                raise InputError(f"{path}: no such vocabulary; give the vocab.txt that the model was trained with")
        known = (_YAML, METRICS_FILE, _VOCABULARY, *(path.name for path in files))
        check_replaceable(folder, WEIGHT_FILES, known, "a checkpoint")
        save_checkpoint(folder, self, text, files, weights_format=weights_format)

    @classmethod
    def _config_for(cls, file: Path, tensors: Arrays) -> Any:
        """The configuration beside `file`, checked against the tensors; without one, what follows from their shapes."""
        sizes = cls.sizes(tensors)
        for path in (file.with_name(name) for name in (_YAML, *_JSON)):
            if path.is_file():
                config = cls._read_config(path)
                open_fields = {field: size for field, size in sizes.items() if _is_open(config, field)}
                config = _with_fields(config, open_fields)
                cls._check_sizes(config, sizes, path, file)
                return config
        return _with_fields(cls.config_class(), sizes)

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

    @classmethod
    def _check_sizes(cls, config: Any, sizes: Mapping[str, Any], path: Path, file: Path) -> None:
        for field, found in sizes.items():
            written = _field(config, field)
            if field not in cls.unchecked and written != found:
                raise InputError(
                    f"{path}: model.{field} is {written}, but the weights in {file.name} have {found}: use the "
                    "configuration that was saved with them, or set the field to their value"
                )


def _field(config: Any, name: str) -> Any:
    """The value of a dotted field. InputError naming the nearest where there is none."""
    for part in name.split("."):
        if not is_dataclass(config) or part not in vars(config):
            known = vars(config) if is_dataclass(config) else ()
            raise InputError(f"unknown configuration field {part!r}: {nearest(part, known)}")
        config = getattr(config, part)
    return config


def _with_fields(config: Any, values: Mapping[str, Any]) -> Any:
    """`config` with other values of dotted fields, all at once: some are valid together only."""
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        _field(config, name)
        first, _, rest = name.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    nested = {first: _with_fields(getattr(config, first), fields) for first, fields in inner.items()}
    return replace(config, **own, **nested)


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """`_with_fields` of values that a caller gives: their types are checked as those of a file. InputError names the
    field."""
    typed = {}
    for name, value in changes.items():
        _field(config, name)
        owner, _, field = name.rpartition(".")
        hints = get_type_hints(type(_field(config, owner) if owner else config))
        typed[name] = convert(value, hints[field], ConfigPath((name,), {}, "from_pretrained"))
    return _with_fields(config, typed)


def _is_open(config: Any, field: str) -> bool:
    """True when the configuration leaves the size of the vocabulary to vocab.txt."""
    return field.rpartition(".")[2] == "vocab_size" and _field(config, field) == 0
