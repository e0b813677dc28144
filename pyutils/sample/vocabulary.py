"""A WordPiece vocabulary made from the words of a small data set."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path

from pyutils.formats.atomic import atomic_write

# Ids of the special pieces in BERT's own vocabularies: weights and code that rely on them keep working.
_SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


def write_vocabulary(path: Path, texts: Iterable[str]) -> None:
    """Write a `vocab.txt` for lower-cased `texts`: specials where BERT has them, punctuation, letters, words.

    Letters and digits are also `##` pieces, so that an unseen word is spelt, not unknown.
    """
    words = {word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())}
    unused = iter(range(99))
    pieces = [_SPECIALS.get(number) or f"[unused{next(unused)}]" for number in range(104)]
    characters = string.digits + string.ascii_lowercase
    pieces += [*string.punctuation, *characters, *(f"##{character}" for character in characters)]
    pieces += sorted(words - set(characters))
    with atomic_write(path) as stream:
        stream.write("\n".join(pieces) + "\n")
