"""A WordPiece vocabulary made from the words of a small data set."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path

from pyutils.formats.atomic import atomic_write

# Positions of the special pieces in BERT's own vocabularies: weights and code that count on them keep working.
_SPECIALS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


def build_vocabulary(texts: Iterable[str]) -> list[str]:
    """Pieces for lower-cased `texts`: specials where BERT has them, punctuation, letters, words.

    Letters and digits are there as whole pieces and as `##` pieces, so that an unseen word is spelt, not unknown.
    """
    words = {word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())}
    unused = iter(range(99))
    pieces = [_SPECIALS.get(place) or f"[unused{next(unused)}]" for place in range(104)]
    characters = string.digits + string.ascii_lowercase
    pieces += [*string.punctuation, *characters, *(f"##{character}" for character in characters)]
    return pieces + sorted(words - set(characters))


def write_vocabulary(path: Path, texts: Iterable[str]) -> list[str]:
    """Write `build_vocabulary(texts)` as a `vocab.txt`, one piece a line, and return it."""
    pieces = build_vocabulary(texts)
    with atomic_write(path) as stream:
        stream.write("\n".join(pieces) + "\n")
    return pieces
