"""Open a collection of pairs from its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Union

from pyutils.data.annotations.albef import read_pretrain
from pyutils.data.pairs.arrow_pairs import ArrowPairs
from pyutils.data.pairs.pair import Pair, PairSource
from pyutils.data.pairs.tar_shards import TarShards
from pyutils.errors import InputError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class ListPairs(PairSource):
    """JSON lists of `{"image", "caption"}`, held in memory, for small sets; `image` is the path of an image file."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._table = read_pretrain(files)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index):
        record = self._table[index]
        return Pair(record.image, record.captions)

    def captions(self, index: int) -> tuple[str, ...]:
        return self._table[index].captions


_KINDS: dict[str, Callable[[Sequence[Path]], PairSource]] = {
    ".json": ListPairs,
    ".tar": TarShards,
    ".arrow": ArrowPairs,
}


def open_pairs(paths: Union[str, Path, Sequence[Union[str, Path]]]) -> PairSource:
    """Open the pairs of `.json` lists, `.tar` shards or `.arrow` files, all of one kind.

    A path may be a folder (all shards in it), contain `*`, or contain a range: `cc-{000..331}.tar`.

    Raises:
        InputError: nothing is found, kinds are mixed, or a file is damaged.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    files = [file for path in given for file in _files(str(path))]
    kinds = sorted({file.suffix for file in files})
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        raise InputError(
            f"{', '.join(map(str, given)) or 'no path'}: expected {', '.join(_KINDS)} files of one kind, found "
            f"{', '.join(kinds) or 'none'}"
        )
    return _KINDS[kinds[0]](files)


class Captions(Sequence[str]):
    """The first caption of each pair, read on access: the pool from which false captions are drawn."""

    def __init__(self, pairs: PairSource) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index):
        return self._pairs.captions(index)[0]


def _files(path: str) -> Iterator[Path]:
    for name in _expand_range(path):
        file = Path(name).expanduser()
        if file.is_dir():
            yield from sorted(entry for entry in file.iterdir() if entry.suffix in _KINDS)
        elif "*" in name:
            yield from sorted(file.parent.glob(file.name))
        elif file.is_file():
            yield file
        else:
            raise InputError(f"{file}: no such file; check that all shards were downloaded")


def _expand_range(path: str) -> list[str]:
    """Expand `a-{08..10}.tar` to a-08.tar, a-09.tar, a-10.tar."""
    match = _RANGE.search(path)
    if match is None:
        return [path]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [path[: match.start()] + f"{number:0{len(first)}d}" + path[match.end() :] for number in numbers]
