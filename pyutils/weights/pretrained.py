"""`Model.from_pretrained` and `model.save_pretrained` (`pyutils.packages.PretrainedModel`).

Configuration and vocabulary are saved with the weights; a configuration that does not fit them is an error that names
the field.
"""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from pyutils.config import to_yaml
from pyutils.config.loading import parse_config
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike, check_replaceable
from pyutils.formats.yaml_text import dump_yaml, parse_yaml
from pyutils.text.tokenizer import WordPiece, load_tokenizer
from pyutils.weights import registry
from pyutils.weights.checkpoint import CONFIG_FILE, METRICS_FILE, save_checkpoint
from pyutils.weights.hubs import upload_folder
from pyutils.weights.loading import load_arrays
from pyutils.weights.places import WEIGHT_FILES, resolve_weights

Arrays = Mapping[str, np.ndarray]
_VOCABULARY = "vocab.txt"
_FORMATS = ("safetensors", "pdparams")
_JSON = ("config.json", "model_config.json")  # Hugging Face, paddlenlp


class PretrainedIO:
    """Loads and saves the models of a package, which fills in the hooks. Fields of a nested configuration are dotted.

    config_class: a dataclass. other_heads: regular expressions of names in a file that a model may lack. unchecked:
    fields that do not follow from shapes for certain, or that may differ from the file's. build_arguments:
    keywords of `from_pretrained` that are arguments of `build`, not fields of the configuration. tokenizer_options: of
    `WordPiece`.
    """

    config_class: ClassVar[type]
    other_heads: ClassVar[tuple[str, ...]] = ()
    unchecked: ClassVar[tuple[str, ...]] = ()
    build_arguments: ClassVar[tuple[str, ...]] = ()
    tokenizer_options: ClassVar[Mapping[str, bool]] = {}

    def read_tensors(self, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """Hook: tensors of a weight file under our names, and regular expressions of names that it may lack."""
        raise NotImplementedError

    def sizes(self, model_class: type, tensors: Arrays) -> dict[str, Any]:
        """Hook: the configuration's fields that follow from the shapes of `tensors`."""
        raise NotImplementedError

    def from_foreign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Hook: fields of our configuration from another code base's `config.json`."""
        raise NotImplementedError

    def build(self, model_class: Any, config: Any, tensors: Arrays, **arguments: Any) -> Any:
        """Hook: a new model; the sizes of its heads are those in `tensors`."""
        return model_class(config)

    def fill(self, model: Any, tensors: Arrays, origin: str, may_miss: list[str]) -> None:
        """Hook: load `tensors` of the file `origin` into `model`, strictly but for the names `may_miss`."""
        load_arrays(model, tensors, origin, may_miss, self.other_heads)

    def load(self, model_class: Any, source: PathLike, may_miss: Iterable[str] = (), **changes: Any) -> Any:
        """`from_pretrained` of `model_class`."""
        file = resolve_weights(source)
        tensors, lacking = self.read_tensors(file)
        arguments = {name: changes.pop(name) for name in self.build_arguments if name in changes}
        config = with_fields(self.config_for(model_class, file, tensors), changes, "from_pretrained")
        model = self.build(model_class, config, tensors, **arguments)
        self.fill(model, tensors, str(file), [*may_miss, *lacking])
        model.eval()
        if file.with_name(_VOCABULARY).is_file():
            model.vocabulary = file.with_name(_VOCABULARY)
        if not Path(source).exists():
            model.published = registry.known_name(str(source)) or ""
        return model

    def tokenizer_of(self, model: Any) -> WordPiece:
        """`tokenizer` of `model`."""
        if model.vocabulary is None and model.published:
            registry.download_files(model.published)
            model.vocabulary = registry.find(model.published).folder / _VOCABULARY
        if model.vocabulary is None:
            raise InputError("no vocab.txt came with the weights; set model.vocabulary to the path of theirs")
        tokenizer = load_tokenizer(model.vocabulary, **self.tokenizer_options)
        words = next(size for name, size in self.sizes(type(model), _arrays(model)).items() if _is_vocabulary(name))
        if tokenizer.vocab_size > words:
            raise InputError(f"{model.vocabulary}: {tokenizer.vocab_size} pieces, but the model has {words} words")
        return tokenizer

    def push(self, model: Any, repository: str, private: bool, **options: Any) -> str:
        """`push_to_hub` of `model`."""
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(Path(folder) / "model", **options)
            return upload_folder(Path(folder) / "model", repository, private)

    def save(self, model: Any, folder: PathLike, vocabulary: PathLike | None, weights_format: str) -> None:
        """`save_pretrained` of `model`."""
        if weights_format not in _FORMATS:
            raise InputError(f"unknown weights_format {weights_format!r}: {nearest(weights_format, _FORMATS)}")
        files = [Path(path) for path in (vocabulary or model.vocabulary,) if path]
        if files and not files[0].is_file():
            raise InputError(f"{files[0]}: no such vocabulary; give the vocab.txt that the model was trained with")
        known = (CONFIG_FILE, METRICS_FILE, _VOCABULARY, *(path.name for path in files))
        check_replaceable(folder, WEIGHT_FILES, known, "a checkpoint")
        text = "model:\n" + textwrap.indent(to_yaml(model.config), "  ")
        save_checkpoint(folder, model, text, files, weights_format=weights_format)

    def config_for(self, model_class: type, file: Path, tensors: Arrays, base: Any = None) -> Any:
        """Return the configuration beside `file`, checked against its `tensors`; without one, `base` (None: defaults)
        with the fields that follow from shapes. Raises InputError for a field that does not fit."""
        sizes = self.sizes(model_class, tensors)
        path = next((path for path in map(file.with_name, (CONFIG_FILE, *_JSON)) if path.is_file()), None)
        if path is None:
            return with_fields(base or self.config_class(), sizes, str(file))
        config = self._read_config(path)
        # 0 leaves the size of the vocabulary to vocab.txt.
        open_fields = [name for name in sizes if _is_vocabulary(name) and not _field(config, name)]
        config = with_fields(config, {name: sizes[name] for name in open_fields}, str(path))
        for field, found in sizes.items():
            written = _field(config, field)
            if field not in self.unchecked and written != found:
                raise InputError(
                    f"{path}: model.{field} is {written}, but the weights in {file.name} have {found}: use the "
                    "configuration that was saved with them, or set the field to their value"
                )
        return config

    def _read_config(self, path: Path) -> Any:
        try:
            text = path.read_text(encoding="utf-8")
            values = yaml.safe_load(text) if path.name == CONFIG_FILE else json.loads(text)
        except (ValueError, yaml.YAMLError, OSError) as error:
            raise InputError(f"{path}: cannot be read as {path.suffix[1:].upper()}: {error}") from error
        if not isinstance(values, Mapping):
            raise InputError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
        fields = values.get("model", values) if path.name == CONFIG_FILE else self.from_foreign(values)
        return parse_config(self.config_class, yaml.safe_dump(fields), str(path))


def _is_vocabulary(field: str) -> bool:
    return field.rpartition(".")[2] == "vocab_size"


def _arrays(model: Any) -> Arrays:
    """Return the tensors of a model by name; `sizes` reads their shapes only."""
    return model.state_dict()


def _field(config: Any, name: str) -> Any:
    """Return the value of a dotted field."""
    return reduce(getattr, name.split("."), config)


def with_fields(config: Any, values: Mapping[str, Any], origin: str) -> Any:
    """Return `config` with other values of dotted fields, all at once: some are valid together only.

    They are checked as those of a file are: InputError names `origin` and the field.
    """
    if not values:
        return config
    tree = parse_yaml(to_yaml(config), origin)
    for name, value in values.items():
        *sections, field = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[field] = value
    return parse_config(type(config), dump_yaml(tree), origin)
