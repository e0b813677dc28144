"""NLVR2: the prediction file of a split, and the probability that one sentence is true of two images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils import distributed
from pyutils.console import markdown_table, say
from pyutils.data.records import PairRecord
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.errors import InputError
from visualbert_paddle.tasks.nlvr2 import VisualBertNLVR2, VisualBertNLVR2Config

Config, Task = VisualBertNLVR2Config, VisualBertNLVR2


def predict_split(task: VisualBertNLVR2, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Write `predictions.csv` for `--split`; where it has labels, print accuracy and consistency too."""
    config, split = task.config.train, flags["split"]
    with evaluating(task.model), autocast(config.precision):
        judged = task.judge(split_loader(task, config, split), split)
    if distributed.is_main():
        say(f"{len(judged.said)} predictions written to {judged.write(output_dir)}")
        metrics = judged.metrics()
        if metrics:
            say(markdown_table([{"split": split, **metrics}]))
    distributed.barrier()


def predict_one(task: VisualBertNLVR2, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Print whether `--sentence` is true of the images `--left` and `--right`, and how probable that is. InputError for
    an empty sentence."""
    if not flags["sentence"].strip():
        raise InputError("--sentence is empty: give the sentence to judge")
    share = probability(task, flags["left"], flags["right"], flags["sentence"])
    say(markdown_table([{"sentence": flags["sentence"], "true": share > 0.5, "probability of true": f"{share:.4f}"}]))


def probability(task: VisualBertNLVR2, left: str, right: str, sentence: str) -> float:
    """The probability of True."""
    batch = task.collate([PairRecord("", left, right, sentence, None)], np.random.default_rng(0), False)
    with evaluating(task.model):
        scores = task.scores({name: paddle.to_tensor(value) for name, value in batch.items()})
    return float(paddle.nn.functional.softmax(scores.astype("float32"), axis=-1)[0, 1])
