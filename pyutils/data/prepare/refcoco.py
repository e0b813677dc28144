"""Grounding lists of the RefCOCO family, with the candidate boxes of each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pyutils.data.annotations.fields import list_entries
from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.data.refer.layout import SPLITTINGS, ReferFiles
from pyutils.data.refer.tables import ReferTables, read_tables
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields

DATASETS = tuple(SPLITTINGS)


def needs(dataset: str, splitting: str) -> tuple[Need, Need]:
    """Return the files of the expressions and the objects of a data set."""
    folders = (f"refcoco/{dataset}", f"refer/{dataset}", dataset, f"refer/data/{dataset}")
    return (
        Need(tuple(f"{folder}/refs({splitting}).p" for folder in folders), f"expressions of {dataset}"),
        Need(tuple(f"{folder}/instances.json" for folder in folders), f"objects of {dataset}"),
    )


def build(tree: Tree, lists: Lists, dataset: str, splitting: str, detections: Path | None) -> None:
    """Write DATASET_train.json, DATASET_test.json (validation and test splits), DATASET/dets.json, DATASET/cocos.json.

    dets.json holds for each image the boxes of `detections` (COCO results: a list of image_id, "bbox" or "box", score),
    else of the annotated objects. The report names the source, on which accuracies depend.
    """
    paths = [tree.find(need) for need in needs(dataset, splitting)]
    if paths[0] is None or paths[1] is None:
        return
    files = ReferFiles(dataset, splitting, paths[0], paths[1])
    tables = read_tables(files)
    boxes = _boxes(tables)
    images = tree.folder("coco")
    lists.write(f"{dataset}_train.json", _entries(tables, boxes, training=True), images)
    lists.write(f"{dataset}_test.json", _entries(tables, boxes, training=False), images)
    found = _annotated(tables) if detections is None else _detected(detections)
    wanted = sorted({str(number) for number in tables.refs["image_id"].to_pylist()}, key=int)
    empty = [image for image in wanted if image not in found]
    lists.write_value(f"{dataset}/dets.json", {image: found.get(image, []) for image in wanted}, len(wanted))
    lists.write_value(f"{dataset}/cocos.json", _objects(tables, boxes), len(tables.refs))
    source = "the annotated objects (ground truth)" if detections is None else str(detections)
    lists.notes.append(f"{dataset}/dets.json: boxes of {source}")
    if empty:
        lists.notes.append(f"{dataset}/dets.json: {len(empty)} images without a box, first {', '.join(empty[:5])}")


def _boxes(tables: ReferTables) -> dict[int, list[float]]:
    return dict(zip(tables.annotations["id"].to_pylist(), tables.annotations["bbox"].to_pylist()))


def _entries(tables: ReferTables, boxes: dict[int, list[float]], training: bool) -> Iterator[dict[str, Any]]:
    """Yield one entry per sentence, in the order of the file."""
    names = dict(zip(tables.images["id"].to_pylist(), tables.images["file_name"].to_pylist()))
    text = tables.sentences["sent"].to_pylist()
    end = 0
    for ref in tables.refs.to_pylist():
        start, end = end, end + ref["sentences"]
        if (ref["split"] == "train") != training:
            continue
        for sentence in text[start:end]:
            yield {
                "image": _image_path(names[ref["image_id"]]),
                "text": sentence,
                "ref_id": ref["ref_id"],
                "image_id": ref["image_id"],
                "split": ref["split"],
                "box": boxes[ref["ann_id"]],
            }


def _image_path(name: str) -> str:
    """Add the folder of an image: "train2014" for "COCO_train2014_000000581857.jpg"."""
    parts = PurePosixPath(name).name.split("_")
    return f"{parts[1]}/{PurePosixPath(name).name}" if len(parts) > 2 else name


def _annotated(tables: ReferTables) -> dict[str, list[list[float]]]:
    """Return the boxes of all annotated objects of each image, with score 1."""
    found: dict[str, list[list[float]]] = {}
    for image, box in zip(tables.annotations["image_id"].to_pylist(), tables.annotations["bbox"].to_pylist()):
        found.setdefault(str(image), []).append([*box, 1.0])
    return found


def _detected(path: Path) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for where, entry in list_entries(path, ("image_id",)):
        name = "bbox" if "bbox" in entry else "box"
        check_fields(entry, (name,), where)
        if not isinstance(entry[name], list) or len(entry[name]) != 4:
            raise InputError(f'{where}: expected x, y, width, height in "{name}", found {entry[name]!r}')
        found.setdefault(str(entry["image_id"]), []).append([*entry[name], entry.get("score", 1.0)])
    return found


def _objects(tables: ReferTables, boxes: dict[int, list[float]]) -> dict[str, dict[str, Any]]:
    """Return the object of each reference: its image, annotation, category and box."""
    return {
        str(ref["ref_id"]): {name: ref[name] for name in ("image_id", "ann_id", "category_id")}
        | {"bbox": boxes[ref["ann_id"]]}
        for ref in tables.refs.to_pylist()
    }
