"""Time to open the full RefCOCO+: 49,856 references with 141,564 expressions, 19,992 images, 196,737 objects.

    PYTHONPATH=. python benchmarks/refer_index.py

Generates random files of that size and format (outlines of about 40 numbers per object, captions of three words) and
prints the seconds of `Refer(…)` with an empty and with a filled cache, and of reading the training split.
"""

from __future__ import annotations

import argparse
import json
import pickle
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from pyutils.data.refer import Refer

REFERENCES, EXPRESSIONS, IMAGES, OBJECTS, CATEGORIES = 49_856, 141_564, 19_992, 196_737, 80
WORDS = ("left", "right", "woman", "man", "red", "blue", "shirt", "standing", "holding", "small", "chair", "dog")


def write_files(root: Path, share: float, seed: int = 0) -> None:
    """Write refcoco+/refs(unc).p and refcoco+/instances.json at `share` of the real size."""
    rng = np.random.default_rng(seed)
    image_count, objects = max(1, int(IMAGES * share)), max(1, int(OBJECTS * share))
    owners = np.sort(rng.integers(image_count, size=objects))
    folder = root / "refcoco+"
    folder.mkdir(parents=True)
    names = [f"COCO_train2014_{number:012d}.jpg" for number in range(image_count)]
    annotations = []
    for number, (owner, box) in enumerate(zip(owners.tolist(), rng.uniform(1, 300, (objects, 4)).round(2).tolist())):
        outline = rng.uniform(0, 640, int(rng.integers(10, 40)) * 2).round(2).tolist()
        annotations.append(
            {
                **{"segmentation": [outline], "area": box[2] * box[3], "iscrowd": 0, "image_id": owner},
                **{"bbox": box, "category_id": number % CATEGORIES + 1, "id": number},
            }
        )
    images = [
        {
            **{"license": 1, "file_name": name, "height": 480, "width": 640, "date_captured": "2013-11-14 17:02:52"},
            **{"coco_url": f"http://images.cocodataset.org/train2014/{name}", "id": number},
        }
        for number, name in enumerate(names)
    ]
    categories = [{"supercategory": "thing", "id": 1 + n, "name": f"category {n}"} for n in range(CATEGORIES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    with (folder / "refs(unc).p").open("wb") as stream:
        pickle.dump(_references(rng, owners, names, share), stream, protocol=2)


def _references(rng: np.random.Generator, owners: np.ndarray, names: list[str], share: float) -> list[dict]:
    count = min(max(1, int(REFERENCES * share)), len(owners))
    expressions = max(count, int(EXPRESSIONS * share))
    each = np.bincount(rng.integers(count, size=expressions - count), minlength=count) + 1
    splits = rng.choice(["train", "val", "testA", "testB"], size=count, p=[0.85, 0.07, 0.04, 0.04])
    refs, sentence = [], 0
    for ref_id, ann_id in enumerate(rng.choice(len(owners), count, replace=False).tolist()):
        sentences = []
        for words in rng.integers(len(WORDS), size=(int(each[ref_id]), 3)):
            tokens = [WORDS[word] for word in words]
            text = " ".join(tokens)
            sentences.append({"tokens": tokens, "raw": text, "sent_id": sentence, "sent": text})
            sentence += 1
        image = int(owners[ann_id])
        refs.append(
            {
                **{"sent_ids": [item["sent_id"] for item in sentences]},
                **{"file_name": f"{names[image][:-4]}_{ref_id}.jpg"},
                **{"ann_id": ann_id, "ref_id": ref_id, "image_id": image, "split": str(splits[ref_id])},
                **{"sentences": sentences, "category_id": ann_id % CATEGORIES + 1},
            }
        )
    return refs


def seconds(call, repeats: int) -> tuple[float, object]:
    """Return the shortest of `repeats` runs of `call`, and its result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = perf_counter()
        result = call()
        best = min(best, perf_counter() - start)
    return best, result


def main() -> None:
    """Write the files and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the real size")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, options.share)
        size = sum(path.stat().st_size for path in root.glob("refcoco+/*")) / 1e6
        empty = iter(range(options.repeats))
        cold, refer = seconds(lambda: Refer(root, cache=root / f"cache{next(empty)}"), options.repeats)
        cached, _ = seconds(lambda: Refer(root, cache=root / "cache0"), options.repeats)
        split, records = seconds(lambda: refer.records("train"), options.repeats)
        print(f"{len(refer)} references, two files of {size:.0f} MB; shortest of {options.repeats}")
        print(f"| Refer(…), no cache | {cold:.2f} s |\n| Refer(…), cached | {cached:.2f} s |")
        print(f"| records('train'), {len(records)} expressions | {split:.2f} s |")


if __name__ == "__main__":
    main()
