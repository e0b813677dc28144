"""VisualBERT's tasks on the generated world: the chained recipe, training from scratch, and blind baselines.

    python benchmarks/visualbert_world.py --world sample_data/world4000 --output output/world --seeds 0,1,2

Generates a world of 4,000 scenes of three shapes and four colours if it is missing. Pre-trains on COCO, then on VQA and
on NLVR2, with the first seed; then fine-tunes VQA and NLVR2 from there and from scratch with each seed. The first seed
also runs both without images, and VCR (from COCO) and Flickr30k Entities with and without images. Finished runs are
kept, an interrupted one is resumed. Prints a table of means and standard deviations over the seeds, on the test split
(VCR, whose test labels are hidden: the last step on val).
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
# Stage -> script, configuration, steps, batch, learning rate, evaluated split, metric. Fine-tuning stops long before
# training from scratch has learnt all it can: the question is what pre-training is worth where fine-tuning is short.
STAGES = {
    "coco": ("run_pretrain.py", "pretrain.yaml", 700, 64, "1e-3", "", ""),
    "vqa-pre": ("run_pretrain.py", "pretrain.yaml", 3000, 128, "1e-3", "", ""),
    "nlvr2-pre": ("run_pretrain.py", "pretrain.yaml", 800, 128, "1e-3", "", ""),
    "vqa": ("run_vqa2.py", "world_vqa.yaml", 150, 64, "3e-4", "test", "accuracy"),
    "nlvr2": ("run_nlvr2.py", "nlvr2.yaml", 200, 64, "3e-4", "test1", "accuracy"),
    "vcr": ("run_vcr.py", "vcr.yaml", 300, 64, "1e-3", "", "accuracy"),
    "flickr": ("run_flickr.py", "flickr.yaml", 150, 64, "1e-3", "test", "recall@1"),
}
# Task pre-training is MLM, and for NLVR2 also sentence-image prediction, as in the authors' code.
PRETRAINING = {
    "vqa": ("--dataset", "vqa2"),
    "nlvr2": ("--dataset", "nlvr2", "--set", "pretraining.objective=words_and_matching"),
}
# The new head has a higher learning rate than the pre-trained part, in the chain and from scratch alike.
HEAD_RATE = 'train.optimizer.lr_multipliers={"^classifier": 5.0}'
# Settings of image_input for training and testing; for tasks that choose a box, withheld keeps the boxes but not
# their features.
BASELINES = {
    "vqa": ("withheld",),
    "nlvr2": ("withheld",),
    "vcr": ("shown", "withheld"),
    "flickr": ("shown", "withheld"),
}


class Bench:
    """Runs the stages of one seed in separate processes; results are kept in `output`."""

    def __init__(self, world: Path, output: Path, seed: int, scale: float):
        self.world, self.output, self.seed, self.scale = world, output / f"seed{seed}", seed, scale
        self.shared = output / "shared"

    def run(self, name: str, stage: str, *arguments: str, init: str = "") -> float:
        """Run a stage; returns its metric (0 for pre-training). `init` names the stage whose weights it starts from."""
        script, config, steps, batch, rate, split, metric = STAGES[stage]
        folder = (self.output if metric else self.shared) / name
        command = [sys.executable, str(ROOT / "visualbert_paddle" / script), "--config", str(CONFIGS / config)]
        command += ["--output_dir", str(folder), "--seed", str(self.seed)]
        command += ["--max_steps", str(max(1, round(steps * self.scale))), "--num_train_epochs", "1000"]
        settings = [f"train.batch_size={batch}", f"train.optimizer.lr={rate}"]
        settings += ["train.eval_every_epochs=1000", "train.scalars=false"]
        settings += [HEAD_RATE] if stage in PRETRAINING else []
        command += [word for setting in settings for word in ("--set", setting)]
        command += ["--set", f"tokenizer={self.world}/vocab.txt", *arguments]
        command += ["--model_name_or_path", str(self.shared / init / "best")] if init else []
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

    def data(self, task: str) -> tuple[str, ...]:
        """Return the arguments that name a task's features and annotations."""
        below = {"vqa": "VQA2", "nlvr2": "NLVR2", "vcr": "", "flickr": "Flickr30kEntities", "coco": "COCO"}[task]
        return (*regions(self.world, "coco" if task == "vqa" else task), "--annotations", str(self.world / below))

    def chains(self, tasks: list[str]) -> dict[str, float]:
        """Measure the chained recipe and training from scratch: row of the table -> metric."""
        found = {}
        self.run("coco", "coco", "--dataset", "coco_captions", *self.data("coco"))
        for task, objective in PRETRAINING.items():
            if task in tasks:
                self.run(f"{task}-pre", f"{task}-pre", *objective, *self.data(task), init="coco")
                found[f"{task}, chain"] = self.run(f"{task}-chain", task, *self.data(task), init=f"{task}-pre")
                found[f"{task}, from scratch"] = self.run(f"{task}-scratch", task, *self.data(task))
        return found

    def baselines(self, tasks: list[str]) -> dict[str, float]:
        """Measure the `BASELINES`: row of the table -> metric."""
        found = {}
        for task, init in (("vcr", "coco"), ("flickr", ""), ("vqa", "vqa-pre"), ("nlvr2", "nlvr2-pre")):
            for picture in BASELINES[task] if task in tasks else ():
                arguments = (*self.data(task), "--set", f"image_input={picture}")
                found[f"{task}, images {picture}"] = self.run(f"{task}-{picture}", task, *arguments, init=init)
        return found


def regions(world: Path, kind: str) -> tuple[str, ...]:
    """Return the settings that name the packed features of one kind, after making them if they are missing."""
    store = world / f"{kind}.packed"
    if not store.exists():
        source = ("convert", str(world / FEATURES[kind]), str(store), "--dtype", "float32")
        call([sys.executable, "-m", "pyutils.data.features", *source], world)
    return "--set", f"regions.path={store}"


def call(command: list[str], folder: Path) -> None:
    """Run a command, appending its output to `folder/output.log`; exits if it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.log").open("a", encoding="utf-8") as log:
        status = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if status:
        sys.exit(f"{' '.join(command)}\nended with status {status}: see {folder}/output.log")


def make(world: Path) -> Path:
    """Generate the world in the directory `world` if it is missing."""
    if not (world / "sample.json").is_file():
        print("generating 4,000 scenes of each kind", file=sys.stderr, flush=True)
        few = ("--scenes", "4000", "--shapes", "3", "--colours", "4", "--sentences", "6")
        parts = ("--only", "vqa,coco,nlvr2,vcr,entities")
        command = [sys.executable, "-m", "pyutils.sample", "world", "--output", str(world), *few, *parts]
        call(command, world.with_name(f"{world.name}.log"))
    return world


def main() -> None:
    """Parse the command line, run every seed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--world", type=Path, default=Path("sample_data/world4000"), help="directory of the generated world"
    )
    parser.add_argument("--output", type=Path, default=Path("output/world"), help="directory of the runs")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--tasks", default="vqa,nlvr2,vcr,flickr", help="comma-separated")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all numbers of steps")
    options = parser.parse_args()
    world = make(options.world.absolute())
    found: dict[str, list[float]] = {}
    benches = [Bench(world, options.output.absolute(), int(seed), options.scale) for seed in options.seeds.split(",")]
    tasks = options.tasks.split(",")
    results = [bench.chains(tasks) for bench in benches] + [benches[0].baselines(tasks)]
    for row, figure in (pair for result in results for pair in result.items()):
        found.setdefault(row, []).append(figure)
    print("| task | mean | standard deviation | each seed |\n|---|---|---|---|")
    for row, figures in found.items():
        spread = statistics.stdev(figures) if len(figures) > 1 else 0.0
        each = ", ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {row} | {statistics.mean(figures):.2f} | {spread:.2f} | {each} |")


if __name__ == "__main__":
    main()
