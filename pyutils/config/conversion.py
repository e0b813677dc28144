"""Convert plain values (from YAML) to dataclasses after their type annotations.

Every failure is an InputError with the file, the dotted key, the expected type and the value found.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin, get_type_hints

from pyutils.config.checks import SettingError
from pyutils.errors import InputError, closest, nearest

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_UNIONS = (Union, getattr(types, "UnionType", Union))


class ConfigPath(NamedTuple):
    """Key path of a value, the files and flags that gave the keys, and the file in general."""

    keys: tuple[str, ...]
    origins: Mapping[tuple[str, ...], str]
    start: str

    def under(self, key: Any) -> ConfigPath:
        """Return the path of the entry `key` of this value."""
        return self._replace(keys=(*self.keys, str(key)))

    @property
    def text(self) -> str:
        """Start of a message: `configs/vqa.yaml: train.lr`."""
        return f"{self.origin}: {'.'.join(self.keys)}" if self.keys else self.origin

    @property
    def origin(self) -> str:
        """The file or flag that gave this value, or the nearest mapping around it."""
        for length in range(len(self.keys), 0, -1):
            if self.keys[:length] in self.origins:
                return self.origins[self.keys[:length]]
        return self.start


def is_config_class(annotation: Any) -> bool:
    """Return True for a dataclass (the class, not an instance)."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def type_name(annotation: Any) -> str:
    """Format `annotation` for messages: `int`, `list[str]`, `"relu" | "gelu"`, `float | null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin in _UNIONS:
        return " | ".join(type_name(item) for item in arguments)
    if origin is Literal:
        return " | ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in arguments)
    if annotation is Ellipsis:
        return "..."
    if origin is not None:
        return f"{origin.__name__}[{', '.join(type_name(item) for item in arguments)}]"
    return "anything" if annotation is Any else getattr(annotation, "__name__", str(annotation))


def convert(value: Any, annotation: Any, path: ConfigPath) -> Any:
    """Return `value` as an object of the type `annotation`, or raise InputError.

    Whole numbers are accepted as float and 1e4 as int. Nothing else is converted: no text to a number, no number to
    text or to true and false.
    """
    origin = get_origin(annotation)
    if annotation is Any:
        return value
    if is_config_class(annotation):
        return _dataclass(value, annotation, path)
    if origin in _UNIONS:
        return _union(value, annotation, path)
    if origin is Literal:
        if not any(value == item and type(value) is type(item) for item in get_args(annotation)):
            hint = closest(value, get_args(annotation)) if isinstance(value, str) else None
            _refuse(value, annotation, path, f'; did you mean "{hint}"?' if hint else "")
        return value
    if (origin or annotation) in (list, tuple):
        return _sequence(value, annotation, path)
    if (origin or annotation) is dict:
        return _mapping(value, annotation, path)
    return _scalar(value, annotation, path)


def _unknown_key(key: str, cls: type, path: ConfigPath) -> InputError:
    """Return the error for a key that `cls` does not have, with the nearest key at this level or any other."""
    here = [item.name for item in dataclasses.fields(cls) if item.init]
    prefix = "".join(f"{name}." for name in path.keys)
    found = closest(key, here)
    if found is None:
        deeper = [name for name in _dotted_keys(cls) if name.rpartition(".")[2] == key]
        found = deeper[0] if len(deeper) == 1 else None
    hint = f'did you mean "{prefix}{found}"?' if found else nearest(key, here)
    return InputError(f'{path.under(key).origin}: unknown key "{prefix}{key}": {hint}')


def _dotted_keys(cls: type) -> Iterator[str]:
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        yield item.name
        if is_config_class(hints[item.name]):
            yield from (f"{item.name}.{key}" for key in _dotted_keys(hints[item.name]))


def _refuse(value: Any, annotation: Any, path: ConfigPath, hint: str = "") -> NoReturn:
    expected = _PLAIN.get(annotation) or type_name(annotation)
    if annotation is str and isinstance(value, (bool, int, float)):
        hint = f'; put it in quotes: "{value}"'
    raise InputError(f"{path.text}: expected {expected}, found {value!r} ({type(value).__name__}){hint}")


def _dataclass(value: Any, cls: type, path: ConfigPath) -> Any:
    if isinstance(value, cls):
        return value
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise InputError(f"{path.text}: expected a mapping of settings, found {value!r} ({type(value).__name__})")
    hints = get_type_hints(cls)
    items = {item.name: item for item in dataclasses.fields(cls) if item.init}
    for key in value:
        if key not in items:
            raise _unknown_key(str(key), cls, path)
    for name, item in items.items():
        if name not in value and item.default is MISSING and item.default_factory is MISSING:
            doc = item.metadata.get("doc", "")
            raise InputError(f"{path.under(name).text}: missing, give {type_name(hints[name])}: {doc}".rstrip(": "))
    arguments = {key: convert(entry, hints[key], path.under(key)) for key, entry in value.items()}
    try:
        return cls(**arguments)
    except ValueError as error:
        raise InputError(_refused(error, items, path)) from error


def _refused(error: ValueError, known: Iterable[str], path: ConfigPath) -> str:
    """Return the message of a configuration class's own check, prefixed by the files and flags that set its keys.

    The keys are those of a SettingError, else the first word of the message. All are relative to the class.
    """
    named = error.keys if isinstance(error, SettingError) else re.findall(r"^[\w.]*", str(error))
    at = [path._replace(keys=(*path.keys, *key.split("."))) for key in named if key.partition(".")[0] in known]
    if not at:
        return f"{path.text}: {error}"
    given = [item for item in at if item.keys in path.origins] or at[:1]
    section = "".join(f"{key}." for key in path.keys)
    return f"{', '.join(dict.fromkeys(item.origin for item in given))}: {section}{error}"


def _union(value: Any, annotation: Any, path: ConfigPath) -> Any:
    if value is None and type(None) in get_args(annotation):
        return None
    members = [item for item in get_args(annotation) if item is not type(None)]
    # The member of the value's own type goes first, so that 1 stays an int under Union[float, int].
    for member in sorted(members, key=lambda item: item is not type(value)):
        # With a single type, or a section, the error of the value itself says more than that no type fits.
        if len(members) == 1 or (is_config_class(member) and isinstance(value, Mapping)):
            return convert(value, member, path)
        with suppress(InputError):
            return convert(value, member, path)
    return _refuse(value, annotation, path)


def _sequence(value: Any, annotation: Any, path: ConfigPath) -> Any:
    kind = get_origin(annotation) or annotation
    if not isinstance(value, (list, tuple)):
        _refuse(value, annotation, path)
    arguments = get_args(annotation) or (Any, Ellipsis)
    if kind is list or arguments[-1] is Ellipsis:
        types_ = [arguments[0]] * len(value)
    elif len(arguments) == len(value):
        types_ = list(arguments)
    else:
        _refuse(value, annotation, path, f": {len(arguments)} entries are needed, {len(value)} are given")
    return kind(convert(entry, item, path.under(index)) for index, (entry, item) in enumerate(zip(value, types_)))


def _mapping(value: Any, annotation: Any, path: ConfigPath) -> dict:
    if not isinstance(value, Mapping):
        _refuse(value, annotation, path)
    key_type, value_type = get_args(annotation) or (Any, Any)
    return {convert(key, key_type, path): convert(entry, value_type, path.under(key)) for key, entry in value.items()}


def _scalar(value: Any, annotation: Any, path: ConfigPath) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is float and number:
        return float(value)
    if annotation is int and number and float(value).is_integer():
        return int(value)
    if annotation is Path and isinstance(value, (str, Path)):
        return Path(value)
    if annotation in (bool, str) and isinstance(value, annotation):
        return value
    return _refuse(value, annotation, path)
