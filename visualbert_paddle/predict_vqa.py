"""VQA: the result file of a split, and the ranked answers to one question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from pyutils import distributed
from pyutils.console import markdown_table, say
from pyutils.data.records import VQARecord
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.errors import InputError
from visualbert_paddle.tasks.vqa import VisualBertVQA, VisualBertVQAConfig

Config, Task = VisualBertVQAConfig, VisualBertVQA


def predict_split(task: VisualBertVQA, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Write `result.json` for `--split`; where the split has human answers, print the accuracy too."""
    config, split = task.config.train, flags["split"]
    with evaluating(task.model), autocast(config.precision):
        answered = task.answer(split_loader(task, config, split), split, bool(flags.get("allow_unk")))
    if distributed.is_main():
        say(f"{len(answered.texts)} answers written to {answered.write(output_dir)}")
        metrics = answered.metrics()
        if metrics:
            say(markdown_table([{"split": split, **metrics}]))
    distributed.barrier()


def predict_one(task: VisualBertVQA, flags: Mapping[str, Any], output_dir: Path) -> None:
    """Print the `--top` answers to one question with their probabilities; draw them when `--picture` is given."""
    question = flags["question"]
    if not question.strip():
        raise InputError("--question is empty")
    ranked = rank_answers(task, flags["image"], question, flags.get("top", 5))
    say(markdown_table([{"answer": text, "probability": f"{share:.4f}"} for text, share in ranked]))
    if flags.get("picture") is not None:
        from pyutils.visualize.contact_sheet import Card, draw_contact_sheet

        given = ", ".join(f"{text} {share:.0%}" for text, share in ranked[:3])
        card = Card(flags["picture"], question, given)
        say(f"drawn: {draw_contact_sheet([card], output_dir / 'prediction.png', columns=1)}")


def rank_answers(task: VisualBertVQA, image: str, question: str, top: int) -> list[tuple[str, float]]:
    """The `top` answers (`<unk>` left out) and their probabilities, the softmax over the answer scores."""
    batch = task.collate([VQARecord(0, image, question)], np.random.default_rng(0), False)
    with evaluating(task.model):
        scores = task.scores({name: paddle.to_tensor(value) for name, value in batch.items()})
    scores = scores.astype("float32").numpy()[0].astype(np.float64)
    if task.answers.unknown is not None:
        scores[task.answers.unknown] = -np.inf
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    best = np.argsort(-shares, kind="stable")[: max(1, min(top, task.answers.real_answers))]
    return [(task.answers[number], float(shares[number])) for number in best]
