"""VisualBERT's tasks on the drawn world: the chained recipe beside training from scratch, and blind baselines.

    python benchmarks/visualbert_world.py --world sample_data/world3000 --output output/world --seeds 0,1,2

Makes a world of 3,000 scenes, and one of 16,000 for NLVR2, unless they are there. For each seed: COCO pre-training; VQA
and NLVR2 with task pre-training and fine-tuning after it, with the same fine-tuning from scratch, and with the pictures
withheld; VCR (from COCO) and Flickr30k Entities with the pictures shown and withheld. Finished runs stay.
Prints a table of means and standard deviations over the seeds, on the test split (VCR: the last epoch on val).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs/visualbert/tiny"
FEATURES = {
    "coco": "X_COCO/data/detectron_fix_100",
    "nlvr2": "X_NLVR/data/detectron_fix_144",
    "flickr": "X_FLICKR/data/detectron_fix_100",
    "vcr": "lmdb/vcr_gt_array.lmdb",
}
# Stage -> script, configuration, epochs, evaluated split, metric.
STAGES = {
    "coco": ("run_pretrain.py", "pretrain.yaml", 12, "", ""),
    "vqa-pre": ("run_pretrain.py", "pretrain.yaml", 4, "", ""),
    "nlvr2-pre": ("run_pretrain.py", "pretrain.yaml", 4, "", ""),
    "vqa": ("run_vqa2.py", "world_vqa.yaml", 8, "test", "accuracy"),
    "nlvr2": ("run_nlvr2.py", "nlvr2.yaml", 8, "test1", "accuracy"),
    "vcr": ("run_vcr.py", "vcr.yaml", 12, "", "accuracy"),
    "flickr": ("run_flickr.py", "flickr.yaml", 4, "test", "recall@1"),
}


class Bench:
    """Runs the stages of one seed in processes of their own; results stay in `output`."""

    def __init__(self, worlds: dict[str, Path], output: Path, seed: int, scale: float):
        self.worlds, self.output, self.seed, self.scale = worlds, output / f"seed{seed}", seed, scale

    def run(self, name: str, stage: str, *arguments: str, init: str = "") -> float:
        """The figure of a stage (0 for pre-training); `init` names the stage whose weights it starts from."""
        script, config, epochs, split, metric = STAGES[stage]
        folder = self.output / name
        epochs = max(1, round(epochs * self.scale))
        command = [sys.executable, str(ROOT / "visualbert_paddle" / script), "--config", str(CONFIGS / config)]
        command += ["--output_dir", str(folder), "--seed", str(self.seed), "--num_train_epochs", str(epochs)]
        command += ["--set", f"train.eval_every_epochs={max(1, epochs // 2)}", "--set", "train.scalars=false"]
        command += ["--set", f"tokenizer={self.worlds['all']}/vocab.txt", *arguments]
        command += ["--model_name_or_path", str(self.output / init / "best")] if init else []
        if not (folder / "done").is_file():
            start = time.monotonic()
            call([*command, "--resume", "auto"], folder)
            if split:
                call([*command, "--model_name_or_path", str(folder / "best"), "--evaluate"], folder)
            (folder / "done").write_text(f"{time.monotonic() - start:.0f}\n")
        print(f"seed {self.seed}, {name}: {(folder / 'done').read_text().strip()} s", file=sys.stderr, flush=True)
        if not metric:
            return 0.0
        file = folder / (f"metrics_{split}.json" if split else "metrics.json")
        found = json.loads(file.read_text())
        return (found if split else found["last"])[metric]

    def results(self, tasks: list[str]) -> dict[str, float]:
        """Row of the table -> figure."""
        every, pairs = self.worlds["all"], self.worlds["nlvr2"]
        captions = ("--dataset", "coco_captions", *regions(every, "coco"), "--annotations", f"{every}/COCO")
        questions = (*regions(every, "coco"), "--annotations", f"{every}/VQA2")
        statements = (*regions(pairs, "nlvr2"), "--annotations", f"{pairs}/NLVR2")
        stories, sentences = ("--annotations", str(every)), ("--annotations", f"{every}/Flickr30kEntities")
        found = {}
        if {"vqa", "nlvr2", "vcr"} & set(tasks):
            self.run("coco", "coco", *captions)
        for task, data, dataset in (("vqa", questions, "vqa2"), ("nlvr2", statements, "nlvr2")):
            if task in tasks:
                self.run(f"{task}-pre", f"{task}-pre", "--dataset", dataset, *data, init="coco")
                found[f"{task}, chain"] = self.run(f"{task}-chain", task, *data, init=f"{task}-pre")
                found[f"{task}, from scratch"] = self.run(f"{task}-scratch", task, *data)
                blind = (*data, "--set", "regions.picture=withheld")
                found[f"{task}, pictures withheld"] = self.run(f"{task}-blind", task, *blind, init=f"{task}-pre")
        for task, data, init in (("vcr", stories, "coco"), ("flickr", sentences, "")):
            for picture in ("shown", "withheld") if task in tasks else ():
                shown = (*regions(every, task), *data, "--set", f"regions.picture={picture}")
                found[f"{task}, pictures {picture}"] = self.run(f"{task}-{picture}", task, *shown, init=init)
        return found


def regions(world: Path, kind: str) -> tuple[str, ...]:
    """The settings that name the packed features of one kind, which are made where they are not there."""
    store = world / f"{kind}.packed"
    if not store.exists():
        source = ("convert", str(world / FEATURES[kind]), str(store), "--dtype", "float32")
        call([sys.executable, "-m", "pyutils.data.features", *source], world)
    return "--set", f"regions.path={store}"


def call(command: list[str], folder: Path) -> None:
    """Run a command, its output appended to `folder/output.log`; ends the program when it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("a", encoding="utf-8") as log:
        status = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if status:
        sys.exit(f"{' '.join(command)}\nended with status {status}: see {folder}/output.log")


def make(world: Path, scenes: int, parts: str) -> Path:
    """The world in the folder `world`, drawn unless it is there."""
    if not (world / "sample.json").is_file():
        arguments = ("--output", str(world), "--scenes", str(scenes), "--only", parts)
        print(f"drawing {scenes} scenes of {parts}", file=sys.stderr, flush=True)
        call([sys.executable, "-m", "pyutils.sample", "world", *arguments], world.with_name(f"{world.name}.log"))
    return world


def main() -> None:
    """Parse the command line, run every seed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("sample_data/world3000"), help="the drawn world")
    parser.add_argument("--pairs", type=Path, help="the drawn world of NLVR2 (default WORLD_nlvr2)")
    parser.add_argument("--output", type=Path, default=Path("output/world"), help="folder of the runs")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--tasks", default="vqa,nlvr2,vcr,flickr", help="comma-separated")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all numbers of epochs")
    options = parser.parse_args()
    pairs = options.pairs or options.world.with_name(f"{options.world.name}_nlvr2")
    worlds = {
        "all": make(options.world.absolute(), 3000, "vqa,coco,nlvr2,vcr,entities"),
        "nlvr2": make(pairs.absolute(), 16000, "nlvr2") if "nlvr2" in options.tasks else pairs,
    }
    found: dict[str, list[float]] = {}
    for seed in map(int, options.seeds.split(",")):
        bench = Bench(worlds, options.output.absolute(), seed, options.scale)
        for row, figure in bench.results(options.tasks.split(",")).items():
            found.setdefault(row, []).append(figure)
    print("| task | mean | standard deviation | each seed |\n|---|---|---|---|")
    for row, figures in found.items():
        spread = statistics.stdev(figures) if len(figures) > 1 else 0.0
        each = ", ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {row} | {statistics.mean(figures):.2f} | {spread:.2f} | {each} |")


if __name__ == "__main__":
    main()
