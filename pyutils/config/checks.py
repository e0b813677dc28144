"""Checks of configuration values: each failure is an InputError naming the key, what is allowed and what was found.

For the `__post_init__` of a configuration class; keys are relative to it, and `pyutils.config.loading` puts the section
and the file or flag that gave the value before them:

    def __post_init__(self) -> None:
        check_transformer(self)
        at_least(self, 1, "max_positions")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NoReturn

from pyutils.errors import InputError, nearest

ACTIVATIONS = ("gelu", "relu", "swish", "tanh")
"""Names that `pyutils.layers.initializers.activation` knows; here so that a configuration loads without Paddle."""


class SettingError(InputError):
    """A value that a configuration cannot have. `keys`: the settings that do not fit, the one to blame first."""

    def __init__(self, message: str, *keys: str):
        super().__init__(message)
        self.keys = keys


def refuse(config: Any, key: str, expected: str, *with_keys: str) -> NoReturn:
    """Raise the SettingError `key: expected …, found …`; `with_keys` are other settings that `expected` speaks of."""
    raise SettingError(f"{key}: expected {expected}, found {getattr(config, key)!r}", key, *with_keys)


def at_least(config: Any, least: float, *keys: str) -> None:
    """Every one of `keys` must be `least` or more; None passes."""
    for key in keys:
        value = getattr(config, key)
        if value is not None and not value >= least:
            refuse(config, key, f"at least {least}")


def at_most(config: Any, most: float, *keys: str) -> None:
    """Every one of `keys` must be `most` or less; None passes."""
    for key in keys:
        value = getattr(config, key)
        if value is not None and not value <= most:
            refuse(config, key, f"at most {most}")


def above(config: Any, limit: float, *keys: str) -> None:
    """Every one of `keys` must be more than `limit`; None passes."""
    for key in keys:
        value = getattr(config, key)
        if value is not None and not value > limit:
            refuse(config, key, f"more than {limit}")


def share(config: Any, *keys: str) -> None:
    """Every one of `keys`, a number or several, must lie in 0 … 1, 1 excluded; None passes."""
    for key in keys:
        value = getattr(config, key)
        values = value if isinstance(value, (tuple, list)) else [value]
        if any(item is not None and not 0 <= item < 1 for item in values):
            refuse(config, key, "0 or more and less than 1")


def one_of(config: Any, key: str, known: Iterable[str]) -> None:
    """`key` must be one of the names `known`; the message lists them."""
    value, names = getattr(config, key), sorted(known)
    if value not in names:
        raise SettingError(f"{key}: expected {', '.join(names)}, found {value!r}: {nearest(value, names)}", key)


def multiple_of(config: Any, key: str, divisor: str) -> None:
    """`key` must be a multiple of the setting `divisor` (as a width is of the heads that share it)."""
    if getattr(config, key) % getattr(config, divisor):
        refuse(config, key, f"a multiple of {divisor} ({getattr(config, divisor)})", divisor)


def below(config: Any, key: str, limit: str) -> None:
    """`key` must be 0 or more and less than the setting `limit`."""
    if not 0 <= getattr(config, key) < getattr(config, limit):
        refuse(config, key, f"0 or more and less than {limit} ({getattr(config, limit)})", limit)


def check_transformer(config: Any) -> None:
    """What every transformer's sizes must fulfil: the settings of these names that `config` has.

    Counts (`hidden_size`, `num_heads`, `num_layers`, `intermediate_size`, `max_positions`, `token_types`) of at least
    1, `hidden_size` a multiple of `num_heads`, a known `hidden_act`, dropouts in [0, 1), `layer_norm_eps` above 0,
    `vocab_size` and `init_std` not negative. Raises SettingError.
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
