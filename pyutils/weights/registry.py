"""Published checkpoints by name: description, sources, and download into the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pyutils.download import published
from pyutils.download.progress import human_size
from pyutils.download.transfer import fetch
from pyutils.download.transport import DownloadError
from pyutils.download.verify import Expected, file_sum
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import write_json
from pyutils.formats.json_files import read_json

TABLE = Path(__file__).with_name("registry.yaml")
BUNDLED = Path(__file__).with_name("bundled")
"""Small checkpoint folders that are part of the package; `bundle.py` writes them."""
BUNDLED_FILE = "model.safetensors"
MODELS_HOME = Path("~/.paddlenlp/models")
LOCK = "registry.lock.json"
"""In MODELS_HOME: size and sha256 of files at their first download, where none are published."""


@dataclass(frozen=True)
class Source:
    """A URL, and the size (bytes) and hexadecimal sha256 of its file where they are known."""

    url: str
    size: int | None = None
    sha256: str | None = None
    save_as: str = ""

    @property
    def file(self) -> str:
        """File name in the cache: `save_as`, or that of the URL."""
        return self.save_as or urlsplit(self.url).path.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """A known checkpoint.

    model: the architecture whose tensor names it has ("bert", "vit", a model package's). task: what it was fine-tuned
    for, "" for pre-trained weights. by_hand: instructions where no source can be downloaded directly. files: kept
    beside the weights to use them: vocabulary, answer list. also: other names. bundled: it is in BUNDLED.
    """

    name: str
    about: str
    model: str
    licence: str = "not stated"
    sources: tuple[Source, ...] = ()
    by_hand: str = ""
    task: str = ""
    files: tuple[Source, ...] = ()
    also: tuple[str, ...] = ()
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


@lru_cache(maxsize=1)
def _other_names() -> Mapping[str, str]:
    """Other names of the known checkpoints → their names; those on the Hugging Face hub follow from the URLs."""
    found = {other: entry.name for entry in entries().values() for other in entry.also}
    for entry in entries().values():
        for source in entry.sources:
            if source.url.startswith(published.HUB_ADDRESS):
                found[urlsplit(source.url).path.partition("/resolve/")[0].strip("/")] = entry.name
    return found


def known_name(name: str) -> str | None:
    """Return the name of a known checkpoint, also for another name of it (`uclanlp/visualbert-vqa`); None: unknown."""
    return name if name in entries() else _other_names().get(name)


def forget() -> None:
    """Read the table again at the next call."""
    entries.cache_clear()
    _other_names.cache_clear()


def find(name: str) -> Entry:
    """Return the entry `name`. InputError with the nearest known name for an unknown one."""
    known = known_name(name)
    if known is None:
        raise InputError(f"unknown checkpoint {name!r}: {nearest(name, entries())}")
    return entries()[known]


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
        if _is_complete(entry.folder / source.file, _known(entry, source), accept_mismatch):
            return entry.folder / source.file
    if not entry.sources:
        hint = entry.by_hand or "no public source is known"
        raise InputError(f"{name} cannot be downloaded: {hint}; put the file into {entry.folder}")
    errors = []
    for source in entry.sources:
        addresses = published.addresses(source.url, entry.name)
        try:
            if addresses:
                return _fetch(entry, source, addresses, accept_mismatch)
        except DownloadError as error:
            errors.append(str(error))
    why = "could not be downloaded"
    if published.is_offline():
        why = f"is not in the cache and {published.OFFLINE} forbids downloads"
    files = [f"  {source.url} → {entry.folder / source.file}" for source in entry.sources]
    raise InputError("\n".join([f"{name} {why}:", *errors, "Download one of these by hand:", *files]))


def download_files(name: str) -> None:
    """Download what is kept beside the weights of `name`, unless it is there: vocabulary, answer list.

    Raises:
        InputError: a file that cannot be downloaded; the message says where to put it by hand.
    """
    entry = find(name)
    for source in entry.files:
        target = entry.folder / source.file
        if target.is_file():
            continue
        try:
            _fetch(entry, source, published.addresses(source.url, entry.name), False)
        except DownloadError as error:
            raise InputError(f"{name} is used with {source.file}, which could not be downloaded: {error}") from error


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
    def sources(key: str) -> tuple[Source, ...]:
        return tuple(Source(**{**item, "url": item["url"].format(name=name)}) for item in row.get(key, ()))

    kept = {key: value for key, value in row.items() if key not in ("sources", "files", "also", "template")}
    return Entry(name=name, sources=sources("sources"), files=sources("files"), also=tuple(row.get("also", ())), **kept)


def _fetch(entry: Entry, source: Source, places: list[str], accept_mismatch: bool) -> Path:
    """Download a file, compare it with the published facts or those of its first download, and record the latter."""
    known = _known(entry, source)
    target = entry.folder / source.file
    fetch(places, target, known.size, known.sha256, accept_mismatch=accept_mismatch)
    if source.sha256 is None and (known.sha256 is None or accept_mismatch):
        facts = {"size": target.stat().st_size, "sha256": file_sum(target, "sha256"), "url": source.url}
        write_json(_lock_file(), {**_locked(), f"{entry.name}/{source.file}": facts})
    return target


def _known(entry: Entry, source: Source) -> Source:
    """Return `source` with the size and sha256 of its first download where none are published."""
    facts = _locked().get(f"{entry.name}/{source.file}", {}) if source.sha256 is None else {}
    return replace(source, size=source.size or facts.get("size"), sha256=source.sha256 or facts.get("sha256"))


def _lock_file() -> Path:
    return MODELS_HOME.expanduser() / LOCK


def _locked() -> dict[str, Any]:
    """Read the facts of first downloads. Raises InputError for a damaged file."""
    file = _lock_file()
    facts = read_json(file) if file.is_file() else {}
    if not isinstance(facts, dict):
        raise InputError(f"{file}: expected a mapping of files; delete it to record the downloads anew")
    return facts


def _is_complete(file: Path, source: Source, accept_mismatch: bool) -> bool:
    """True when `file` is in the cache. Its checksum was compared on download; the size shows a later change."""
    return file.is_file() and (accept_mismatch or not Expected(source.size).mismatch(file))
