"""Published vocabularies, for machines without paddlenlp: downloaded by name into the directory that paddlenlp uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyutils.download.published import addresses
from pyutils.download.transfer import Patience, fetch
from pyutils.download.transport import DownloadError

CACHE = Path("~/.paddlenlp/models")


@dataclass(frozen=True)
class Vocabulary:
    """A published `vocab.txt`: its URL, size in bytes and hexadecimal sha256."""

    url: str
    size: int
    sha256: str


VOCABULARIES = {
    "bert-base-uncased": Vocabulary(
        "https://huggingface.co/bert-base-uncased/resolve/main/vocab.txt",
        231508,
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
}


def vocabulary_file(name: str) -> Path:
    """Return where the vocabulary of the model `name` is in the cache, whether it is there or not."""
    return CACHE.expanduser() / name / "vocab.txt"


def download_vocabulary(name: str) -> Path:
    """Download the vocabulary of the model `name`, one of `VOCABULARIES`, into the cache and return its path.

    Raises:
        DownloadError: offline, no network, or not the published file.
    """
    known = VOCABULARIES[name]
    sources = addresses(known.url, name)
    if not sources:
        raise DownloadError(f"PYUTILS_OFFLINE forbids the download of {known.url}")
    # A small file that somebody waits for: give up soon.
    return fetch(sources, vocabulary_file(name), known.size, known.sha256, patience=Patience(attempts=2, timeout=10))
