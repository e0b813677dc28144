"""Unpickling checkpoints: the allow-list of `pyutils.formats.safe_pickle`, with limits on what a pickle may cost.

A few bytes of pickle can ask for gigabytes or years: what the unpickler itself would do is checked beforehand
(`pyutils.formats.instructions`), and what functions copy, as one long text encoded again and again, is counted against
the size of the file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from pyutils.formats import instructions, safe_pickle
from pyutils.formats.safe_pickle import Misuse, StandIn, told

_REFUSED = ("set", "frozenset", "bytearray")


def load(
    stream: BinaryIO,
    where: str,
    size: int,
    allowed: Mapping[str, Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle at the place of `stream`, which is then behind it.

    Args:
        where: the file, for messages.
        size: bytes of the file: no more may be made by copying.
        allowed, persistent_load: as in `safe_pickle.load`.

    Raises:
        InputError: the pickle names anything that is not data (nothing has been called then), is damaged, or asks for
            more memory or time than the file can account for.
    """
    instructions.check(stream, where)
    return safe_pickle.load(stream, where, {**_limited(size), **(allowed or {})}, persistent_load)


class Budget:
    """Bytes that may still be made by copying: `size` of them at first."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, amount: int) -> None:
        """Use up `amount` bytes; Misuse when they are not left."""
        self.left -= amount
        if self.left < 0:
            raise Misuse("it would grow beyond the size of its file")


def _limited(size: int) -> dict[str, StandIn]:
    """Functions of `safe_pickle` that copy their argument, counted; those that no checkpoint needs, refused."""
    budget = Budget(size)

    def encode(text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise Misuse(f"encoding with {told(encoding)}")
        budget.take(len(text))
        return text.encode("latin1")

    def ordered(items: Any = ()) -> OrderedDict:
        if not isinstance(items, (list, tuple)) or not all(map(_is_entry, items)):
            raise Misuse("dictionary with unusual arguments")
        budget.take(len(items))
        return OrderedDict(items)

    def refuse(*_: Any) -> None:
        raise Misuse("a container that no checkpoint has")

    table = {"_codecs.encode": StandIn(encode), "collections.OrderedDict": StandIn(ordered)}
    return table | {f"{module}.{name}": StandIn(refuse) for module in ("builtins", "__builtin__") for name in _REFUSED}


def _is_entry(pair: Any) -> bool:
    """Whether an OrderedDict can be made of it, and its key hashed, in no time."""
    return isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], (str, bytes))
