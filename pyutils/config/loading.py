"""Read YAML files into nested dataclasses, and write them back.

A configuration class is a dataclass whose fields are made by `setting`, which carries the line of documentation:

    @dataclass(frozen=True)
    class OptimizerConfig:
        lr: float = setting(2e-5, "Peak learning rate.")
        betas: tuple[float, float] = setting((0.9, 0.999), "Decay rates of the two moments.")

    @dataclass(frozen=True)
    class TrainConfig:
        optimizer: OptimizerConfig = setting(OptimizerConfig, "The optimizer.")

Field types: bool, int, float, str, Path, Any, Literal, Optional and Union of these, list, tuple, dict, and nested
dataclasses (write `Optional[X]`, not `X | None`: the annotations are evaluated in Python 3.9 too). A file may name
others in `base:` (one path or a list, relative to the file); they are read first and the file's own entries are merged
over them, mapping by mapping. Command-line values come last.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from pyutils.config.conversion import ConfigPath, convert, is_config_class, type_name
from pyutils.config.renamed import Renamed, with_new_names
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.formats.yaml_text import dump_yaml, parse_yaml, scalar_text

T = TypeVar("T")
REQUIRED: Any = object()
BASE_KEY = "base"


def setting(default: Any, doc: str) -> Any:
    """Define a dataclass field with one line of documentation.

    `default` may be a list, a dict or a dataclass instance (copied for every object), a dataclass (its own defaults),
    or `REQUIRED`: the field must then come before those with a default, and the file must give it.
    """
    metadata = {"doc": " ".join(doc.split())}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, (list, dict)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Override(NamedTuple):
    """One value from the command line: dotted key, parsed value, and the flag as typed, for messages."""

    key: str
    value: Any
    origin: str

    @classmethod
    def parse(cls, text: str) -> Override:
        """Parse `train.optimizer.lr=1e-5`; the value is YAML, and no value (`init=`) the empty text."""
        key, equals, value = text.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise InputError(f"--set {text}: expected key=value, e.g. --set train.optimizer.lr=1e-5")
        return cls(key.strip(), parse_yaml(value, f"--set {text}") if value.strip() else "", f"--set {text}")


class SettingRow(NamedTuple):
    """One line of a configuration's documentation: dotted key, type, default as YAML, text."""

    key: str
    type: str
    default: str
    doc: str


def load_config(cls: type[T], path: PathLike | None, overrides: Iterable[Override | str] = ()) -> T:
    """Load the YAML file `path` (None: the defaults) with `overrides` (`"a.b=c"`) on top.

    Raises:
        InputError: no such file, not YAML, an unknown or repeated key, a value of another type, a missing required key,
            a `base:` that includes itself.
    """
    old = getattr(cls, "renamed_keys", {})
    tree, origins = ({}, {}) if path is None else _read(Path(path), (), old)
    start = str(path) if path is not None else "the defaults"
    for override in overrides:
        _apply(override if isinstance(override, Override) else Override.parse(override), tree, origins, old)
    return convert(tree, cls, ConfigPath((), origins, start))


def read_tree(path: PathLike) -> dict:
    """Read the YAML file `path` and its `base:` files as plain values. Raises InputError as `load_config`."""
    return _read(Path(path), (), {})[0]


def parse_config(cls: type[T], text: str, name: str = "configuration") -> T:
    """Load a configuration from the YAML `text` without `base:`; `name` is the file name in messages."""
    tree = with_new_names(parse_mapping(text, name), getattr(cls, "renamed_keys", {}), name)
    return convert(tree, cls, ConfigPath((), {}, name))


def to_dict(config: Any) -> Any:
    """Convert a configuration to plain dicts, lists and scalars, in the order of its fields."""
    if dataclasses.is_dataclass(config):
        return {item.name: to_dict(getattr(config, item.name)) for item in dataclasses.fields(config) if item.init}
    if isinstance(config, Mapping):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def to_yaml(config: Any) -> str:
    """Format a configuration as YAML with every key; `parse_config(type(config), text)` restores it."""
    return dump_yaml(to_dict(config))


def describe(cls: type) -> list[SettingRow]:
    """List the keys of the configuration class `cls`, nested ones dotted, in the order of the fields."""
    rows = []
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        nested = _nested_class(hints[item.name])
        doc = item.metadata.get("doc", "")
        if nested is None or get_origin(hints[item.name]) is Union:
            rows.append(SettingRow(item.name, type_name(hints[item.name]), _default_text(item), doc))
        if nested is not None:
            rows += [row._replace(key=f"{item.name}.{row.key}") for row in describe(nested)]
    return rows


def _nested_class(annotation: Any) -> Optional[type]:
    """Return the configuration class that `annotation` is or makes optional."""
    return next((item for item in (annotation, *get_args(annotation)) if is_config_class(item)), None)


def _default_text(item: dataclasses.Field) -> str:
    if item.default_factory is not MISSING:
        return scalar_text(to_dict(item.default_factory()))
    return "required" if item.default is MISSING else scalar_text(to_dict(item.default))


def parse_mapping(text: str, name: str) -> dict:
    """Parse the YAML `text` of the file `name` as plain values; {} for an empty one.

    Raises:
        InputError: not YAML, or not a mapping.
    """
    tree = parse_yaml(text, name)
    if not isinstance(tree, (dict, type(None))):
        raise InputError(f"{name}: expected a mapping of keys to values, found {type(tree).__name__}")
    return tree or {}


def _read(
    path: Path, including: tuple[Path, ...], renamed: Mapping[str, Renamed]
) -> tuple[dict, dict[tuple[str, ...], str]]:
    """Return the merged tree of `path` and its bases, and the file that gave each key path."""
    resolved = path.resolve()
    if resolved in including:
        raise InputError(f"{path}: `{BASE_KEY}` includes itself: {' -> '.join(map(str, (*including, resolved)))}")
    own = parse_mapping(_read_text(path, including), str(path))
    bases = own.pop(BASE_KEY, None) or []
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(item, str) for item in bases):
        raise InputError(f"{path}: {BASE_KEY}: expected a path or a list of paths, found {bases!r}")
    own = with_new_names(own, renamed, str(path))
    tree: dict = {}
    origins: dict[tuple[str, ...], str] = {}
    for item in bases:
        base_tree, base_origins = _read(path.parent / item, (*including, resolved), renamed)
        _merge(tree, base_tree)
        origins.update(base_origins)
    _merge(tree, own)
    origins.update({key: str(path) for key in _key_paths(own)})
    return tree, origins


def _read_text(path: Path, including: tuple[Path, ...]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent
        found = [item.name for item in folder.glob("*.y*ml")]
        asked = f"{including[-1]}: {BASE_KEY}: " if including else ""
        hint = nearest(path.name, found) if found else f"{folder} holds no YAML file"
        raise InputError(f"{asked}no configuration file {path}; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a text file: {error}") from error


def _merge(target: dict, source: dict) -> None:
    """Merge `source` into `target`: mappings key by key, every other value replaces the earlier one."""
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def _key_paths(tree: dict, prefix: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    for key, value in tree.items():
        yield (*prefix, str(key))
        if isinstance(value, dict):
            yield from _key_paths(value, (*prefix, str(key)))


def _apply(override: Override, tree: dict, origins: dict[tuple[str, ...], str], renamed: Mapping[str, Renamed]) -> None:
    """Put one command-line value into `tree`; a mapping is merged like that of a file."""
    value: Any = override.value
    for name in reversed(override.key.split(".")):
        value = {name: value}
    value = with_new_names(value, renamed, override.origin)
    _merge(tree, value)
    for path in _key_paths(value):
        # The sections around the key stay with the file: the flag did not set their other entries.
        if path not in origins or not isinstance(_at(value, path), dict):
            origins[path] = override.origin


def _at(tree: dict, path: tuple[str, ...]) -> Any:
    return reduce(dict.__getitem__, path, tree)
