"""Checks of configuration values; a failure is an InputError with the key, the allowed values and the value found.

For the `__post_init__` of a configuration class. Keys are relative to it; `pyutils.config.loading` prefixes the section
and the file or flag that gave the value:

    def __post_init__(self) -> None:
        check_transformer(self)
        at_least(self, 1, "max_positions")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, NoReturn

from pyutils.errors import InputError, nearest

ACTIVATIONS = ("gelu", "relu", "swish", "tanh")
"""Names of `pyutils.layers.initializers.activation`; here so that a configuration loads without Paddle."""


class SettingError(InputError):
    """An invalid value of a configuration. `keys`: the settings that do not fit, the one to blame first."""

    def __init__(self, message: str, *keys: str):
        super().__init__(message)
        self.keys = keys


def refuse(config: Any, key: str, expected: str, *with_keys: str) -> NoReturn:
    """Raise the SettingError `key: expected …, found …`; `with_keys` are other settings that `expected` names."""
    raise SettingError(f"{key}: expected {expected}, found {getattr(config, key)!r}", key, *with_keys)


def _check(config: Any, keys: Iterable[str], fits: Callable[[Any], bool], expected: str) -> None:
    """Refuse every one of `keys` whose value, or one entry of it, does not fit; None passes."""
    for key in keys:
        value = getattr(config, key)
        values = value if isinstance(value, (tuple, list)) else [value]
        if not all(item is None or fits(item) for item in values):
            refuse(config, key, expected)


def at_least(config: Any, least: float, *keys: str) -> None:
    """Check that every one of `keys` is `least` or more; None passes."""
    _check(config, keys, lambda value: value >= least, f"at least {least}")


def at_most(config: Any, most: float, *keys: str) -> None:
    """Check that every one of `keys` is `most` or less; None passes."""
    _check(config, keys, lambda value: value <= most, f"at most {most}")


def above(config: Any, limit: float, *keys: str) -> None:
    """Check that every one of `keys` is more than `limit`; None passes."""
    _check(config, keys, lambda value: value > limit, f"more than {limit}")


def share(config: Any, *keys: str) -> None:
    """Check that every one of `keys`, a number or several, is in [0, 1); None passes."""
    _check(config, keys, lambda value: 0 <= value < 1, "0 or more and less than 1")


def regular_expressions(config: Any, *keys: str) -> None:
    """Check that every entry of `keys` (lists, or mappings with such keys) is a regular expression."""
    for key in keys:
        for pattern in getattr(config, key):
            try:
                re.compile(pattern)
            except re.error as error:
                refuse(config, key, f"regular expressions ({error} in {pattern!r})")


def one_of(config: Any, key: str, known: Iterable[str]) -> None:
    """Check that `key` is one of the names `known`; the message lists them."""
    value, names = getattr(config, key), sorted(known)
    if value not in names:
        raise SettingError(f"{key}: expected {', '.join(names)}, found {value!r}: {nearest(value, names)}", key)


def multiple_of(config: Any, key: str, divisor: str) -> None:
    """Check that `key` is a multiple of the setting `divisor` (a hidden size of the number of heads)."""
    if getattr(config, key) % getattr(config, divisor):
        refuse(config, key, f"a multiple of {divisor} ({getattr(config, divisor)})", divisor)


def below(config: Any, key: str, limit: str) -> None:
    """Check that `key` is 0 or more and less than the setting `limit`."""
    if not 0 <= getattr(config, key) < getattr(config, limit):
        refuse(config, key, f"0 or more and less than {limit} ({getattr(config, limit)})", limit)


def check_transformer(config: Any) -> None:
    """Check the sizes of a transformer: those of these settings that `config` has.

    Counts (`hidden_size`, `num_heads`, `num_layers`, `intermediate_size`, `max_positions`, `token_types`) of at least
    1, `hidden_size` a multiple of `num_heads`, a known `hidden_act`, dropouts in [0, 1), `layer_norm_eps` above 0,
    `vocab_size` and `init_std` not negative.
    """
    own = {item.name for item in fields(config)}

    def having(*names: str) -> list[str]:
        return [name for name in names if name in own]

    counts = ("hidden_size", "num_heads", "num_layers", "intermediate_size", "max_positions", "token_types")
    at_least(config, 1, *having(*counts))
    at_least(config, 0, *having("vocab_size", "init_std"))
    above(config, 0, *having("layer_norm_eps"))
    share(config, *having("hidden_dropout", "attention_dropout"))
    if {"hidden_size", "num_heads"} <= own:
        multiple_of(config, "hidden_size", "num_heads")
    if "hidden_act" in own:
        one_of(config, "hidden_act", ACTIVATIONS)
