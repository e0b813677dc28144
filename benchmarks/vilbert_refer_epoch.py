"""The input path of RefCOCO+ at full size: expressions and regions from disk to a batch on the device.

    python benchmarks/vilbert_refer_epoch.py [--images 256] [--batch 64] [--repeats 3]

Batches of expressions, each about another picture of 100 x 2048 regions, in one process: words, regions with the global
one, boxes, overlaps with the right box. `ReferTask`'s batches from the base64 LMDB and from packed stores stand beside
a reader and a collate of the original's kind (`benchmarks/regions.py`, one picture at a time, fixed lengths).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddle.io.dataloader.collate import default_collate_fn
from regions import StraightforwardReader, generate, speed

from pyutils.data.features import open_regions
from pyutils.data.features.inputs import RegionConfig
from pyutils.data.features.operations import convert_features
from pyutils.data.records import ReferRecord
from pyutils.metrics.grounding import box_iou, xyxy
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.refer import refer_batch
from vilbert_paddle.data.regions import RegionReader

WORDS = ("man", "in", "red", "shirt", "left", "of", "the", "dog")
LENGTH, SIZE = 20, np.array([640, 480, 640, 480], np.float32)


def vocabulary(folder: Path) -> WordPiece:
    """A tokenizer that knows `WORDS`."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n", encoding="utf-8")
    return WordPiece(path)


def expressions(keys: list[str]) -> list[ReferRecord]:
    """One expression a picture."""
    rng = np.random.default_rng(2)
    texts = (" ".join(rng.choice(WORDS, rng.integers(2, 8))) for _ in keys)
    boxes = ((10.0, 20.0, 100.0, 150.0) for _ in keys)
    return [
        ReferRecord(place, place, key, int(key), text, box, 0, 0)
        for place, (key, text, box) in enumerate(zip(keys, texts, boxes))
    ]


def straightforward(reader: StraightforwardReader, tokenizer: WordPiece, records: list[ReferRecord]) -> list:
    """A batch on the device, an item at a time: padded words, the reader's arrays, overlaps."""
    items = []
    for record in records:
        features, boxes, mask = reader.item(record.image)
        ids = [tokenizer.cls, *tokenizer.encode(record.expression, LENGTH - 2), tokenizer.sep]
        words = np.zeros(LENGTH, np.int64)
        words[: len(ids)] = ids
        right = xyxy(np.array([record.box], np.float32))
        target = box_iou(boxes[:, :4] * SIZE, right, pixels=True) * mask[:, None]
        target[target < 0.5] = 0
        items.append((features, boxes, mask, words, (words > 0).astype(np.int64), target))
    return [paddle.to_tensor(np.asarray(array)) for array in default_collate_fn(items)]


def ours(reader: RegionReader, tokenizer: WordPiece, records: list[ReferRecord]) -> dict[str, paddle.Tensor]:
    """The batch of `ReferTask` on the device."""
    batch = refer_batch(records, tokenizer, reader, LENGTH, training=True)
    return {name: paddle.to_tensor(array) for name, array in batch.items()}


def measure(folder: Path, images: int, batch: int, repeats: int) -> list[tuple[str, float]]:
    """(input path, expressions a second) of each."""
    text, tokenizer = folder / "regions.lmdb", vocabulary(folder)
    records = expressions(np.random.default_rng(1).permutation(generate(text, images)).tolist())
    batches = [records[start : start + batch] for start in range(0, images - batch + 1, batch)]
    reader = StraightforwardReader(text)
    results = [("reader and collate of the original's kind, base64 LMDB", 0.0)]
    results[0] = (results[0][0], speed(lambda some: straightforward(reader, tokenizer, some), batches, repeats))
    reader.environment.close()
    stores = {"base64 LMDB": text}
    for dtype in ("float16", "float32"):
        stores[f"packed store, {dtype}"] = folder / dtype
        convert_features(open_regions(text), folder / dtype, dtype)
    for name, path in stores.items():
        pictures = RegionReader(RegionConfig(path=str(path)), 2048)
        results.append((name, speed(lambda some, p=pictures: ours(p, tokenizer, some), batches, repeats)))
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), options.images, options.batch, options.repeats)
    print("| input path | expressions/s | times |\n|---|---:|---:|")
    for name, found in results:
        print(f"| {name} | {found:.0f} | {found / results[0][1]:.1f} |")


if __name__ == "__main__":
    main()
