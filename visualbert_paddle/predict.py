"""Prediction with a trained VisualBERT: result files of whole splits, and answers about one image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle

from pyutils.cli import Run
from pyutils.config import load_config
from pyutils.data.records import VQARecord
from pyutils.engine import distributed
from pyutils.engine.checkpoint import CONFIG_FILE, find_checkpoint, load_weights
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.engine.run_log import markdown_table, say
from pyutils.errors import InputError
from visualbert_paddle.tasks.vqa import VisualBertVQA, VisualBertVQAConfig


def predict(run: Run) -> None:
    """Do what the command line of run_predict.py says. InputError for flags that do not go together."""
    extra = run.extra
    if "checkpoint" not in extra:
        raise InputError("--checkpoint is missing: name a checkpoint folder or the output folder of a run")
    if ("split" in extra) == ("image" in extra):
        raise InputError("give either --split for a result file, or --image with --question for one answer")
    if "image" in extra and "question" not in extra:
        raise InputError("--image needs a --question")
    task = load_task(run, find_checkpoint(extra["checkpoint"]))
    output_dir = Path(run.output_dir or extra["checkpoint"])
    if "split" in extra:
        answer_split(task, extra["split"], output_dir, bool(extra.get("allow_unk")))
    else:
        show_answers(task, extra["image"], extra["question"], extra.get("top", 5), extra.get("picture"), output_dir)


def load_task(run: Run, checkpoint: Path) -> VisualBertVQA:
    """The task of a checkpoint with its weights. Vocabulary and answer list saved with it stand in for lost ones."""
    config_path = run.config_path or checkpoint / CONFIG_FILE
    config = load_config(VisualBertVQAConfig, config_path, run.overrides)
    vocabulary, answers = checkpoint / "vocab.txt", checkpoint / Path(config.vqa.answers).name
    if vocabulary.is_file():
        config = replace(config, tokenizer=str(vocabulary))
    if answers.is_file():
        config = replace(config, vqa=replace(config.vqa, answers=str(answers.resolve())))
    distributed.initialize()
    task = VisualBertVQA(config)
    say(str(load_weights(task.model, checkpoint)))
    return task


def answer_split(task: VisualBertVQA, split: str, output_dir: Path, allow_unknown: bool) -> None:
    """Write `result.json` for `split`; where the split has human answers, print the accuracy too."""
    config = task.config.train
    with evaluating(task.model), autocast(config.precision):
        answered = task.answer(split_loader(task, config, split), split, allow_unknown)
    if distributed.is_main():
        say(f"{len(answered.texts)} answers written to {answered.write(output_dir)}")
        metrics = answered.metrics()
        if metrics:
            say(markdown_table([{"split": split, **metrics}]))
    distributed.barrier()


def show_answers(
    task: VisualBertVQA, image: str, question: str, top: int, picture: Path | None, output_dir: Path
) -> None:
    """Print the `top` answers to one question with their probabilities, and draw them when `picture` is given."""
    if not question.strip():
        raise InputError("--question is empty")
    ranked = rank_answers(task, image, question, top)
    say(markdown_table([{"answer": text, "probability": f"{share:.4f}"} for text, share in ranked]))
    if picture is not None:
        from pyutils.visualize.contact_sheet import Card, draw_contact_sheet

        given = ", ".join(f"{text} {share:.0%}" for text, share in ranked[:3])
        drawn = draw_contact_sheet([Card(picture, question, given)], output_dir / "prediction.png", columns=1)
        say(f"drawn: {drawn}")


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
