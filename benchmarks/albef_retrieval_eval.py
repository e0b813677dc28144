"""ALBEF's retrieval evaluation at full size: candidates grouped by image beside a loop over queries.

    python benchmarks/albef_retrieval_eval.py [--images 4] [--texts 160] [--k 4] [--threads 2] [--repeat 1]
    python benchmarks/albef_retrieval_eval.py --memory 100 1000        # peak memory of whole evaluations, small model

The loop does what the published code does: for every image its k texts, for every text its k images, texts padded to 30
positions, image tokens repeated and projected to keys and values for each pair, every position of the last layer. Both
use the same layers, weights, encoded images and texts, and threads; only the fusion layers and the matching head are
timed, ours with the first layer's self-attention, which it runs once for each text.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import paddle

import pyutils  # noqa: F401 - prepares the CPU before Paddle
from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.network.itc import ContrastiveModel
from albef_paddle.tasks.towers import AlbefTowers
from pyutils.compat import use_cpu_threads
from pyutils.engine.reranking import RerankingStates, rerank

PADDED = 30
LENGTHS = (8, 20)


def straightforward(
    stored: RerankingStates, encoded: list[np.ndarray], texts: np.ndarray, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute, query by query, scores `[images, k]` of each image's `texts` and `[texts, k]` of each text's `images`.

    `encoded`: hidden states `[tokens, hidden]` of each text.
    """
    model = stored.model

    def score(text_rows: np.ndarray, image_rows: np.ndarray) -> np.ndarray:
        states = np.zeros((len(text_rows), PADDED, model.config.text.hidden_size), dtype=np.float32)
        mask = np.zeros((len(text_rows), PADDED), dtype=np.int64)
        for row, text in enumerate(text_rows.tolist()):
            known = encoded[text]
            states[row, : len(known)], mask[row, : len(known)] = known, 1
        image_states = np.stack([stored.image_states.padded([image])[0] for image in image_rows.tolist()])
        memories = model.text.memories(paddle.to_tensor(image_states))
        fused = model.text.fuse(paddle.to_tensor(states), paddle.to_tensor(mask), memories)
        return model.matching(fused[:, 0])[:, 1].numpy()

    by_image = [score(own, np.full(len(own), image)) for image, own in enumerate(texts)]
    by_text = [score(np.full(len(own), text), own) for text, own in enumerate(images)]
    return np.stack(by_image), np.stack(by_text)


def fill(stored: RerankingStates, images: int, texts: int, rng: np.random.Generator) -> list[list[int]]:
    """Encode random pixels and words; returns the texts' ids."""
    config = stored.model.config
    lengths = rng.integers(*LENGTHS, size=texts)
    rows = [[101, *rng.integers(1000, config.text.vocab_size, size=n - 1).tolist()] for n in lengths]
    stored.add_texts(rows)
    size = config.vision.image_size
    stored.add_images(
        {
            "images": paddle.to_tensor(rng.standard_normal((1, 3, size, size), dtype=np.float32)),
            "index": paddle.to_tensor(np.array([number])),
        }
        for number in range(images)
    )
    return rows


def before_images(model: ContrastiveModel, encoded: list[np.ndarray]) -> None:
    """Run the share of the fusion layers that `RerankingStates.add_texts` runs, texts of one length together."""
    for length in {len(states) for states in encoded}:
        model.text.before_images(paddle.to_tensor(np.stack([s for s in encoded if len(s) == length])), None)


def model_of(config: AlbefConfig) -> ContrastiveModel:
    """Make a model with random weights, in evaluation mode."""
    paddle.seed(0)
    model = ContrastiveModel(config, with_identities=True)
    model.eval()
    return model


def seconds(work, repeat: int) -> tuple[float, object]:
    """Return the shortest time of `repeat` runs and the last result."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def compare(options: argparse.Namespace) -> None:
    """Print both times, the ratio and the largest difference between the scores."""
    model = model_of(AlbefConfig(vision=VisionConfig(image_size=384), queue_size=8))
    with paddle.no_grad(), RerankingStates(AlbefTowers(model)) as stored:
        owners = np.arange(options.texts) % options.images
        rows = fill(stored, options.images, options.texts, np.random.default_rng(0))
        encoded = [model.text.encode(paddle.to_tensor([row]), None)[0].numpy() for row in rows]
        rerank(stored, 1, owners)  # warm-up
        started, _ = seconds(lambda: before_images(model, encoded), options.repeat)
        ours, found = seconds(lambda: rerank(stored, options.k, owners), options.repeat)
        ours += started
        candidates = found.texts.items, found.images.items
        theirs, (by_image, by_text) = seconds(lambda: straightforward(stored, encoded, *candidates), options.repeat)
    difference = max(np.abs(found.texts.scores - by_image).max(), np.abs(found.images.scores - by_text).max())
    print(
        f"{options.images} images x {options.texts} texts, k = {options.k}, {options.threads} thread(s): "
        f"grouped by image {ours:.2f} s, loop over queries {theirs:.2f} s, ratio {theirs / ours:.1f}, largest "
        f"difference of a score {difference:.1e}"
    )


def memory(count: int) -> None:
    """Print the peak memory of this process after evaluating `count` images with five texts each, k = 16."""
    config = AlbefConfig(
        vision=VisionConfig(image_size=192, width=192, depth=2, num_heads=3),
        text=TextConfig(num_layers=2, fusion_layer=1, hidden_size=192, num_heads=3, intermediate_size=384),
        queue_size=8,
    )
    with paddle.no_grad(), RerankingStates(AlbefTowers(model_of(config))) as stored:
        fill(stored, count, 5 * count, np.random.default_rng(0))
        rerank(stored, 16, np.arange(5 * count) // 5)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} images x {5 * count} texts: peak memory {peak:.0f} MiB")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 4), ("texts", 160), ("k", 4), ("threads", 2), ("repeat", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--memory", type=int, nargs="+", help="numbers of images, ascending")
    options = parser.parse_args()
    use_cpu_threads(options.threads)
    if options.memory:
        for count in options.memory:
            memory(count)
    else:
        compare(options)


if __name__ == "__main__":
    main()
