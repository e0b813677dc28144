"""Time and memory of one NLVR2 training step of VisualBERT at base size, by the number of regions per image.

    python benchmarks/visualbert_nlvr2_regions.py [--regions 9,18,36,72,144] [--batch 4] [--steps 3] [--threads 2]

Each number runs in its own process: forward, loss, backward, AdamW. Memory is the peak of the process on the CPU, of
the allocator on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

WORDS, VISUAL_DIM = 24, 1024


def make_batch(pairs: int, regions: int) -> dict[str, np.ndarray]:
    """Make sentences of 24 tokens about two images of `regions` regions each."""
    rng = np.random.default_rng(0)
    types = np.repeat([[0, 1]], regions, axis=1).repeat(pairs, axis=0)
    return {
        "input_ids": rng.integers(1000, 30000, size=(pairs, WORDS)),
        "text_mask": np.ones((pairs, WORDS), dtype=np.int64),
        "token_type_ids": np.zeros((pairs, WORDS), dtype=np.int64),
        "region_features": rng.standard_normal((pairs, 2 * regions, VISUAL_DIM), dtype=np.float32),
        "region_mask": np.ones((pairs, 2 * regions), dtype=np.int64),
        "region_token_type_ids": types,
        "labels": rng.integers(2, size=pairs),
    }


def measure(regions: int, pairs: int, steps: int, threads: int) -> dict[str, float]:
    """Measure the median seconds of a step and the peak memory in MiB, in this process."""
    os.environ["PYUTILS_CPU_THREADS"] = str(threads)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also without installation
    import paddle

    from pyutils.losses import masked_cross_entropy
    from pyutils.optim import OptimizerConfig, build_optimizer
    from visualbert_paddle.config import VisualBertConfig
    from visualbert_paddle.network.heads import VisualBertForReasoning

    model = VisualBertForReasoning(VisualBertConfig(visual_dim=VISUAL_DIM))
    model.train()
    optimizer = build_optimizer(OptimizerConfig(name="adamw", lr=2e-5), dict(model.named_parameters()))
    batch = {name: paddle.to_tensor(value) for name, value in make_batch(pairs, regions).items()}
    labels, seconds = batch.pop("labels"), []
    for _ in range(steps + 1):
        start = time.perf_counter()
        masked_cross_entropy(model(**batch), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
        float(model.classifier.bias.sum())  # waits for the device
        seconds.append(time.perf_counter() - start)
    on_gpu = paddle.get_device().startswith("gpu")
    peak = paddle.device.cuda.max_memory_allocated() if on_gpu else _peak_bytes()
    return {"regions": regions, "seconds": statistics.median(seconds[1:]), "mib": peak / 2**20}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Parse the command line, measure each number in a fresh process, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", default="9,18,36,72,144", help="regions per image, comma-separated")
    parser.add_argument("--batch", type=int, default=4, help="pairs per step")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one warm-up step")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--one", action="store_true", help="measure a single number in this process, print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(int(options.regions), options.batch, options.steps, options.threads)))
        return
    print(f"{options.batch} pairs, {WORDS} tokens, {options.threads} threads\n")
    print("| regions an image | sequence | seconds a step | peak memory MiB |\n|---|---|---|---|")
    for count in options.regions.split(","):
        settings = [f"--batch={options.batch}", f"--steps={options.steps}", f"--threads={options.threads}"]
        command = [sys.executable, __file__, "--one", f"--regions={count}", *settings]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        row = (count, WORDS + 2 * int(count), f"{found['seconds']:.2f}", f"{found['mib']:.0f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
