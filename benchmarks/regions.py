"""Reading speed of region features: batches of 64 x 101 x 2048 from LMDB and from the packed store.

Run `python benchmarks/regions.py`. Features of the real shape are generated in a temporary folder; every reader makes
the same batches of the same images (global mean region first, then 100 regions, float32, one array a batch), in one
process, after a first pass that brings the files into memory. The straightforward reader does what the readers of the
original projects do.
"""

from __future__ import annotations

import argparse
import base64
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyutils.data.features import open_regions
from pyutils.data.features.operations import convert_features

REGIONS, DIMENSION, GLOBAL = 100, 2048, 1


class StraightforwardReader:
    """The usual reader: position in the key list, unpickle, decode, mean region in front, pad to a fixed length.

    It opens the LMDB when it is made and must not be alive together with another reader of the same file.
    """

    def __init__(self, path: Path) -> None:
        import lmdb

        self.environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
        with self.environment.begin(write=False) as reading:
            self.keys = pickle.loads(reading.get(b"keys"))

    def item(self, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """features [101, 2048], boxes [101, 5], mask [101] of one image."""
        position = self.keys.index(key.encode())
        with self.environment.begin(write=False) as reading:
            item = pickle.loads(reading.get(self.keys[position]))
        count, width, height = int(item["num_boxes"]), int(item["image_w"]), int(item["image_h"])
        features = np.frombuffer(base64.b64decode(item["features"]), dtype=np.float32).reshape(count, -1)
        boxes = np.frombuffer(base64.b64decode(item["boxes"]), dtype=np.float32).reshape(count, -1)
        located = np.zeros((count, 5), dtype=np.float32)
        located[:, :4] = boxes
        located[:, 4] = (located[:, 3] - located[:, 1]) * (located[:, 2] - located[:, 0]) / float(width * height)
        located[:, :4] /= np.array([width, height, width, height], dtype=np.float32)
        features = np.concatenate([np.sum(features, axis=0, keepdims=True) / count, features])
        located = np.concatenate([np.array([[0, 0, 1, 1, 1]], dtype=np.float32), located])
        padded = np.zeros((REGIONS + GLOBAL, features.shape[1]), dtype=np.float32)
        padded_boxes = np.zeros((REGIONS + GLOBAL, 5), dtype=np.float32)
        padded[: count + GLOBAL], padded_boxes[: count + GLOBAL] = features, located
        mask = np.zeros(REGIONS + GLOBAL, dtype=np.int64)
        mask[: count + GLOBAL] = 1
        return padded, padded_boxes, mask


def generate(folder: Path, images: int) -> list[str]:
    """An LMDB of base64 text with `images` images of 100 regions; half the values are zero, as after a ReLU."""
    import lmdb

    rng = np.random.default_rng(0)
    keys = [str(100_000 + number) for number in range(images)]
    environment = lmdb.open(str(folder), map_size=images * 3_000_000 + (64 << 20))
    with environment.begin(write=True) as writing:
        for key in keys:
            corners = np.sort(rng.uniform(0, 400, (REGIONS, 2, 2)).astype(np.float32), axis=1)
            features = np.maximum(rng.standard_normal((REGIONS, DIMENSION), dtype=np.float32), 0)
            item = {"image_id": key, "image_w": "640", "image_h": "480", "num_boxes": str(REGIONS)}
            item["boxes"] = base64.b64encode(corners.reshape(REGIONS, 4).tobytes()).decode()
            item["features"] = base64.b64encode(features.tobytes()).decode()
            writing.put(key.encode(), pickle.dumps(item, protocol=2))
        writing.put(b"keys", pickle.dumps([key.encode() for key in keys], protocol=2))
    environment.close()
    return keys


def speed(read: Callable[[list[str]], object], batches: list[list[str]], repeats: int) -> float:
    """Images a second, the best of `repeats` passes after a first one that is not counted."""
    best = float("inf")
    for turn in range(repeats + 1):
        start = time.perf_counter()
        for batch in batches:
            read(batch)
        if turn:
            best = min(best, time.perf_counter() - start)
    return sum(map(len, batches)) / best


def straightforward(path: Path, batches: list[list[str]], repeats: int) -> float:
    """Images a second of the straightforward reader with Paddle's default collate."""
    from paddle.io.dataloader.collate import default_collate_fn

    reader = StraightforwardReader(path)
    try:
        return speed(lambda keys: default_collate_fn([reader.item(key) for key in keys]), batches, repeats)
    finally:
        reader.environment.close()


def measure(folder: Path, images: int, batch: int, repeats: int) -> list[tuple[str, float]]:
    """(reader, images a second) of every reader."""
    text = folder / "regions.lmdb"
    keys = generate(text, images)
    shuffled = np.random.default_rng(1).permutation(keys).tolist()
    batches = [shuffled[start : start + batch] for start in range(0, images - batch + 1, batch)]
    results = [("straightforward reader, base64 LMDB", straightforward(text, batches, repeats))]
    sources = {"base64 LMDB": open_regions(text)}
    for dtype in ("float16", "float32"):
        convert_features(sources["base64 LMDB"], folder / dtype, dtype)
        sources[f"packed store, {dtype}"] = open_regions(folder / dtype)
    for name, source in sources.items():

        def read(some: list[str], source=source) -> object:
            found = source.read_batch(some, max_regions=REGIONS, global_region=True)
            return found.features, found.locations(), found.mask

        results.append((name, speed(read, batches, repeats)))
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), options.images, options.batch, options.repeats)
    base = results[0][1]
    print(
        f"`python {' '.join(sys.argv)}`: {options.images} images in batches of {options.batch} x 101 x 2048, "
        "one process\n"
    )
    print("| reader | images/s | ratio |\n| --- | ---: | ---: |")
    for name, rate in results:
        print(f"| {name} | {rate:,.0f} | {rate / base:.1f}x |")


if __name__ == "__main__":
    main()
