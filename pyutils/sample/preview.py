"""A contact sheet of a written world: images with boxes and texts, read back from the files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont

from pyutils.errors import InputError
from pyutils.formats import safe_pickle
from pyutils.formats.atomic import atomic_write
from pyutils.formats.json_files import read_json, read_json_lines

_ACROSS, _CELL, _SCALE = 4, 300, 2
_TITLE, _GAP, _LINE, _LETTERS = 34, 12, 15, 44
_TRUE, _FOUND, _REFERRED = (20, 130, 60), (150, 150, 160), (220, 30, 90)
_INK = (30, 30, 34)


@dataclass
class Cell:
    """An image (or two), boxes on it (x1, y1, x2, y2 in pixels, colour, line width) and lines of text."""

    images: list[Path]
    lines: list[str]
    boxes: list[tuple[Any, tuple[int, int, int], int]] = field(default_factory=list)


def draw_preview(world: Path, path: Path) -> None:
    """Draw four examples of every part of `world` and save them as the PNG `path`. InputError when it has no part."""
    rows = [(title, list(cells(world))) for title, marker, cells in _ROWS if (world / marker).exists()]
    if not rows:
        raise InputError(f"{world}: expected a folder written by `python -m pyutils.sample world`, found no part of it")
    strips = [_strip(title, cells) for title, cells in rows if cells]
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    with atomic_write(path, "wb") as stream:
        sheet.save(stream, format="PNG")


def _strip(title: str, cells: list[Cell]) -> Image.Image:
    """One titled row of cells."""
    wrapped = [[part for line in cell.lines for part in textwrap.wrap(line, _LETTERS) or [""]] for cell in cells]
    images = [_drawn(cell) for cell in cells]
    below = _TITLE + max(image.height for image in images) + 8
    height = below + _LINE * max(len(lines) for lines in wrapped) + _GAP
    strip = Image.new("RGB", (_ACROSS * (_CELL + _GAP) + _GAP, height), "white")
    pencil = ImageDraw.Draw(strip)
    pencil.text((_GAP, 8), title, fill=_INK, font=ImageFont.load_default(16))
    for column, (image, lines) in enumerate(zip(images, wrapped)):
        left = _GAP + column * (_CELL + _GAP)
        strip.paste(image, (left, _TITLE))
        for number, line in enumerate(lines):
            pencil.text((left, below + number * _LINE), line, fill=_INK, font=ImageFont.load_default(12))
    return strip


def _drawn(cell: Cell) -> Image.Image:
    side = 128 * _SCALE if len(cell.images) == 1 else (_CELL - 4) // 2
    canvas = Image.new("RGB", (_CELL if len(cell.images) > 1 else side, side), "white")
    for column, path in enumerate(cell.images):
        with Image.open(path) as image:
            factor = side / image.width
            resized = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            canvas.paste(resized, (column * (side + 4), 0))
    pencil = ImageDraw.Draw(canvas)
    for box, colour, width in cell.boxes:
        pencil.rectangle([float(edge) * factor for edge in box], outline=colour, width=width)
    return canvas


def _lines(path: Path) -> list[dict[str, Any]]:
    return [entry for _, entry in read_json_lines(path)]


def _corners(box) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _questions(world: Path) -> Iterator[Cell]:
    annotations = world / "VQA2/annotations"
    asked = read_json(annotations / "v2_OpenEnded_mscoco_val2014_questions.json")["questions"]
    given = read_json(annotations / "v2_mscoco_val2014_annotations.json")["annotations"]
    answers = {entry["question_id"]: entry["multiple_choice_answer"] for entry in given}
    for identity in sorted({question["image_id"] for question in asked})[:_ACROSS]:
        name = f"COCO_val2014_{identity:012d}"
        lines = [f"{q['question']}  {answers[q['question_id']]}" for q in asked if q["image_id"] == identity][:6]
        features = world / "X_COCO/data/detectron_fix_100/fc6/vqa/val2014" / f"{name}_info.npy"
        found = safe_pickle.load_npy(features).item()["bbox"]
        yield Cell([world / f"images/coco/val2014/{name}.jpg"], lines, [(box, _FOUND, 1) for box in found])


def _captions(world: Path) -> Iterator[Cell]:
    written = read_json(world / "COCO/annotations/captions_val2014.json")
    objects = read_json(world / "COCO/annotations/instances_val2014.json")
    for image in written["images"][-_ACROSS:]:
        lines = ["- " + a["caption"] for a in written["annotations"] if a["image_id"] == image["id"]]
        boxes = [_corners(a["bbox"]) for a in objects["annotations"] if a["image_id"] == image["id"]]
        path = world / "images/coco/val2014" / image["file_name"]
        yield Cell([path], lines, [(box, _TRUE, 2) for box in boxes])


def _pairs(world: Path) -> Iterator[Cell]:
    for line in _lines(world / "NLVR2/annotations/dev.json"):
        split, number, pair, sentence = line["identifier"].split("-")
        if sentence == "0":
            stem = world / f"images/nlvr2/{split}/{split}-{number}-{pair}"
            yield Cell([Path(f"{stem}-img{side}.png") for side in (0, 1)], [line["sentence"], line["label"]])
            if int(pair) == _ACROSS - 1:
                return


def _references(world: Path) -> Iterator[Cell]:
    refs = safe_pickle.load(world / "refcoco+/refs(unc).p")
    objects = {a["id"]: a for a in read_json(world / "refcoco+/instances.json")["annotations"]}
    for ref in [ref for ref in refs if ref["split"] != "train"][:: max(len(refs) // 40, 1)][:_ACROSS]:
        path = world / f"images/coco/train2014/COCO_train2014_{ref['image_id']:012d}.jpg"
        lines = [sentence["sent"] for sentence in ref["sentences"]]
        yield Cell([path], [ref["split"], *lines], [(_corners(objects[ref["ann_id"]]["bbox"]), _REFERRED, 3)])


def _entailments(world: Path) -> Iterator[Cell]:
    seen: set[str] = set()
    for line in _lines(world / "SNLI-VE/snli_ve_train.jsonl"):
        key = line["gold_label"] if len(seen) < 3 else line["Flickr30K_ID"]
        if key not in seen and len(seen) < _ACROSS:
            seen.add(key)
            path = world / f"images/flickr30k/{line['Flickr30K_ID']}.jpg"
            yield Cell([path], [line["sentence2"], line["gold_label"]])


def _choices(world: Path) -> Iterator[Cell]:
    for line in _lines(world / "vcr/val.jsonl")[:_ACROSS]:
        boxes = read_json(world / "vcr1images" / line["metadata_fn"])["boxes"]
        lines = [_tagged(line["question"])]
        for kind in ("answer", "rationale"):
            right = line[f"{kind}_label"]
            lines += [("* " if i == right else "- ") + _tagged(t) for i, t in enumerate(line[f"{kind}_choices"])]
        cell = Cell([world / "vcr1images" / line["img_fn"]], lines, [(box[:4], _TRUE, 1) for box in boxes])
        cell.lines.insert(0, "objects " + ", ".join(f"[{i}] {name}" for i, name in enumerate(line["objects"])))
        yield cell


def _tagged(text: list[Any]) -> str:
    return " ".join(word if isinstance(word, str) else str(word) for word in text)


def _phrases(world: Path) -> Iterator[Cell]:
    folder = world / "Flickr30kEntities"
    for name in (folder / "val.txt").read_text(encoding="utf-8").split()[:_ACROSS]:
        sentences = (folder / f"Sentences/{name}.txt").read_text(encoding="utf-8").splitlines()[:3]
        marked = set(re.findall(r"EN#(\d+)/", sentences[0]))
        boxes = []
        for entry in ElementTree.parse(folder / f"Annotations/{name}.xml").iter("object"):
            box = entry.find("bndbox")
            if box is not None and marked & {number.text for number in entry.iter("name")}:
                boxes.append(([float(edge.text or "") for edge in box], _TRUE, 2))
        yield Cell([world / f"images/flickr30k/{name}.jpg"], sentences, boxes)


_ROWS: tuple[tuple[str, str, Callable[[Path], Iterator[Cell]]], ...] = (
    ("VQA v2, with detected regions", "VQA2", _questions),
    ("COCO captions and instances", "COCO", _captions),
    ("NLVR2: one sentence, four pairs", "NLVR2", _pairs),
    ("RefCOCO+", "refcoco+", _references),
    ("SNLI-VE", "SNLI-VE", _entailments),
    ("VCR (* is right)", "vcr", _choices),
    ("Flickr30k Entities, boxes of the first sentence", "Flickr30kEntities", _phrases),
)
