"""VCR: the three accuracies from an answer and a rationale model, the leaderboard's file, and one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils import distributed
from pyutils.config import load_config
from pyutils.console import markdown_table, say
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.vcr import combine
from pyutils.metrics.vcr_results import RESULT_FILE, probabilities, write_leaderboard
from pyutils.weights.checkpoint import CONFIG_FILE, find_checkpoint, load_weights
from visualbert_paddle.tasks.vcr import CHOICES, VisualBertVCR, VisualBertVCRConfig

Config, Task = VisualBertVCRConfig, VisualBertVCR
Scores = dict[str, list[float]]


def predict_split(task: VisualBertVCR, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Write the scores of `--split`; with `--rationale_checkpoint` also Q→AR and the leaderboard's file."""
    split = flags["split"]
    if "rationale_checkpoint" in flags and task.config.mode != "q_a":
        raise InputError("--checkpoint must be trained for Q→A when --rationale_checkpoint is given")
    own = scores_of(task, split)
    if distributed.is_main():
        write_json(output_dir / f"scores_{task.config.mode}.json", own)
        say(f"scores of {len(own)} questions written to {output_dir / f'scores_{task.config.mode}.json'}")
    if "rationale_checkpoint" in flags:
        _with_rationales(task, own, flags["rationale_checkpoint"], split, output_dir)
    elif distributed.is_main() and task.records(split)[0].answer_label is not None:
        labels = [task.label_of(record) for record in task.records(split)]
        right = np.mean(np.array(list(own.values())).argmax(axis=1) == labels)
        say(markdown_table([{"split": split, "mode": task.config.mode, "accuracy": 100.0 * float(right)}]))
    distributed.barrier()


def _with_rationales(task: VisualBertVCR, answers: Scores, source: str, split: str, output_dir: Path) -> None:
    """The rationale model's part: conditioned on the right answer where it is known, and on each of the four."""
    other = rationale_task(task, source)
    records = task.records(split)
    conditioned = []
    for other.given_answer in range(CHOICES):
        conditioned.append(scores_of(other, split))
    if not distributed.is_main():
        return
    say(f"for the leaderboard: {write_leaderboard(output_dir / RESULT_FILE, answers, conditioned)}")
    if records[0].answer_label is None:
        return
    labels = {record.annot_id: (record.answer_label, record.rationale_label) for record in records}
    rationales = {name: conditioned[label][name] for name, (label, _) in labels.items()}
    found = combine(labels, answers, rationales)._asdict()
    write_json(output_dir / f"metrics_{split}.json", {name: 100.0 * value for name, value in found.items()})
    say(markdown_table([{"split": split, **{name: f"{100 * value:.2f}" for name, value in found.items()}}]))


def rationale_task(task: VisualBertVCR, source: str) -> VisualBertVCR:
    """The model of `--rationale_checkpoint` on the data and features of `task`. InputError when it is not for QA→R."""
    checkpoint = find_checkpoint(source)
    config = load_config(VisualBertVCRConfig, checkpoint / CONFIG_FILE)
    if config.mode != "qa_r":
        raise InputError(
            f"{checkpoint}: --rationale_checkpoint must be trained for QA→R, this one is for {config.mode}"
        )
    config = replace(config, vcr=task.config.vcr, regions=task.config.regions, tokenizer=task.config.tokenizer)
    other = VisualBertVCR(config)
    say(str(load_weights(other.model, checkpoint)))
    return other


def scores_of(task: VisualBertVCR, split: str) -> Scores:
    """The four scores of every question."""
    config = task.config.train
    with evaluating(task.model), autocast(config.precision):
        return task.score_split(split_loader(task, config, split), split)


def predict_one(task: VisualBertVCR, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Print the choices of the question `--annot_id` of `--of_split` with their probabilities."""
    split, wanted = flags.get("of_split", "val"), flags["annot_id"]
    record = next((record for record in task.records(split) if record.annot_id == wanted), None)
    if record is None:
        raise InputError(f"split {split!r} has no question {wanted!r}")
    batch = task.collate([record], np.random.default_rng(0), False)
    with evaluating(task.model):
        scores = task.scores({name: paddle.to_tensor(value) for name, value in batch.items()})
    shares = probabilities(scores.astype("float32").numpy()[0].tolist())
    texts = [task.tokenizer.decode(choice.sequence.ids) for choice in task.choices(record)]
    rows = [{"question and choice": text, "probability": f"{share:.4f}"} for text, share in zip(texts, shares)]
    say(markdown_table(rows))
