"""Published checkpoints by name: description, sources, and download into the cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pyutils.download.progress import human_size
from pyutils.download.transfer import fetch
from pyutils.download.transport import DownloadError
from pyutils.download.verify import Expected
from pyutils.errors import InputError, nearest

TABLE = Path(__file__).with_name("registry.yaml")
BUNDLED = Path(__file__).with_name("bundled")
"""Small checkpoint folders that are part of the package; `bundle.py` writes them."""
BUNDLED_FILE = "model.safetensors"
MODELS_HOME = Path("~/.paddlenlp/models")
OFFLINE, MIRRORS, HUB = "PYUTILS_OFFLINE", "PYUTILS_MIRRORS", "HF_ENDPOINT"
_HUB_ADDRESS = "https://huggingface.co"


@dataclass(frozen=True)
class Source:
    """A URL, and the size (bytes) and hexadecimal sha256 of its file where they are known."""

    url: str
    size: int | None = None
    sha256: str | None = None

    @property
    def file(self) -> str:
        """File name in the cache."""
        return urlsplit(self.url).path.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """A known checkpoint.

    model: the architecture whose tensor names it has ("bert", "vit", a model package's). by_hand: instructions where no
    source can be downloaded directly. bundled: it is in BUNDLED.
    """

    name: str
    about: str
    model: str
    licence: str = "not stated"
    sources: tuple[Source, ...] = ()
    by_hand: str = ""
    bundled: bool = False

    @property
    def folder(self) -> Path:
        """Its folder: of the package, or in the cache."""
        return BUNDLED / self.name if self.bundled else MODELS_HOME.expanduser() / self.name


@lru_cache(maxsize=1)
def entries() -> Mapping[str, Entry]:
    """Return all known checkpoints by name."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: _entry(name, row) for name, row in table.items() if not row.get("template")}


def find(name: str) -> Entry:
    """Return the entry `name`. InputError with the nearest known name for an unknown one."""
    if name not in entries():
        raise InputError(f"unknown checkpoint {name!r}: {nearest(name, entries())}")
    return entries()[name]


def download(name: str, accept_mismatch: bool = False) -> Path:
    """Return the weight file of `name`, downloaded into the cache unless it is already there.

    Mirrors in PYUTILS_MIRRORS (URLs or directories with `<name>/<file>`) are tried first; HF_ENDPOINT replaces the URL
    of the Hugging Face hub. With PYUTILS_OFFLINE only local mirrors are used.

    Raises:
        InputError: an unknown name, no source, no network, another size or checksum than the known one, a full disk.
            The message says which file to put where by hand.
    """
    entry = find(name)
    if entry.bundled:
        return _bundled_file(entry)
    for source in entry.sources:
        if _is_complete(entry.folder / source.file, source, accept_mismatch):
            return entry.folder / source.file
    if not entry.sources:
        hint = entry.by_hand or "no public source is known"
        raise InputError(f"{name} cannot be downloaded: {hint}; put the file into {entry.folder}")
    offline = os.environ.get(OFFLINE, "") not in ("", "0")
    errors = []
    for source in entry.sources:
        addresses = _addresses(entry, source)
        if offline:
            addresses = [address for address in addresses if urlsplit(address).scheme.lower() in ("", "file")]
        try:
            if addresses:
                target = entry.folder / source.file
                return fetch(addresses, target, source.size, source.sha256, accept_mismatch=accept_mismatch)
        except DownloadError as error:
            errors.append(str(error))
    why = f"is not in the cache and {OFFLINE} forbids downloads" if offline else "could not be downloaded"
    files = [f"  {source.url} → {entry.folder / source.file}" for source in entry.sources]
    raise InputError("\n".join([f"{name} {why}:", *errors, "Download one of these by hand:", *files]))


def describe() -> str:
    """Return all known checkpoints as a Markdown table."""
    lines = ["| name | what | size | licence | downloaded |", "|---|---|---|---|---|"]
    for entry in entries().values():
        known = (entry.folder / BUNDLED_FILE).stat().st_size if entry.bundled else None
        size = human_size(known) if known else next((human_size(s.size) for s in entry.sources if s.size), "?")
        present = "yes" if entry.folder.is_dir() and any(entry.folder.iterdir()) else ""
        lines.append(f"| {entry.name} | {entry.about} | {size} | {entry.licence} | {present} |")
    return "\n".join(lines)


def _bundled_file(entry: Entry) -> Path:
    file = entry.folder / BUNDLED_FILE
    if not file.is_file():
        raise InputError(f"{file} is missing, though it is part of this package: install it again, or restore the file")
    return file


def _entry(name: str, row: Mapping[str, Any]) -> Entry:
    sources = tuple(Source(**{**item, "url": item["url"].format(name=name)}) for item in row.get("sources", ()))
    kept = {key: value for key, value in row.items() if key not in ("sources", "template")}
    return Entry(name=name, sources=sources, **kept)


def _is_complete(file: Path, source: Source, accept_mismatch: bool) -> bool:
    """True when `file` is in the cache. Its checksum was compared on download; the size shows a later change."""
    return file.is_file() and (accept_mismatch or not Expected(source.size).mismatch(file))


def _addresses(entry: Entry, source: Source) -> list[str]:
    """URLs of `source`, mirrors first."""
    mirrors = [f"{mirror.rstrip('/')}/{entry.name}/{source.file}" for mirror in os.environ.get(MIRRORS, "").split()]
    url = source.url
    if url.startswith(_HUB_ADDRESS) and os.environ.get(HUB):
        url = os.environ[HUB].rstrip("/") + url[len(_HUB_ADDRESS) :]
    return [*mirrors, url]
