"""Cost of region features: seconds and peak memory per image of the full-size detector, images/s of grid features.

    python benchmarks/detector.py                   # ours, batches of 1, 4 and 8
    python benchmarks/detector.py --profile         # seconds of each stage
    python benchmarks/detector.py --grid            # images/s of EfficientNet-Lite0's grid
    python benchmarks/detector.py --reference DIR --reference-python TORCH/bin/python --batches 1 4

`--reference` compares with the original PyTorch code: DIR holds `modeling_frcnn.py`, `processing_image.py` and
`utils.py` of Hugging Face's LXMERT research project, and TORCH is an environment of its own with torch, numpy, opencv,
pillow, requests, tqdm, wget, pyyaml and filelock. Both read the same image files with the same weights on the same
threads, in turn; what they find is compared.

Weights are random: the time depends on them only by the number of proposals, here the largest. Every figure comes from
its own process, after a pass that is not counted; "plain" is the network with Paddle's convolutions, "folded" the one
that extraction uses. Images of `--grid` are JPEG files of 640 x 480 pixels, read, resized, described and written to a
store.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from PIL import Image
from safetensors.numpy import save_file

from pyutils.console import markdown_table
from pyutils.data.features.matching import match_boxes
from pyutils.regions.detector import BottomUpDetector, DetectorConfig, select_detections
from pyutils.regions.efficientnet_lite import EfficientNetLite0
from pyutils.regions.extract import extract, read_image
from pyutils.regions.extractors import open_backbone, open_detector
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


def grid_rows(count: int, workers: list[int], rounds: int) -> list[dict[str, object]]:
    """Images per second of EfficientNet-Lite0's grid by threads that decode, in turn: medians of the rounds."""
    seconds: dict[int, list[float]] = {number: [] for number in workers}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "lite0.safetensors"
        save_file({name: value.numpy() for name, value in EfficientNetLite0().state_dict().items()}, str(weights))
        files = {}
        for number, image in enumerate(photographs(count)):
            files[f"{number}"] = Path(folder) / f"{number}.jpg"
            Image.fromarray(image).save(files[f"{number}"], quality=90)
        extractor = open_backbone("efficientnet-lite0", weights=str(weights))
        extract(dict(list(files.items())[:8]), Path(folder) / "first", extractor, 8)  # not counted
        for turn in range(rounds):
            for number in workers:
                begun = time.perf_counter()
                extract(files, Path(folder) / f"store{turn}.{number}", extractor, batch=16, workers=number)
                seconds[number].append(time.perf_counter() - begun)
    rows: list[dict[str, object]] = []
    for number, spent in seconds.items():
        rates = [count / each for each in spent]
        shown = f"{statistics.median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
        rows.append({"workers": number, "images/s": shown, "load": f"{os.getloadavg()[0]:.1f}"})
    return rows


def serve(weights: str) -> None:
    """Answer every line of the input, image files separated by tabs, as `detector_reference.py` does."""
    extractor = open_detector(weights)
    print(json.dumps({"paddle": paddle.__version__}), flush=True)
    for line in sys.stdin:
        begun, processor = time.perf_counter(), time.process_time()
        images = [read_image(Path(file)) for file in line.rstrip("\n").split("\t")]
        given = preprocess(images, extractor.config)
        found = extractor.model.detect(given.images, given.sizes, given.scales)
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        arrays = {
            "boxes": np.stack([each.boxes for each in found]),
            "obj_ids": np.stack([each.class_ids for each in found]),
            "roi_features": np.stack([each.features for each in found]),
        }
        np.savez(Path(weights).with_name("ours.npz"), **arrays)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps({"seconds": seconds, "CPU": processor, "peak MiB": peak}), flush=True)


@contextmanager
def answering(command: list[str]) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Start a process that answers lines with JSON; yields the function that asks it."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def answer() -> dict[str, Any]:
            line = process.stdout.readline() if process.stdout else ""
            return json.loads(line) if line else sys.exit(f"{command[1]} ended; see its message above")

        def ask(line: str) -> dict[str, Any]:
            assert process.stdin
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return answer()

        print(answer(), file=sys.stderr, flush=True)
        yield ask
        process.stdin.close()


def compare(options: argparse.Namespace) -> list[dict[str, object]]:
    """Time ours and the original in turn, one row per batch size: medians of the rounds, (least-most)."""
    rows: list[dict[str, object]] = []
    threads = os.environ.get("PYUTILS_CPU_THREADS", "1")
    for batch in options.batches:
        with tempfile.TemporaryDirectory() as folder:
            weights, files = f"{folder}/pytorch_model.bin", []
            for number, image in enumerate(photographs(batch)):
                files.append(f"{folder}/{number}.png")
                Image.fromarray(image).save(files[-1])
            reference = Path(__file__).with_name("detector_reference.py")
            original = [options.reference_python, str(reference), options.reference, weights]
            original += [str(options.side), threads]
            own = [sys.executable, __file__, "--serve", weights]
            with answering(original) as theirs, answering(own) as ours:
                pairs = [(theirs("\t".join(files)), ours("\t".join(files))) for _ in range(options.rounds + 1)][1:]
            for pair in pairs:
                print(*pair, file=sys.stderr, flush=True)
            rows.append({"batch": batch, **compared(pairs, batch), **agreement(Path(folder))})
            rows[-1]["load"] = f"{os.getloadavg()[0]:.1f}"
    return rows


def compared(pairs: list[tuple[dict[str, Any], dict[str, Any]]], batch: int) -> dict[str, object]:
    """Medians and spread of the answers (original, ours) of each round, in seconds per image."""

    def spread(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"

    return {
        "original s/image": spread([theirs["seconds"] / batch for theirs, _ in pairs]),
        "ours s/image": spread([ours["seconds"] / batch for _, ours in pairs]),
        "ratio": spread([theirs["seconds"] / ours["seconds"] for theirs, ours in pairs]),
        "ratio, CPU time": spread([theirs["CPU"] / ours["CPU"] for theirs, ours in pairs]),
        "without its operators": spread(
            [(theirs["CPU"] - theirs["operators"]) / ours["CPU"] for theirs, ours in pairs]
        ),
        "original peak MiB": pairs[-1][0]["peak MiB"],
        "ours peak MiB": pairs[-1][1]["peak MiB"],
    }


def agreement(folder: Path) -> dict[str, object]:
    """How much both found the same: boxes with IoU above 0.99, and the largest difference of their features."""
    theirs, ours = np.load(folder / "original.npz"), np.load(folder / "ours.npz")
    same, total, largest = 0, 0, 0.0
    for image in range(len(ours["boxes"])):
        pairs, _ = match_boxes(ours["boxes"][image], theirs["boxes"][image], 0.99)
        features = ours["roi_features"][image][pairs[:, 0]], theirs["roi_features"][image][pairs[:, 1]]
        same, total = same + len(pairs), total + len(ours["boxes"][image])
        largest = max(largest, float(np.abs(features[0] - features[1]).max(initial=0)))
    return {"same boxes": f"{same}/{total}", "largest feature difference": f"{largest:.1g}"}


def profile(side: int, rounds: int) -> list[dict[str, object]]:
    """Seconds of the folded detector's stages on one image, medians of `rounds`, after a pass that is not counted."""
    config = DetectorConfig(min_side=side, max_side=side * 5 // 3, min_boxes=10, max_boxes=100)
    model = random_detector(config)
    model.fold_norms()
    image, backbone = photographs(1), model.backbone
    spent: dict[str, list[float]] = {}

    def stage(name: str, function: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        found = function()
        spent.setdefault(name, []).append(time.perf_counter() - begun)
        return found

    with paddle.no_grad():
        for _ in range(rounds + 1):
            given = stage("resize", lambda: preprocess(image, config))
            maps = stage("stem", lambda given=given: backbone.pooled_stem(given.images).transpose([0, 2, 3, 1]))
            for name in ("res2", "res3", "res4"):
                maps = stage(name, lambda name=name, maps=maps: getattr(backbone, name)(maps))
            maps = maps.transpose([0, 3, 1, 2])
            boxes = stage("proposals", lambda maps=maps, given=given: model.rpn.proposals(maps, given.sizes))
            found = stage("RoIPool, res5", lambda maps=maps, boxes=boxes: model.region_features(maps, boxes))
            output = stage("heads", lambda found=found: model.heads(found))
            chosen = (config, boxes, found, output, given.sizes, given.scales)
            stage("selection", lambda chosen=chosen: select_detections(*chosen))
    medians = {name: statistics.median(values[1:]) for name, values in spent.items()}
    total = sum(medians.values())
    rows: list[dict[str, object]] = [
        {"stage": name, "s": f"{value:.2f}", "share": f"{100 * value / total:.0f} %"} for name, value in medians.items()
    ]
    return [*rows, {"stage": "sum", "s": f"{total:.2f}", "share": ""}]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8], help="images per forward pass")
    parser.add_argument("--networks", nargs="+", choices=("plain", "folded"), default=["plain", "folded"])
    parser.add_argument("--side", type=int, default=800, help="shorter side of the resized image (default 800)")
    parser.add_argument("--grid", action="store_true", help="measure grid features in place of the detector")
    parser.add_argument("--images", type=int, default=64, help="images of --grid (default 64)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="decoding threads of --grid")
    parser.add_argument("--profile", action="store_true", help="seconds of each stage of the detector")
    parser.add_argument("--reference", help="folder of the original code: compare with it")
    parser.add_argument("--reference-python", help="Python of an environment with torch")
    parser.add_argument("--rounds", type=int, default=5, help="of --reference, --profile and --grid (default 5)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=("plain", "folded"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.reference:
        if not options.reference_python:
            parser.error("--reference needs --reference-python")
        print(markdown_table(compare(options)))
    elif options.profile:
        print(markdown_table(profile(options.side, options.rounds)))
    elif options.measure:
        print(json.dumps(measure(options.measure, options.batches[0], options.side)))
    elif options.grid:
        print(markdown_table(grid_rows(options.images, options.workers, options.rounds)))
    else:
        print(markdown_table(detector_rows(options.batches, options.networks, options.side)))


if __name__ == "__main__":
    main()
