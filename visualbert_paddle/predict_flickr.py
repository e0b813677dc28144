"""Flickr30k Entities: the regions chosen for a split's phrases, and the boxes of one phrase."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils import distributed
from pyutils.console import markdown_table, say
from pyutils.data.records import BoxXYXY, Phrase, PhraseRecord
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.errors import InputError
from visualbert_paddle.tasks.flickr import RESULT_FILE, VisualBertFlickr, VisualBertFlickrConfig

Config, Task = VisualBertFlickrConfig, VisualBertFlickr


def predict_split(task: VisualBertFlickr, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Write `phrases.json` for `--split` and print the recalls."""
    config, split = task.config.train, flags["split"]
    with evaluating(task.model), autocast(config.precision):
        metrics = task.evaluate(split_loader(task, config, split), split)
    if distributed.is_main():
        task.write_results(output_dir, split)
        say(f"{len(task.last_phrases)} phrases written to {output_dir / RESULT_FILE}")
        say(markdown_table([{"split": split, **{name: f"{value:.2f}" for name, value in metrics.items()}}]))
    distributed.barrier()


def predict_one(task: VisualBertFlickr, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Print the `--top` boxes of `--image` for the words `--phrase` of `--sentence`."""
    ranked = rank_boxes(task, flags["image"], flags["sentence"], flags["phrase"], flags.get("top", 5))
    say(markdown_table([{"box": tuple(round(e, 1) for e in box), "probability": f"{p:.4f}"} for box, p in ranked]))


def rank_boxes(task: VisualBertFlickr, image: str, sentence: str, phrase: str, top: int) -> list[tuple[BoxXYXY, float]]:
    """The `top` boxes (pixels) and their probabilities. InputError when the phrase is not in the sentence."""
    words, wanted = sentence.split(), phrase.split()
    starts = [n for n in range(len(words)) if wanted and words[n : n + len(wanted)] == wanted]
    if not starts:
        raise InputError(f"--phrase: the words {phrase!r} do not stand in --sentence {sentence!r}")
    everything = ((0.0, 0.0, 0.0, 0.0),)
    marked = Phrase(starts[0], starts[0] + len(wanted), phrase, "0", "", everything)
    batch = task.collate([PhraseRecord(image, " ".join(words), (marked,))], np.random.default_rng(0), False)
    with evaluating(task.model):
        scores = task.scores({name: paddle.to_tensor(value) for name, value in batch.items()})
    shares = paddle.nn.functional.softmax(scores.astype("float32"), axis=-1).numpy()[0, 0]
    boxes = task.read_regions([image]).boxes[0]
    best = np.argsort(-shares, kind="stable")[:top]
    return [(tuple(boxes[place].tolist()), float(shares[place])) for place in best]
