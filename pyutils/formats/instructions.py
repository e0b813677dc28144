"""The instructions of a pickle, read without following them: what building it would cost.

Two things a few bytes of pickle can do happen inside the unpickler, where nobody could stop them. A memo place with a
huge number takes memory for all places before it. A tuple that names one tuple twice, that one another one twice, and
so on for sixty levels, takes years to hash, which a dictionary does with each key.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from pyutils.errors import InputError

_SPARE_PLACES = 1024
_LARGEST_NUMBER = 1 << 60  # whole numbers below are their own hash: none can be chosen to collide
_LARGEST_IN_TUPLE = 1 << 31
_LONGEST_TUPLE = 4

# What is known of a value on the unpickler's stack. Only the first three may be keys.
_PLAIN, _NUMBER, _FLAT, _OTHER, _MARK = "text or small number", "number", "flat tuple", "anything", "mark"
_PLAIN_TYPES = (
    *(pickletools.pystring, pickletools.pyunicode, pickletools.pybytes, pickletools.pybytes_or_str),
    *(pickletools.pynone, pickletools.pybool),
)
_WHOLE_TYPES = (pickletools.pyint, pickletools.pylong, pickletools.pyinteger_or_bool)


def check(stream: BinaryIO, where: str) -> None:
    """Refuse a pickle that would cost more than its size accounts for; the place of `stream` stays.

    Keys of dictionaries and members of sets may be text, bytes, None, numbers (whole ones below 2^60), and tuples of at
    most four of these, with whole numbers below 2^31 only: hashes of others can be chosen to collide.

    Raises:
        InputError: another key, a memo place out of line with the number of things remembered, or a damaged pickle.
    """
    start, stack = stream.tell(), _Stack(where)
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            stack.follow(instruction, argument)
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, EOFError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{where}: not a whole pickle ({type(error).__name__}: {error}). Copy or download it again."
        ) from error
    stream.seek(start)


class _Stack:
    """The unpickler's stack and memo, with what is known of each value in its place."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._values: list[str] = []
        self._memo: dict[int, str] = {}
        self._remembered = 0

    def follow(self, instruction: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do to the stack what one instruction does. IndexError or KeyError where the pickle is damaged."""
        special = _SPECIAL.get(instruction.name)
        if special is not None:
            special(self, argument)
            return
        before, after = instruction.stack_before, instruction.stack_after
        if pickletools.markobject in before:
            self.to_mark()
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            self.pop()
        self._values += [_kind(made, argument) for made in after]

    def push(self, kind: str) -> None:
        self._values.append(kind)

    def pop(self) -> str:
        """The last value; IndexError where there is none above the last mark."""
        self._need_value()
        return self._values.pop()

    def pop_any(self, _: Any) -> None:
        """POP, which takes a mark away too."""
        if not self._values:
            raise IndexError("a value is missing")
        self._values.pop()

    def double(self, _: Any) -> None:
        kind = self.pop()
        self._values += [kind, kind]

    def to_mark(self) -> list[str]:
        """The values above the last mark, which goes with them."""
        values: list[str] = []
        while self._values and self._values[-1] != _MARK:
            values.append(self._values.pop())
        self.pop_any(None)
        return values[::-1]

    def remember(self, place: int | None) -> None:
        """`place`: None for the next free one."""
        self._need_value()
        self._remembered += 1
        if place is not None and place > 2 * self._remembered + _SPARE_PLACES:
            raise InputError(
                f"{self._where}: the pickle numbers its {self._remembered}th memo place {place}, which would take "
                "memory for all places before it; it was refused"
            )
        self._memo[len(self._memo) if place is None else place] = self._values[-1]

    def recall(self, place: int) -> None:
        self.push(self._memo[place])

    def tuple_of(self, kinds: list[str]) -> None:
        plain = len(kinds) <= _LONGEST_TUPLE and all(kind == _PLAIN for kind in kinds)
        self.push(_FLAT if plain else _OTHER)

    def members(self, _: Any) -> None:
        """ADDITEMS: the set stays."""
        self.hashed(self.to_mark())

    def frozen(self, _: Any) -> None:
        self.hashed(self.to_mark())
        self.push(_OTHER)

    def item(self, _: Any) -> None:
        """SETITEM: the dictionary stays."""
        self.pop()
        self.hashed([self.pop()])

    def items(self, _: Any) -> None:
        self.hashed(self.to_mark()[::2])

    def dictionary(self, _: Any) -> None:
        self.items(None)
        self.push(_OTHER)

    def hashed(self, kinds: list[str]) -> None:
        if _OTHER in kinds:
            self._refuse_key()

    def _need_value(self) -> None:
        if not self._values or self._values[-1] == _MARK:
            raise IndexError("a value is missing")

    def _refuse_key(self) -> NoReturn:
        raise InputError(
            f"{self._where}: the pickle holds something that is not plain data (a dictionary's key that is neither "
            "text nor a number nor a short tuple of these); it was refused"
        )


def _kind(made: pickletools.StackObject, argument: Any) -> str:
    """What is known of the value that an instruction makes of its argument alone."""
    if made is pickletools.markobject:
        return _MARK
    if made in _PLAIN_TYPES:
        return _PLAIN
    if made is pickletools.pyfloat:
        return _NUMBER
    if made in _WHOLE_TYPES and isinstance(argument, int):
        size = abs(argument)
        return _PLAIN if size < _LARGEST_IN_TUPLE else _NUMBER if size < _LARGEST_NUMBER else _OTHER
    return _OTHER


def _counted(count: int) -> Callable[[_Stack, Any], None]:
    """TUPLE1, TUPLE2 and TUPLE3."""
    return lambda stack, _: stack.tuple_of([stack.pop() for _ in range(count)])


def _specials() -> dict[str, Callable[[_Stack, Any], None]]:
    """What instructions do that hash, remember, or keep what is known of values."""
    table: dict[str, Callable[[_Stack, Any], None]] = {
        "DUP": _Stack.double,
        "POP": _Stack.pop_any,
        "MEMOIZE": _Stack.remember,
        "TUPLE": lambda stack, _: stack.tuple_of(stack.to_mark()),
        "EMPTY_TUPLE": _counted(0),
        "ADDITEMS": _Stack.members,
        "FROZENSET": _Stack.frozen,
        "SETITEM": _Stack.item,
        "SETITEMS": _Stack.items,
        "DICT": _Stack.dictionary,
    }
    table |= {f"TUPLE{count}": _counted(count) for count in (1, 2, 3)}
    table |= dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Stack.remember)
    return table | dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Stack.recall)


_SPECIAL = _specials()
