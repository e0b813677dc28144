"""VCR (Zellers et al., CVPR 2019): `{train,val,test}.jsonl`, and a metadata JSON file a picture under `vcr1images`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from pyutils.data.records import BoxXYXY, TaggedText, VCRRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, image_key, read_json, read_json_lines

CHOICES = 4
_NEEDED = ("annot_id", "img_fn", "question", "answer_choices", "rationale_choices", "objects")


class Objects(NamedTuple):
    """Boxes (left, top, right, bottom in pixels) of a picture's objects, and the picture's size."""

    boxes: tuple[BoxXYXY, ...] = ()
    width: int = 0
    height: int = 0


def read(path: Union[str, Path], images: Union[str, Path, None] = None) -> RecordTable[VCRRecord]:
    """Records in the order of the file.

    `images` is the folder of the pictures and their metadata (`vcr1images`): with it, records carry boxes and sizes;
    without, these stay empty, which is enough where region features bring their own boxes. `image` is the stem of the
    picture's file name. Labels are None where the file has none (test). Raises InputError naming the line (or the
    metadata file) for what is missing or malformed, and for a tag that points at no object.
    """
    return RecordTable(VCRRecord, _records(Path(path), None if images is None else Path(images).expanduser()))


def _records(path: Path, images: Optional[Path]) -> Iterator[VCRRecord]:
    metadata_name, objects = "", Objects()
    for where, entry in read_json_lines(path):
        check_fields(entry, _NEEDED, where)
        names = tuple(str(name) for name in entry["objects"])
        if images is not None:
            check_fields(entry, ("metadata_fn",), where)
            if entry["metadata_fn"] != metadata_name:  # the questions about a picture stand together
                metadata_name = entry["metadata_fn"]
                objects = read_metadata(images / metadata_name)
            if len(objects.boxes) != len(names):
                raise InputError(
                    f"{where}: {len(names)} objects, but {images / metadata_name} has {len(objects.boxes)} boxes: "
                    "annotations and pictures are of different releases"
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


def read_metadata(path: Path) -> Objects:
    """The objects of one picture. InputError naming the file when it is missing or not of this kind."""
    content = read_json(path)
    check_fields(content, ("boxes", "width", "height"), str(path))
    try:
        boxes = tuple(tuple(float(edge) for edge in box[:4]) for box in content["boxes"])
        size = int(content["width"]), int(content["height"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: boxes and sizes must be numbers ({error})") from error
    if any(len(box) != 4 for box in boxes):
        raise InputError(f"{path}: expected boxes of left, top, right, bottom and a score")
    return Objects(boxes, *size)


def tagged_text(words: Any, objects: int, where: str) -> TaggedText:
    """A list of words and of lists of object numbers, as VCR writes texts. InputError for anything else."""
    if not isinstance(words, list):
        raise InputError(f"{where}: expected a list of words, found {type(words).__name__}")
    spoken, tags = [], []
    for word in words:
        if isinstance(word, str):
            spoken.append(word)
            tags.append(())
            continue
        if not isinstance(word, list) or not all(type(number) is int for number in word):
            raise InputError(f"{where}: expected words and lists of object numbers, found {word!r}")
        outside = [number for number in word if not 0 <= number < objects]
        if outside:
            raise InputError(f"{where}: a tag points at object {outside[0]}, but the picture has {objects} objects")
        spoken.append("")
        tags.append(tuple(word))
    return TaggedText(tuple(spoken), tuple(tags))


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
