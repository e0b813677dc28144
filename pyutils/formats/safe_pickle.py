"""Read pickled data without executing it.

A pickle is a program: `pickle.load` calls whatever function the file names. Many annotation, feature and weight files
are pickles (object `.npy` files, `refs(unc).p`, LMDB values, `.pth`, `.pdparams`). This module reads them with an
unpickler that knows plain containers, scalars and NumPy arrays, refuses every other name before anything is called, and
never sets an attribute.

NumPy's own functions are not called either: they trust what the pickle says about memory (a forged data type can turn
bytes into pointers). Functions of `plain_values` replace them, check their arguments and build the array.

A few bytes of pickle can also ask for gigabytes or years: a huge memo index, a dictionary key made of tuples nested
sixty levels deep, one long text that is copied again and again. The unpickler bounds each of its own steps, so that
time and memory stay proportional to the size of the file; see `_Reader`.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tokenize
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.plain_values import (
    FUNCTIONS,
    DType,
    Misuse,
    NotRead,
    array_size,
    brief,
    checked_keys,
    enter,
    expect,
    fill,
)

_COPIES = 4  # protocol 2 stores bytes as text: reading an array copies its content twice
_UNUSED = (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER)
# NumPy reads the header of an array with Python's parser, which has errors of its own.
NPY_DAMAGE = (
    *(ValueError, EOFError, OSError, OverflowError, TypeError, KeyError, MemoryError, RecursionError),
    *(SyntaxError, tokenize.TokenError),
)
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(MemoryError, OverflowError, RecursionError, struct.error),
)


def load(
    source: bytes | memoryview | str | Path | BinaryIO,
    what: str | None = None,
    allowed: Mapping[str, Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the value of a pickle of dict, list, tuple, set, OrderedDict, numbers, text, bytes and NumPy arrays.

    Args:
        source: the pickle's bytes, its path, or an open binary file, which is read from its current position to the end
            of the pickle.
        what: how errors name the source; by default the path.
        allowed: further names that a pickle may use, as `module.name`, and the function that is called instead.
        persistent_load: resolves persistent identifiers (checkpoints keep their tensors outside the pickle).

    Raises:
        InputError: the pickle names anything else (nothing has been called then), is damaged, or would take more time
            or memory than its size accounts for.
    """
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as stream:
            return load(stream, what or str(source), allowed, persistent_load)
    where = str(what or getattr(source, "name", "pickled data"))
    binary = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
    try:
        return _Reader(binary, where, allowed or {}, persistent_load).load()
    except InputError:
        raise
    except Misuse as misuse:
        problem = misuse if isinstance(misuse, NotRead) else f"the pickle is not plain data ({misuse}); it was refused"
        raise InputError(f"{where}: {problem}") from None
    except _BROKEN as error:
        raise InputError(
            f"{where} cannot be read as pickled data ({type(error).__name__}: {error}): is it complete?"
        ) from error


def load_npy(path: str | Path) -> np.ndarray:
    """Return the array of a `.npy` file; `numpy.load(allow_pickle=True)` would execute an object array's pickle.

    Raises:
        InputError: the file is missing, truncated, not a `.npy` file, or contains a pickle that `load` refuses.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(stream)
            announced = f"its header announces an array {shape} of {dtype}"
            if dtype.hasobject:
                content = load(stream, str(path))
            else:
                # NumPy allocates what the header announces before it reads anything.
                needed, found = array_size(shape) * dtype.itemsize, os.fstat(stream.fileno()).st_size - stream.tell()
                expect(needed <= found, f"{announced}, {needed} bytes, but {found} follow; copy the file again")
                stream.seek(0)
                content = np.lib.format.read_array(stream, allow_pickle=False)
            same = isinstance(content, np.ndarray) and content.dtype == dtype and content.shape == shape
            expect(same, f"{announced}, but its content is another")
    except InputError:
        raise
    except (*NPY_DAMAGE, Misuse) as error:
        raise InputError(f"{path}: not a complete .npy file: {error}") from error
    return content


class _Reader(pickle._Unpickler):
    """Unpickler that looks names up in tables, sets no attributes, and bounds what each step may cost.

    Python's own implementation in Python, because the one in C cannot be bounded: it allocates every memo place below
    the largest index and hashes any key. Bounds:

    - keys: text, bytes, None, numbers below 2^60, and tuples of at most four of these with integers below 2^31. Others
      could be chosen to take years to hash (nested tuples) or to collide;
    - calls: the arguments of all calls together are at most `_COPIES` times as long as the pickle;
    - memo: indices up to the size of the pickle.
    """

    # Of the base class; its type stubs are those of the unpickler in C.
    memo: dict[int, Any]
    pop_mark: Callable[[], list]
    dispatch: ClassVar[dict] = {
        code: step for code, step in pickle._Unpickler.dispatch.items() if bytes([code]) not in _UNUSED
    }

    def __init__(
        self,
        stream: BinaryIO,
        where: str,
        allowed: Mapping[str, Any],
        persistent_load: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(stream, encoding="latin1")  # of text written by Python 2
        self._stream = stream
        self._where = where
        self._allowed = allowed
        self._persistent = persistent_load
        start = stream.tell()
        self._size = stream.seek(0, os.SEEK_END) - start
        self._may_copy = _COPIES * self._size
        stream.seek(start)

    def load(self) -> Any:
        """Run the pickle. Without the base class's layer for frames, which nearly doubles the time."""
        self.read, self.readline = self._stream.read, self._stream.readline
        self.metastack: list[list] = []
        self.stack: list = []
        self.append = self.stack.append
        self.proto = 0
        read, dispatch = self.read, self.dispatch
        try:
            while True:
                dispatch[read(1)[0]](self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a name. Raises InputError for a name outside the tables."""
        full = f"{module}.{name}"
        if full not in self._allowed and full not in FUNCTIONS:
            raise InputError(
                f"{self._where}: the pickle asks for {brief(full)}, which is not data; it was refused and nothing was "
                "executed. Do not load this file with other programs either unless you trust its author"
            )
        return self._allowed[full] if full in self._allowed else FUNCTIONS[full]

    def persistent_load(self, identifier: Any) -> Any:
        """Return an object kept outside the pickle."""
        expect(self._persistent, f"it refers to data outside itself, {brief(identifier)}")
        return self._persistent(identifier)  # type: ignore[misc]

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        expect(isinstance(arguments, tuple), "a call without a tuple of arguments")
        self._count(arguments)
        self.stack[-1] = function(*arguments)

    def _build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if isinstance(value, DType):
            value.set_state(state)
        elif type(value) is np.ndarray and value.shape == (0,) and value.dtype == np.int8:  # as `_reconstruct` made it
            self._count(state if isinstance(state, tuple) else ())
            fill(value, state)
        else:  # the state of state_dict() is its `_metadata`, which nothing needs
            expect(type(value) is OrderedDict, f"a state for {brief(value)}")

    def _count(self, arguments: Iterable[Any]) -> None:
        sized = (bytes, bytearray, str, list, tuple, dict)
        self._may_copy -= sum(len(argument) for argument in arguments if isinstance(argument, sized))
        expect(self._may_copy >= 0, "its content would grow beyond the size of the file")

    def _frame(self) -> None:
        self.read(8)  # the length of a frame, needed only by readers that buffer complete frames

    def _byte_array(self) -> None:
        # Not `bytearray(size)`, which writes zeros to all the memory that a damaged size asks for.
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def _put(self) -> None:
        self._remember(int(self.readline()))

    def _long_put(self) -> None:
        self._remember(int.from_bytes(self.read(4), "little"))

    def _remember(self, index: int) -> None:
        if not 0 <= index <= self._size:  # no `expect`: it would format its message for every index
            raise Misuse(f"memo index {brief(index)} in {self._size} bytes")
        self.memo[index] = self.stack[-1]

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        enter(self.stack[-1], [key, value])

    def _set_items(self) -> None:
        items = self.pop_mark()
        enter(self.stack[-1], items)

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.append(enter({}, items))

    def _add_items(self) -> None:
        items = self.pop_mark()
        expect(type(self.stack[-1]) is set, "members added to what is no set")
        self.stack[-1].update(checked_keys(items))

    def _frozen_set(self) -> None:
        members = self.pop_mark()  # before `append` is looked up: it changes with the mark
        self.append(frozenset(checked_keys(members)))

    dispatch |= {
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.BUILD[0]: _build,
        pickle.FRAME[0]: _frame,
        pickle.BYTEARRAY8[0]: _byte_array,
        pickle.PUT[0]: _put,
        pickle.LONG_BINPUT[0]: _long_put,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dictionary,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _frozen_set,
    }
