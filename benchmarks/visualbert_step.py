"""One VisualBERT training step at base size, compared with the PyTorch model with the authors' padding.

    python benchmarks/visualbert_step.py [--steps 5] [--threads 2] [--batch 8]

Ours: batches padded to their longest question. Theirs: VisualBERT of Hugging Face `transformers` with text padded to
128 tokens, AdamW of torch. Same questions, regions, sizes and number of threads; forward, loss, backward, optimizer.
Both alternate in one process. Without torch and transformers only ours is timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ANSWERS, REGIONS, VISUAL_DIM, PADDED_TEXT = 3129, 100, 2048, 128


def make_batch(batch: int, length: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make questions of 8-15 words, `[CLS] … ? [MASK] [SEP]`, padded to `length` tokens (0: the longest one)."""
    words = rng.integers(8, 16, size=batch)
    width = max(length, int(words.max()) + 4)
    ids = np.zeros((batch, width), dtype=np.int64)
    mask = np.zeros((batch, width), dtype=np.int64)
    for row, count in enumerate(words):
        tokens = [101, *rng.integers(1000, 30000, size=count), 1029, 103, 102]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return {
        "input_ids": ids,
        "text_mask": mask,
        "region_features": rng.standard_normal((batch, REGIONS, VISUAL_DIM), dtype=np.float32),
        "region_mask": np.ones((batch, REGIONS), dtype=np.int64),
        "labels": (rng.random((batch, ANSWERS)) < 0.001).astype(np.float32),
    }


def paddle_step(threads: int):
    """Return a function that runs one training step of ours on a batch."""
    os.environ["PYUTILS_CPU_THREADS"] = str(threads)
    import paddle

    from pyutils.losses import vqa_bce
    from pyutils.optim import OptimizerConfig, build_optimizer
    from visualbert_paddle.config import VisualBertConfig
    from visualbert_paddle.network.heads import VisualBertForQuestionAnswering

    model = VisualBertForQuestionAnswering(VisualBertConfig(), ANSWERS)
    model.train()
    optimizer = build_optimizer(OptimizerConfig(name="adamw", lr=2e-5), dict(model.named_parameters()))

    def step(batch: dict[str, np.ndarray]) -> float:
        tensors = {name: paddle.to_tensor(value) for name, value in batch.items()}
        loss = vqa_bce(model(**{n: v for n, v in tensors.items() if n != "labels"}), tensors["labels"])
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    return step


def torch_step(threads: int):
    """Return the same for Hugging Face's model, or None if it is not installed."""
    try:
        import torch
        from transformers import VisualBertConfig, VisualBertForQuestionAnswering
    except ImportError as error:
        print(f"PyTorch side skipped: {error}. pip install torch transformers to compare.")
        return None
    torch.set_num_threads(threads)
    model = VisualBertForQuestionAnswering(
        VisualBertConfig(visual_embedding_dim=VISUAL_DIM, num_labels=ANSWERS, vocab_size=30522)
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01)

    def step(batch: dict[str, np.ndarray]) -> float:
        tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
        output = model(
            input_ids=tensors["input_ids"],
            attention_mask=tensors["text_mask"],
            token_type_ids=torch.zeros_like(tensors["input_ids"]),
            visual_embeds=tensors["region_features"],
            visual_attention_mask=tensors["region_mask"].float(),
            visual_token_type_ids=torch.zeros_like(tensors["region_mask"]),
            labels=tensors["labels"],
        )
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(output.loss)

    return step


def main() -> None:
    """Time both, alternating step by step, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    sides = {"ours": (paddle_step(options.threads), 0), "transformers": (torch_step(options.threads), PADDED_TEXT)}
    seconds: dict[str, list[float]] = {name: [] for name, (step, _) in sides.items() if step is not None}
    for number in range(options.steps + 1):
        for name in seconds:
            step, length = sides[name]
            batch = make_batch(options.batch, length, np.random.default_rng(number))
            start = time.perf_counter()
            step(batch)
            if number:  # the first step of each side warms up
                seconds[name].append(time.perf_counter() - start)
    setting = f"batch {options.batch}, {REGIONS} regions of {VISUAL_DIM}, {options.threads} threads"
    print(f"{setting}, median of {options.steps} steps")
    print("| side | seconds a step | fastest | ratio |\n| --- | --- | --- | --- |")
    for name, values in seconds.items():
        ratio = statistics.median(seconds.get("transformers", values)) / statistics.median(values)
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
