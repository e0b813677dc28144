"""An image, a sentence and their class: SNLI-VE (Xie et al. 2019), and data with classes of its own (hateful memes).

JSON lines or a JSON list. Fields go by the names of SNLI-VE, of ALBEF's lists or of hateful memes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from pyutils.config import setting
from pyutils.console import say
from pyutils.data.annotations.fields import check_known, check_types, list_entries
from pyutils.data.records import EntailmentRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import holds_list, path_key, read_json_lines

PathLike = Union[str, "os.PathLike[str]"]
# In the output order of the published checkpoints of ALBEF and ViLBERT.
ENTAILMENT_CLASSES = ("contradiction", "neutral", "entailment")
CLASSES_HELP = "Names of the classes, in the order of the model's outputs; numbers as labels are read as texts."

_IMAGES = ("image", "img", "Flickr30K_ID", "Flikr30kID")
_TEXTS = ("sentence", "text", "sentence2", "caption")
_LABELS = ("label", "gold_label")
_NAMES = ("identifier", "id", "pairID")
_UNDECIDED = ("-", "")


@dataclass(frozen=True)
class EntailmentConfig:
    """The `snli_ve:` section of a configuration."""

    root: str = setting("data/snli_ve", "Directory that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines (or JSON list).")


def read(
    paths: PathLike | Sequence[PathLike], classes: Collection[str] = ENTAILMENT_CLASSES, image_paths: bool = False
) -> RecordTable[EntailmentRecord]:
    """Read records in the order of the files.

    The image is a key, or with `image_paths` as the file has it. A label is one of `classes`, or a number whose digits
    are; None where it is missing, null or "-" (no majority). Raises InputError, naming file and entry, for a malformed
    entry or an unknown label.
    """
    files = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return RecordTable(EntailmentRecord, _records(map(Path, files), classes, image_paths))


def trainable(records: RecordTable[EntailmentRecord], split: str) -> RecordTable[EntailmentRecord]:
    """Select the records that have a label, and log how many have none. Raises InputError if none has one."""
    labels = records.column("label")
    rows = [row for row, label in enumerate(labels) if label is not None]
    if not rows:
        raise InputError(
            f"split {split!r}: none of its {len(records)} examples has a label; train on a split with labels"
        )
    if len(rows) < len(records):
        say(f"split {split!r}: {len(records) - len(rows)} of {len(records)} examples have no label and are left out")
    return records.select(rows)


def check_classes(classes: Sequence[str]) -> None:
    """Raise InputError unless there are at least two classes, all different."""
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(f"classes: expected two or more different names, found {list(classes)!r}")


def _records(files: Iterator[Path], classes: Collection[str], image_paths: bool) -> Iterator[EntailmentRecord]:
    for path in files:
        for where, entry in list_entries(path, ()) if holds_list(path) else read_json_lines(path):
            image = str(_value(entry, _IMAGES, (str, int), where))
            default = where.replace(str(path), path.name)
            yield EntailmentRecord(
                image=image if image_paths else path_key(image),
                sentence=_value(entry, _TEXTS, (str,), where),
                label=_label(entry, classes, where),
                identifier=str(next((entry[name] for name in _NAMES if name in entry), default)),
            )


def _label(entry: dict[str, Any], classes: Collection[str], where: str) -> str | None:
    field = next((name for name in _LABELS if name in entry), _LABELS[0])
    label = entry.get(field)
    if label is None or label in _UNDECIDED:
        return None
    check_known(str(label), classes, field, where)
    return str(label)


def _value(entry: dict[str, Any], names: Sequence[str], types: tuple[type, ...], where: str) -> Any:
    """Return the first of the fields `names` that the entry has. Raises InputError if it has none, or a blank one."""
    field = next((name for name in names if name in entry), None)
    if field is None:
        found = ", ".join(map(str, list(entry)[:8])) or "nothing"
        raise InputError(f"{where}: lacks {' or '.join(names)}; found {found}")
    check_types(entry, {field: types}, where)
    if not str(entry[field]).strip():
        raise InputError(f'{where}: "{field}" is empty; fill it or take the entry out of the list')
    return entry[field]
