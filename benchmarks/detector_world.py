"""Regions of a small trained detector against true boxes: VisualBERT's VQA and ViLBERT's RefCOCO+ on drawn scenes.

    python benchmarks/detector_world.py --output output/detector_world --seeds 0,1

Trains the detector of `configs/detector/tiny.yaml` on drawn scenes of its own, describes the scenes of both tasks with
it, once the boxes that it finds and once the true ones, and trains each task on either with the recipes in
`configs/*/tiny`; everything else is equal. Finished steps are kept, an interrupted training is resumed. Prints a table
in percent: VQA's test split, RefCOCO+'s testA and testB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from visualbert_world import ROOT, call

from pyutils.console import markdown_table
from pyutils.data.features import open_regions
from pyutils.data.features.keys import numeric_id
from pyutils.formats.atomic import write_json
from pyutils.regions.extract import list_images

BOXES = {"detected": "regions of the detector", "true": "true boxes"}
# Task -> script, configuration, evaluated splits. The detector's features have 192 numbers, as these recipes expect.
TASKS = {
    "VisualBERT, VQA": ("visualbert_paddle/run_vqa2.py", "visualbert/tiny/world_vqa.yaml", ("test",)),
    "ViLBERT, RefCOCO+": ("vilbert_paddle/run_refer.py", "vilbert/tiny/refcoco+.yaml", ("testA", "testB")),
}


class Bench:
    """The steps below the folder `output`; each is a process of its own."""

    def __init__(self, output: Path, scenes: int):
        self.output, self.scenes = output, str(scenes)
        self.world, self.detector = output / "world", output / "detector"

    def step(self, name: str, *commands: list[str]) -> None:
        """Run `commands` unless the step `name` is finished; logs its seconds."""
        mark, begun = self.output / f"{name}.done", time.monotonic()
        if not mark.is_file():
            for command in commands:
                call([sys.executable, *command], self.output / "logs" / name)
            mark.write_text(f"{time.monotonic() - begun:.0f}\n")
        print(f"{name}: {mark.read_text().strip()} s", file=sys.stderr, flush=True)

    def data(self) -> None:
        """Draw the scenes, train the detector, describe its boxes and the true ones."""
        few = ("--scenes", self.scenes, "--shapes", "3", "--colours", "4", "--only", "vqa,refcoco+")
        self.step("world", ["-m", "pyutils.sample", "world", "--output", str(self.world), *few])
        boxes = self.output / "boxes"
        self.step("boxes", ["-m", "pyutils.sample", "boxes", "--output", str(boxes)])
        training = ["-m", "pyutils.detection", "--data_dir", str(boxes), "--output_dir", str(self.detector)]
        self.step("detector", [*training, "--resume", "auto"])
        true = self.output / "true.json"
        if not true.is_file():
            self._write_true_boxes(true)
        extract = ["-m", "pyutils", "features", "extract", "--images", str(self.world / "images/coco")]
        extract += ["--detector", str(self.detector), "--boxes", "1:16", "--batch", "8", "--out"]
        self.step("regions-detected", [*extract, str(self.output / "detected")])
        self.step("regions-true", [*extract, str(self.output / "true"), "--gt-boxes", str(true)])

    def _write_true_boxes(self, file: Path) -> None:
        """Write the boxes of all objects of the scenes as `--gt-boxes` reads them."""
        annotated = open_regions(self.world / "lmdb/coco_gt_array.lmdb")
        found = {}
        for key in list_images(self.world / "images/coco"):
            boxes = annotated[str(numeric_id(key))].boxes
            assert boxes is not None
            found[key] = boxes.tolist()
        write_json(file, found)

    def run(self, task: str, kind: str, seed: int) -> dict[str, float]:
        """Train `task` on the regions `kind`; returns its accuracy by split."""
        script, config, splits = TASKS[task]
        name = f"{Path(script).stem}-{kind}-{seed}"
        folder = self.output / name
        command = [str(ROOT / script), "--config", str(ROOT / "configs" / config), "--output_dir", str(folder)]
        settings = [f"regions.path={self.output / kind}", f"tokenizer={self.world}/vocab.txt", "train.scalars=false"]
        if task.startswith("VisualBERT"):
            settings += [f"vqa.root={self.world}/VQA2"]
        else:
            settings += [f"refer.root={self.world}", "annotated_regions.path="]
        command += ["--seed", str(seed), *(word for setting in settings for word in ("--set", setting))]
        own = "--model_name_or_path" if task.startswith("VisualBERT") else "--from_pretrained"
        test = [[*command, own, str(folder / "best"), "--evaluate", "--set", f"eval_split={split}"] for split in splits]
        self.step(name, [*command, "--resume", "auto"], *test)
        return {split: json.loads((folder / f"metrics_{split}.json").read_text())["accuracy"] for split in splits}


def table(found: dict[tuple[str, str, str], list[float]]) -> list[dict[str, object]]:
    """Rows of task and split: the accuracy on each kind of regions, mean and each seed, and the difference."""
    rows: list[dict[str, object]] = []
    for task, split in dict.fromkeys((task, split) for task, _, split in found):
        means = {}
        row: dict[str, object] = {"task": f"{task}, {split}"}
        for kind, title in BOXES.items():
            figures = found[task, kind, split]
            means[kind] = statistics.mean(figures)
            row[title] = f"{means[kind]:.2f} ({', '.join(f'{figure:.2f}' for figure in figures)})"
        rows.append({**row, "difference": f"{means['detected'] - means['true']:+.2f}"})
    return rows


def main() -> None:
    """Parse the command line, run every step, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/detector_world"), help="folder of everything")
    parser.add_argument("--seeds", default="0,1", help="of the tasks, comma-separated")
    parser.add_argument("--scenes", type=int, default=4000, help="scenes of the tasks (default 4000)")
    options = parser.parse_args()
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    bench = Bench(output, options.scenes)
    bench.data()
    found: dict[tuple[str, str, str], list[float]] = {}
    for seed in options.seeds.split(","):
        for task in TASKS:
            for kind in BOXES:
                for split, figure in bench.run(task, kind, int(seed)).items():
                    found.setdefault((task, kind, split), []).append(figure)
    print(markdown_table(table(found)))


if __name__ == "__main__":
    main()
