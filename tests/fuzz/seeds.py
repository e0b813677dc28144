"""Valid small files of every annotation and feature reader, and the call that reads them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pyutils.data.annotations import albef, classified, coco_captions, entities, karpathy, nlvr2, vcr
from pyutils.data.features import open_regions
from pyutils.data.images import Images
from pyutils.data.pairs import open_pairs
from pyutils.data.transforms import albef_transform
from pyutils.data.vqa.annotations import read_imdb, read_official
from pyutils.formats.yaml_text import parse_yaml


@dataclass(frozen=True)
class Seed:
    """`files` by name, and `read`, which takes the folder that contains them and reads all that is in it."""

    files: Mapping[str, bytes]
    read: Callable[[Path], Any]


def seeds(scratch: Path) -> dict[str, Seed]:
    """All seeds by name; `scratch` is an empty folder for the formats that only write to disk."""
    return {**_annotations(), **_regions(scratch), **_others(scratch)}


def _lines(*entries: Any) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def _one(name: str, content: Any, read: Callable[[Path], Any]) -> Seed:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Seed({name: text}, lambda folder: list(read(folder / name)))


def _annotations() -> dict[str, Seed]:
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 5, "image_id": 1, "caption": "a dog"}]}
    sentence = {"raw": "A dog.", "tokens": ["a", "dog"], "sentid": 1}
    split = {"filename": "a.jpg", "filepath": "val2014", "imgid": 1, "split": "test", "sentences": [sentence]}
    entailment = {"Flickr30K_ID": "1", "sentence1": "a", "sentence2": "b", "gold_label": "neutral", "pairID": "p"}
    reasoning = {"identifier": "dev-0-0-0", "sentence": "Two dogs.", "label": "True"}
    question = {"question_id": 1, "image_id": 2, "question": "Is it?"}
    answers = [{"answer": "yes", "answer_id": number, "answer_confidence": "yes"} for number in range(1, 11)]
    answer = {"question_id": 1, "image_id": 2, "answers": answers, "multiple_choice_answer": "yes"}
    listed = {"image": "a.jpg", "caption": ["one", "two"], "image_id": "i1"}
    vqa = {"image": "a.jpg", "question": "Is it?", "answer": ["yes", "no"], "question_id": 1, "dataset": "vqa"}
    pair = {"images": ["a.png", "b.png"], "sentence": "Two.", "label": "True"}
    phrase = {"image": "a.jpg", "text": "the dog", "bbox": [1, 2, 3, 4], "ref_id": 1, "height": 9, "width": 9}
    return {
        "coco captions": _one("a.json", coco, coco_captions.read),
        "karpathy": _one("a.json", {"images": [split]}, lambda path: karpathy.read_splits(path).values()),
        "snli-ve": _one("a.jsonl", _lines(entailment, entailment), classified.read),
        "nlvr2": _one("a.json", _lines(reasoning, {**reasoning, "identifier": "dev-1-0-0"}), nlvr2.read),
        "albef pre-training": _one("a.json", [listed], albef.read_pretrain),
        "albef retrieval": _one("a.json", [{**listed, "caption": "one"}], albef.read_retrieval_train),
        "albef retrieval test": _one("a.json", [listed], albef.read_retrieval_eval),
        "albef vqa": _one("a.json", [vqa], albef.read_vqa),
        "albef vqa test": _one("a.json", [vqa], albef.read_vqa_eval),
        "albef nlvr2": _one("a.json", [pair], albef.read_nlvr2),
        "albef ve": _one("a.json", [{**listed, "sentence": "b", "label": "neutral"}], classified.read),
        "albef grounding": _one("a.json", [phrase], albef.read_grounding),
        "albef answers": _one("a.json", ["yes", "no"], albef.read_answer_list),
        "albef detections": _one("a.json", {"1": [[1, 2, 3, 4, 0.5]]}, albef.read_detections),
        "vqa v2": Seed(
            {"q.json": json.dumps({"data_subtype": "val2014", "questions": [question]}).encode(),
             "a.json": json.dumps({"annotations": [answer]}).encode()},
            lambda folder: list(read_official(folder / "q.json", folder / "a.json")),
        ),
        "vcr": _vcr(),
        "entities": _entities(),
    }  # fmt: skip


def _vcr() -> Seed:
    words = [[[0], "is", "big", "."]] * 4
    line = {"annot_id": "a", "img_fn": "x.jpg", "metadata_fn": "x.json", "objects": ["person"], "answer_label": 1}
    line |= {"question": ["Why", [0]], "answer_choices": words, "rationale_choices": words, "rationale_label": 2}
    metadata = {"boxes": [[0, 1, 2, 3, 0.9]], "width": 9, "height": 9}
    files = {"train.jsonl": _lines(line, line), "x.json": json.dumps(metadata).encode()}
    return Seed(files, lambda folder: list(vcr.read(folder / "train.jsonl", folder)))


def _entities() -> Seed:
    box = "<object><name>1</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object>"
    size = "<size><width>9</width><height>9</height><depth>3</depth></size>"
    files = {
        "val.txt": b"7\n",
        "Sentences/7.txt": b"[/EN#1/animals A dog] runs .\n",
        "Annotations/7.xml": f"<annotation><filename>7.jpg</filename>{size}{box}</annotation>".encode(),
    }
    return Seed(files, lambda folder: list(entities.read(folder, folder / "val.txt")))


def _all_regions(path: Path) -> None:
    source = open_regions(path)
    for key in source:
        source[key]


def _regions(scratch: Path) -> dict[str, Seed]:
    import base64
    import pickle

    import h5py

    features, boxes = np.ones((2, 4), np.float32), np.array([[0, 0, 2, 2], [1, 1, 3, 3]], np.float32)
    packed, stacked, info = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(packed, box_features=features, cls_boxes=boxes, image_width=9, image_height=9)
    np.save(stacked, features)
    np.save(info, np.array({"features": features, "bbox": boxes, "num_boxes": 2, "image_width": 9, "image_height": 9}))
    texts = [base64.b64encode(array.tobytes()).decode() for array in (boxes, features)]
    with h5py.File(scratch / "a.h5", "w") as out:
        out["7/features"], out["7/boxes"] = features, boxes
    item = {"features": texts[1].encode(), "boxes": texts[0].encode()}
    item |= {"num_boxes": "2", "image_w": "9", "image_h": "9"}
    return {
        "npz regions": Seed({"7.npz": packed.getvalue()}, _all_regions),
        "npy regions": Seed({"7.npy": stacked.getvalue()}, _all_regions),
        "npy dict": Seed({"7.npy": info.getvalue()}, _all_regions),
        "tsv": Seed(
            {"a.tsv": "\t".join(["7", "9", "9", "2", *texts]).encode() + b"\n"}, lambda f: _all_regions(f / "a.tsv")
        ),
        "hdf5": Seed({"a.h5": (scratch / "a.h5").read_bytes()}, lambda f: _all_regions(f / "a.h5")),
        "lmdb values": Seed({"value": pickle.dumps(item, protocol=2)}, _lmdb_value),
    }


def _lmdb_value(folder: Path) -> None:
    import lmdb

    with lmdb.open(str(folder / "a.lmdb"), subdir=False, map_size=1 << 20) as store, store.begin(write=True) as writing:
        writing.put(b"7", (folder / "value").read_bytes())
    _all_regions(folder / "a.lmdb")


def _others(scratch: Path) -> dict[str, Seed]:
    table = pa.table({"key": ["a", "b"], "caption": [["one", "two"], ["three"]]})
    with pa.ipc.new_file(str(scratch / "x.arrow"), table.schema) as out:
        out.write_table(table)
    shard, picture, questions = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as archive:
        for name, content in (("a.json", b'{"caption": "one", "key": "a"}'), ("a.jpg", b"12")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, "PNG")
    row = {"question_id": 1, "image_id": 2, "question_str": "Is it?", "answers": ["yes"] * 10, "image_name": "a"}
    np.save(questions, np.array([{"dataset": "vqa"}, row], dtype=object))
    config = b"task: vqa\ntrain: {batch_size: 8, lr: 1e-5}\nlist: [1, 2]\n"
    return {
        "arrow": _one("x.arrow", (scratch / "x.arrow").read_bytes(), open_pairs),
        "tar shards": _one("x.tar", shard.getvalue(), open_pairs),
        "imdb": _one("x.npy", questions.getvalue(), read_imdb),
        "image": Seed({"a.png": picture.getvalue()}, lambda f: Images(f, albef_transform("evaluate", 8)).read("a.png")),
        "yaml": Seed({"a.yaml": config}, lambda f: parse_yaml((f / "a.yaml").read_text(errors="replace"), "a.yaml")),
    }
