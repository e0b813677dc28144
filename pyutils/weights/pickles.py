"""Unpickling checkpoints: the allow-list of `pyutils.data.safe_pickle`, with limits on what a pickle may cost.

A few bytes of pickle can ask for gigabytes: a memo place with a huge number, or one long text encoded again and again.
Both are met here: memo places must be in line with the number of things remembered, and what functions copy is counted
against the size of the file.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from pyutils.data import safe_pickle
from pyutils.data.safe_pickle import Misuse, StandIn
from pyutils.errors import InputError

_MEMO = {"PUT", "BINPUT", "LONG_BINPUT"}
_SPARE_PLACES = 1024
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
            more memory than the file can account for.
    """
    check_memo(stream, where)
    return safe_pickle.load(stream, where, {**_limited(size), **(allowed or {})}, persistent_load)


def check_memo(stream: BinaryIO, where: str) -> None:
    """Read the pickle's instructions without following them; the place of `stream` stays. InputError as in `load`."""
    start, remembered = stream.tell(), 0
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name == "MEMOIZE":
                remembered += 1
            elif instruction.name in _MEMO:
                remembered += 1
                if argument > 2 * remembered + _SPARE_PLACES:
                    raise InputError(
                        f"{where}: the pickle numbers its {remembered}th memo place {argument}, which would take "
                        "memory for all places before it; it was refused"
                    )
    except InputError:
        raise
    except (ValueError, EOFError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where}: not a whole pickle ({type(error).__name__}: {error}). Copy or download it again."
        ) from error
    stream.seek(start)


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
            raise Misuse(f"encoding with {encoding!r}")
        budget.take(len(text))
        return text.encode("latin1")

    def ordered(items: Any = ()) -> OrderedDict:
        if not isinstance(items, (list, tuple)):
            raise Misuse("dictionary with unusual arguments")
        budget.take(len(items))
        return OrderedDict(items)

    def refuse(*_: Any) -> None:
        raise Misuse("a container that no checkpoint has")

    table = {"_codecs.encode": StandIn(encode), "collections.OrderedDict": StandIn(ordered)}
    return table | {f"{module}.{name}": StandIn(refuse) for module in ("builtins", "__builtin__") for name in _REFUSED}
