"""One RefCOCO+ training step of ViLBERT at base size, compared with a step as in the original code.

    PYTHONPATH=. python benchmarks/vilbert_step.py [--steps 3] [--threads 2] [--batch 8] [--profile]

Both train the same layers with the same weights in fp32, on the same expressions and images of 100 regions plus the
global one. Ours: text padded to the longest of the batch, only the head of RefCOCO, the fused optimizer. The original:
text padded to 20 tokens and regions to 101, every head computed (masked words of all tokens, masked regions, answers,
…), gradients clipped and BertAdam computed parameter by parameter. Forward, loss, backward, optimizer. Also prints the
time to make and copy a batch, as a percentage of our step, without data workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LENGTH, REGIONS = 20, 101
RATE, DECAY, BETAS, EPSILON, LARGEST = 4e-5, 0.01, (0.9, 0.999), 1e-6, 1.0
Batch = dict[str, np.ndarray]


def padded(batch: Batch) -> Batch:
    """Pad texts to 20 tokens and images to 101 regions, as in the original."""
    widths = dict.fromkeys(("input_ids", "text_mask", "token_type_ids"), LENGTH)
    widths.update(dict.fromkeys(("region_features", "region_mask", "region_boxes", "labels"), REGIONS))
    result = {}
    for name, array in batch.items():
        missing = widths.get(name, 0) - array.shape[1] if array.ndim > 1 else 0
        result[name] = np.pad(array, [(0, 0), (0, max(0, missing)), *[(0, 0)] * (array.ndim - 2)])
    return result


def our_step(model) -> Callable[[Batch], None]:
    """Return a step like that of `ReferTask` and the trainer."""
    import paddle

    from pyutils.losses import vqa_bce
    from pyutils.optim import OptimizerConfig, build_optimizer
    from vilbert_paddle.network.objectives import network_inputs
    from vilbert_paddle.tasks.parameter_groups import with_groups

    config = OptimizerConfig(name="adamw_transformers", lr=RATE, correct_bias=False, weight_decay=DECAY)
    named = {name: value for name, value in model.named_parameters() if name.startswith(("encoder.", "heads.region."))}
    optimizer = build_optimizer(with_groups(config, ["region"]), named)

    def step(batch: Batch) -> None:
        tensors = {name: paddle.to_tensor(array) for name, array in batch.items()}
        vqa_bce(model("region", **network_inputs(tensors)), tensors["labels"]).backward()
        optimizer.step()
        optimizer.clear_grad()

    return step


def original_step(model) -> Callable[[Batch], None]:
    """Return a step as in the original: all heads, fixed lengths, a loop over the parameters."""
    import paddle

    from pyutils.losses import vqa_bce
    from vilbert_paddle.network.heads import HEADS
    from vilbert_paddle.network.objectives import network_inputs

    moments: dict[str, list] = {}

    def update(name: str, value) -> None:
        gradient = value.grad
        gradient = gradient * min(1.0, LARGEST / (float(gradient.norm()) + 1e-6))
        first, second = moments.setdefault(name, [paddle.zeros_like(value), paddle.zeros_like(value)])
        first = moments[name][0] = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = moments[name][1] = BETAS[1] * second + (1 - BETAS[1]) * gradient * gradient
        change = first / (second.sqrt() + EPSILON)
        if not name.endswith(("bias", "norm.weight")):
            change = change + DECAY * value
        value.set_value(value - RATE * change)

    def step(batch: Batch) -> None:
        tensors = {name: paddle.to_tensor(array) for name, array in padded(batch).items()}
        encoded = model.encoder(**network_inputs(tensors))
        scores = {name: HEADS[name].score(model, head, encoded) for name, head in model.heads.items()}
        vqa_bce(scores["region"], tensors["labels"]).backward()
        with paddle.no_grad():
            for name, value in model.named_parameters():
                if value.grad is not None:
                    update(name, value)
        model.clear_gradients()

    return step


def batches(folder: Path, batch: int, count: int) -> tuple[list[Batch], list[float]]:
    """Make `count` batches of expressions about images of 100 regions from a base64 LMDB; also the seconds of each."""
    from regions import generate
    from vilbert_refer_epoch import expressions, ours, vocabulary

    from pyutils.data.features.inputs import RegionConfig
    from vilbert_paddle.data.regions import RegionReader

    records = expressions(generate(folder / "regions.lmdb", batch * count))
    reader, tokenizer = RegionReader(RegionConfig(path=str(folder / "regions.lmdb")), 2048), vocabulary(folder)
    made, seconds = [], []
    for start in range(0, len(records), batch):
        before = time.perf_counter()
        tensors = ours(reader, tokenizer, records[start : start + batch])
        seconds.append(time.perf_counter() - before)
        made.append({name: tensor.numpy() for name, tensor in tensors.items() if name != "annotated_cut"})
    return made, seconds


def profile(step: Callable[[Batch], None], batch: Batch) -> None:
    """Print the most expensive operators of one step."""
    import paddle.profiler as profiler

    with profiler.Profiler(targets=[profiler.ProfilerTarget.CPU]) as watching:
        step(batch)
    watching.summary(sorted_by=profiler.SortedKeys.CPUTotal, op_detail=False, thread_sep=False, time_unit="ms")


def main() -> None:
    """Time both alternately and print the medians, their ratio, and the percentage of data loading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--profile", action="store_true", help="print the operators of one step of ours")
    options = parser.parse_args()
    os.environ["PYUTILS_CPU_THREADS"] = str(options.threads)
    from vilbert_paddle.config import VilbertConfig
    from vilbert_paddle.network.heads import HEADS, VilbertForTasks

    model = VilbertForTasks(VilbertConfig(), list(HEADS))
    model.train()
    sides = {"ours": our_step(model), "as the original": original_step(model)}
    with tempfile.TemporaryDirectory() as folder:
        made, reading = batches(Path(folder), options.batch, options.steps + 1)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for batch in made:
        for name, step in sides.items():
            start = time.perf_counter()
            step(batch)
            seconds[name].append(time.perf_counter() - start)
    middle = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first step warms up
    print(f"batch {options.batch}, {REGIONS} regions, {options.threads} threads, median of {options.steps} steps")
    print("| side | seconds a step | fastest | times |\n| --- | --- | --- | --- |")
    for name, value in middle.items():
        print(f"| {name} | {value:.2f} | {min(seconds[name][1:]):.2f} | {middle['as the original'] / value:.2f} |")
    data = statistics.median(reading[1:])
    print(f"a batch takes {1000 * data:.0f} ms to make: {100 * data / (data + middle['ours']):.1f} % of a step")
    if options.profile:
        profile(sides["ours"], made[-1])


if __name__ == "__main__":
    main()
