"""VCR (Zellers et al., CVPR 2019): `{train,val,test}.jsonl`, and under `vcr1images` a metadata JSON file per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from pyutils.config import setting
from pyutils.data.annotations.fields import get_split
from pyutils.data.records import BoxXYXY, TaggedText, VCRRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, image_key, read_json, read_json_lines
from pyutils.metrics.vcr import CHOICES

_MOST_METADATA_BYTES = 64 << 20  # outlines included, VCR's largest has less than one MiB
_NEEDED = ("annot_id", "img_fn", "question", "answer_choices", "rationale_choices", "objects")

PERSON = "person"
#: Gender-neutral names for people, so that texts can distinguish them.
NEUTRAL_NAMES = (
    "Alex", "Ari", "Bailey", "Blair", "Casey", "Charlie", "Dana", "Drew", "Eden", "Ellis", "Emery", "Finley",
    "Frankie", "Harper", "Jamie", "Jessie", "Jordan", "Kelly", "Kim", "Lee", "Logan", "Morgan", "Pat", "Quinn",
    "Reese", "Riley", "Robin", "Rowan", "Sam", "Skyler", "Taylor", "Terry",
)  # fmt: skip


@dataclass(frozen=True)
class VCRFiles:
    """The `vcr:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/VCR", "Folder that the paths below are relative to.")
    images: str = setting("vcr1images", "Image folder; each image has a metadata file (boxes, size) next to it.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


class Objects(NamedTuple):
    """Boxes (left, top, right, bottom in pixels) of an image's objects, and the image's size."""

    boxes: tuple[BoxXYXY, ...] = ()
    width: int = 0
    height: int = 0


def read_split(config: VCRFiles, name: str) -> RecordTable[VCRRecord]:
    """Read the records of split `name`, with boxes. Raises InputError if it is not configured, and as `read`."""
    root = Path(config.root).expanduser()
    return read(root / get_split(config.splits, name, "vcr.splits"), root / config.images)


def read(path: Union[str, Path], images: Union[str, Path, None] = None) -> RecordTable[VCRRecord]:
    """Read records in the order of the file.

    `images` is the folder of the images and their metadata (`vcr1images`), needed for the boxes and sizes of records;
    without it these stay empty, which is enough where region features have their own boxes. `image` is the stem of the
    image's file name. Labels are None where the file has none (test). Raises InputError naming the line (or the
    metadata file) for missing or malformed fields, and for a tag outside the objects.
    """
    return RecordTable(VCRRecord, _records(Path(path), None if images is None else Path(images)))


def _records(path: Path, images: Optional[Path]) -> Iterator[VCRRecord]:
    metadata_name, objects = "", Objects()
    for where, entry in read_json_lines(path):
        check_fields(entry, _NEEDED, where)
        if not isinstance(entry["objects"], list):
            raise InputError(f"{where}: expected a list of names as objects, found {type(entry['objects']).__name__}")
        names = tuple(str(name) for name in entry["objects"])
        if images is not None:
            check_fields(entry, ("metadata_fn",), where)
            if entry["metadata_fn"] != metadata_name:  # questions about one image are consecutive
                metadata_name = entry["metadata_fn"]
                objects = read_metadata(_metadata_file(images, metadata_name, where))
            if len(objects.boxes) != len(names):
                raise InputError(
                    f"{where}: {len(names)} objects, but {images / metadata_name} has {len(objects.boxes)} boxes: "
                    "annotations and images are of different releases"
                )
        yield VCRRecord(
            annot_id=str(entry["annot_id"]),
            image=image_key(str(entry["img_fn"])),
            question=tagged_text(entry["question"], len(names), f"{where}, question"),
            answer_choices=_choices(entry, "answer_choices", len(names), where),
            rationale_choices=_choices(entry, "rationale_choices", len(names), where),
            answer_label=_label(entry, "answer_label", where),
            rationale_label=_label(entry, "rationale_label", where),
            object_names=names,
            object_boxes=objects.boxes,
            width=objects.width,
            height=objects.height,
        )


def _metadata_file(images: Path, name: Any, where: str) -> Path:
    """The path of a metadata file below `images`; InputError for a name that leaves the folder."""
    parts = PurePosixPath(name.replace("\\", "/")) if isinstance(name, str) else PurePosixPath("..")
    if parts.is_absolute() or ".." in parts.parts or PureWindowsPath(str(parts)).drive:
        raise InputError(f"{where}: metadata_fn {name!r} is not a file below {images}; write its path in that folder")
    return images.joinpath(*parts.parts)


def read_metadata(path: Path) -> Objects:
    """Read the objects of one image. Raises InputError naming the file if it is missing, huge or malformed."""
    content = read_json(path, _MOST_METADATA_BYTES)
    check_fields(content, ("boxes", "width", "height"), str(path))
    try:
        boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2, *_ in content["boxes"]]
        return Objects(tuple(boxes), int(content["width"]), int(content["height"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: expected boxes of left, top, right, bottom and a score, and a size in pixels ({error})"
        ) from error


def tagged_text(words: Any, objects: int, where: str) -> TaggedText:
    """Convert a list of words and of lists of object numbers, VCR's form of texts. Raises InputError for others."""
    if not isinstance(words, list):
        raise InputError(f"{where}: expected a list of words, found {type(words).__name__}")
    for tag in words:
        if not isinstance(tag, str) and not (isinstance(tag, list) and all(n in range(objects) for n in tag)):
            raise InputError(
                f"{where}: expected words and lists of the numbers of its {objects} objects, found {tag!r}"
            )
    return TaggedText(
        tuple(word if isinstance(word, str) else "" for word in words),
        tuple(() if isinstance(word, str) else tuple(word) for word in words),
    )


def _choices(entry: dict[str, Any], field: str, objects: int, where: str) -> tuple[TaggedText, ...]:
    choices = entry[field]
    if not isinstance(choices, list) or len(choices) != CHOICES:
        found = len(choices) if isinstance(choices, list) else type(choices).__name__
        raise InputError(f"{where}: expected {CHOICES} {field}, found {found}")
    return tuple(tagged_text(choice, objects, f"{where}, {field} {number}") for number, choice in enumerate(choices))


def _label(entry: dict[str, Any], field: str, where: str) -> Optional[int]:
    label = entry.get(field)
    if label is None:
        return None
    if type(label) is not int or not 0 <= label < CHOICES:
        raise InputError(f"{where}: expected a number from 0 to {CHOICES - 1} in {field}, found {label!r}")
    return label


def neutral_names(names: Sequence[str], rng: Optional[np.random.Generator] = None) -> list[str]:
    """Replace each "person" among the object names by a neutral name of its own.

    Without `rng` the names are given in order (evaluation is deterministic); with it they are drawn at random, so that
    a model cannot rely on them. With more people than names, names repeat.
    """
    order = range(len(NEUTRAL_NAMES)) if rng is None else rng.permutation(len(NEUTRAL_NAMES))
    given = [NEUTRAL_NAMES[number] for number in order]
    people: Any = np.cumsum([name == PERSON for name in names]) - 1 if names else []
    return [given[person % len(given)] if name == PERSON else name for name, person in zip(names, people)]


def plain_text(text: TaggedText, names: Sequence[str]) -> str:
    """Join the words of `text` by spaces, with the names of its objects for each tag."""
    return " ".join(
        " ".join(names[number] for number in tags) if tags else word for word, tags in zip(text.words, text.objects)
    )
