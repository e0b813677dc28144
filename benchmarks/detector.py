"""Cost of region features: seconds and peak memory per image of the full-size detector, images/s of grid features.

Run `python benchmarks/detector.py` and `python benchmarks/detector.py --grid`. Weights are random: the time depends on
them only by the number of proposals, here the largest. Every figure of the detector comes from its own process, after a
pass that is not counted; "plain" is the network with Paddle's convolutions, "folded" the one that extraction uses. The
images of `--grid` are JPEG files of 640 x 480 pixels, read, resized, described and written to a store.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import paddle
from PIL import Image
from safetensors.numpy import save_file

from pyutils.console import markdown_table
from pyutils.regions.detector import BottomUpDetector, DetectorConfig
from pyutils.regions.efficientnet_lite import EfficientNetLite0
from pyutils.regions.extract import extract
from pyutils.regions.extractors import open_backbone
from pyutils.regions.preprocess import preprocess
from pyutils.regions.resnet import Bottleneck

HEIGHT, WIDTH = 480, 640


def photographs(count: int, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Smooth random images: `[height, width, 3]` uint8 each."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, height // 40, width // 40, 3), np.uint8)
    return [np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in small]


def random_detector(config: DetectorConfig) -> BottomUpDetector:
    """A network whose random activations stay finite, and whose proposals are its anchors, so that all 300 occur."""
    paddle.seed(0)
    model = BottomUpDetector(config)
    for layer in model.sublayers():
        if isinstance(layer, Bottleneck):
            layer.conv3.norm.weight.set_value(0.1 * layer.conv3.norm.weight)
    for head in (model.rpn.deltas, model.heads.boxes):
        head.weight.set_value(paddle.zeros_like(head.weight))
    model.eval()
    return model


def measure(kind: str, batch: int, side: int) -> dict[str, object]:
    """Time the detector in this process. `side`: shorter side of the resized image (800: full size)."""
    config = DetectorConfig(min_side=side, max_side=side * 5 // 3, min_boxes=10, max_boxes=100)
    model = random_detector(config)
    if kind == "folded":
        model.fold_norms()
    images = photographs(batch)

    def describe() -> None:
        given = preprocess(images, config)
        model.detect(given.images, given.sizes, given.scales)

    describe()
    wall, processor = time.perf_counter(), time.process_time()
    describe()
    spent = time.perf_counter() - wall, time.process_time() - processor
    given = preprocess(images[:1], config)
    with paddle.no_grad():
        proposals = len(model.rpn.proposals(model.backbone(given.images), given.sizes)[0])
    return {
        "network": kind,
        "batch": batch,
        "proposals": proposals,
        "CPU s/image": f"{spent[1] / batch:.1f}",
        "s/image": f"{spent[0] / batch:.1f}",
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def detector_rows(batches: list[int], kinds: list[str], side: int) -> list[dict[str, object]]:
    """One process per row."""
    rows = []
    for kind in kinds:
        for batch in batches:
            command = [sys.executable, __file__, "--measure", kind, "--batches", str(batch), "--side", str(side)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def grid_rows(count: int, workers: list[int]) -> list[dict[str, object]]:
    """Images per second of EfficientNet-Lite0's grid, with 1, 2, … threads that decode."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "lite0.safetensors"
        save_file({name: value.numpy() for name, value in EfficientNetLite0().state_dict().items()}, str(weights))
        files = {}
        for number, image in enumerate(photographs(count)):
            files[f"{number}"] = Path(folder) / f"{number}.jpg"
            Image.fromarray(image).save(files[f"{number}"], quality=90)
        extractor = open_backbone("efficientnet-lite0", weights=str(weights))
        extract(dict(list(files.items())[:8]), Path(folder) / "first", extractor, 8)  # not counted
        for number in workers:
            wall, processor = time.perf_counter(), time.process_time()
            extract(files, Path(folder) / f"store{number}", extractor, batch=16, workers=number)
            spent = time.perf_counter() - wall, time.process_time() - processor
            rates = {"images/s": f"{count / spent[0]:.1f}", "images per CPU s": f"{count / spent[1]:.1f}"}
            rows.append({"workers": number, **rates, "load": f"{os.getloadavg()[0]:.1f}"})
    return rows


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8], help="images per forward pass")
    parser.add_argument("--networks", nargs="+", choices=("plain", "folded"), default=["plain", "folded"])
    parser.add_argument("--side", type=int, default=800, help="shorter side of the resized image (default 800)")
    parser.add_argument("--grid", action="store_true", help="measure grid features in place of the detector")
    parser.add_argument("--images", type=int, default=64, help="images of --grid (default 64)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="decoding threads of --grid")
    parser.add_argument("--measure", choices=("plain", "folded"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.batches[0], options.side)))
    elif options.grid:
        print(markdown_table(grid_rows(options.images, options.workers)))
    else:
        print(markdown_table(detector_rows(options.batches, options.networks, options.side)))


if __name__ == "__main__":
    main()
