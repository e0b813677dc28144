"""Prediction with a trained ViLBERT: result files of whole splits, and what it says about one example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from pyutils import distributed
from pyutils.config import Override, load_config
from pyutils.config.command_line import Run
from pyutils.console import markdown_table, say
from pyutils.data.records import EntailmentRecord, PairRecord, ReferRecord, VQARecord
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.errors import InputError, nearest
from pyutils.metrics.grounding import best_regions
from pyutils.weights.checkpoint import CONFIG_FILE, find_checkpoint
from vilbert_paddle.data.classification import ENTAILMENT_CLASSES
from vilbert_paddle.predict_vcr import predict_both
from vilbert_paddle.task_file import read_tasks
from vilbert_paddle.tasks.base import VilbertTask
from vilbert_paddle.tasks.multitask import TASKS, recipe_path
from vilbert_paddle.weights import load_initial

# The section that tells a task's configuration from the others'.
SECTIONS = {"refer": "refer", "vqa": "vqa", "retrieval": "retrieval", "nlvr2": "nlvr2", "snli_ve": "ve", "vcr": "vcr"}
# What one example of a task consists of.
EXAMPLES = {"refer": ("image", "text"), "vqa": ("image", "text"), "ve": ("image", "text")}
EXAMPLES["nlvr2"] = ("left", "right", "text")


def predict(run: Run) -> None:
    """Do what the command line of run_predict.py says. InputError for flags that do not go together."""
    extra = run.extra
    if "checkpoint" not in extra:
        raise InputError("--checkpoint is missing: name a checkpoint folder or the output folder of a run")
    checkpoint = find_checkpoint(extra["checkpoint"])
    kind, task = load_task(run, checkpoint)
    if "rationale_checkpoint" in extra:
        if kind != "vcr" or "split" not in extra:
            raise InputError("--rationale_checkpoint goes with a VCR --checkpoint and --split")
        output_dir = Path(run.output_dir or extra["checkpoint"])
        predict_both(task, extra["rationale_checkpoint"], extra["split"], output_dir)
        return
    if "split" in extra:
        predict_split(task, extra["split"], Path(run.output_dir or extra["checkpoint"]))
        return
    needed = EXAMPLES.get(kind)
    if needed is None:
        raise InputError(f"{kind}: give --split; single examples are for {', '.join(EXAMPLES)}")
    missing = [name for name in needed if not str(extra.get(name, "")).strip()]
    if missing:
        raise InputError(f"{kind}: give --split, or {' '.join('--' + name for name in needed)} for one example")
    say(markdown_table(ANSWERS[kind](task, *(extra[name] for name in needed), extra.get("top", 5))))


def load_task(run: Run, checkpoint: Path) -> tuple[str, VilbertTask]:
    """The kind of task (a key of `TASKS`) of a checkpoint, and the task with its weights.

    Of a multi-task checkpoint --member names the task. The vocabulary and the answer list saved with the weights stand
    in for lost ones. InputError when the configuration is of no task that predicts.
    """
    path = run.config_path or checkpoint / CONFIG_FILE
    content = _read(path)
    network: tuple[Override, ...] = ()
    if "tasks" in content:
        member = run.extra.get("member", "")
        if member not in content["tasks"]:
            raise InputError(f"{path} has several tasks, --member names one: {nearest(member, content['tasks'])}")
        network = tuple(Override(key, value, str(path)) for key, value in _leaves(content["model"], "model"))
        own = content["tasks"][member]
        if own.get("tasks_file"):
            network += tuple(read_tasks(own["tasks_file"], own["tasks_entry"])[0].overrides())
        path = recipe_path(own["config"])
        content = _read(path)
    kinds = [kind for section, kind in SECTIONS.items() if section in content]
    if len(kinds) != 1:
        raise InputError(
            f"{path}: expected the configuration of one task, with one of the sections {', '.join(SECTIONS)}; "
            "evaluate a pre-training with run_pretrain.py --evaluate"
        )
    config: Any = load_config(TASKS[kinds[0]].config_class, path, (*network, *run.overrides))
    if (checkpoint / "vocab.txt").is_file():
        config = replace(config, tokenizer=str(checkpoint / "vocab.txt"))
    if kinds[0] == "vcr":  # scores are written, not compared
        config = replace(config, vcr=replace(config.vcr, answer_results=""))
    if kinds[0] == "vqa" and (checkpoint / Path(config.vqa.answers).name).is_file():
        answers = (checkpoint / Path(config.vqa.answers).name).resolve()
        config = replace(config, vqa=replace(config.vqa, answers=str(answers)))
    distributed.initialize()
    task = TASKS[kinds[0]](config)
    say(str(load_initial(task.model, str(checkpoint))))
    return kinds[0], task


def predict_split(task: VilbertTask, split: str, output_dir: Path) -> None:
    """Write the result files of `split`; labels are not needed, but for retrieval."""
    config = task.config.train
    with evaluating(task.model), autocast(config.precision):
        (getattr(task, "predict", None) or task.evaluate)(split_loader(task, config, split), split)
    if distributed.is_main():
        output_dir.mkdir(parents=True, exist_ok=True)
        task.write_results(output_dir, split)
        say(f"{len(task.eval_records(split))} predictions of {split!r} written to {output_dir}")
    distributed.barrier()


def answer_refer(task: VilbertTask, image: str, text: str, top: int) -> list[dict[str, Any]]:
    """The best regions for an expression: place, score, corners in pixels."""
    record = ReferRecord(0, 0, image, 0, text, (0.0, 0.0, 1.0, 1.0), 0, 0)
    scores, batch = _scores(task, record)
    best_regions(scores[None], batch["region_mask"])  # no region, or scores that are not numbers
    pixels = task.reader.read([image], keep_boxes=True).pixels[0]
    order = np.argsort(-scores, kind="stable")[: min(top, int(batch["region_mask"].sum()))]
    return [
        {
            "region": int(place),
            "score": f"{scores[place]:.3f}",
            "box": " ".join(f"{edge:.0f}" for edge in pixels[place]),
        }
        for place in order
    ]


def answer_vqa(task: VilbertTask, image: str, text: str, top: int) -> list[dict[str, Any]]:
    """The best answers and their probabilities, the sigmoid of their scores as in training."""
    scores, _ = _scores(task, VQARecord(0, image, text))
    if task.answers.unknown is not None:
        scores[task.answers.unknown] = -np.inf
    order = np.argsort(-scores, kind="stable")[:top]
    return [{"answer": task.answers[int(place)], "probability": f"{_sigmoid(scores[place]):.4f}"} for place in order]


def answer_entailment(task: VilbertTask, image: str, text: str, _: int) -> list[dict[str, Any]]:
    """The three classes, best first."""
    scores, _batch = _scores(task, EntailmentRecord(image, text, None, "0"))
    order = np.argsort(-scores, kind="stable")
    return [{"class": ENTAILMENT_CLASSES[int(row)], "probability": f"{_sigmoid(scores[row]):.4f}"} for row in order]


def answer_pair(task: VilbertTask, left: str, right: str, text: str, _: int) -> list[dict[str, Any]]:
    """Whether the sentence is true of both pictures."""
    scores, _batch = _scores(task, PairRecord("0-0-0-0", left, right, text, None))
    order = np.argsort(-scores, kind="stable")
    return [{"sentence is": str(bool(row)), "probability": f"{_sigmoid(scores[row]):.4f}"} for row in order]


ANSWERS = {"refer": answer_refer, "vqa": answer_vqa, "ve": answer_entailment, "nlvr2": answer_pair}


def _scores(task: VilbertTask, record: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores of one record, float64, and its batch."""
    batch = task.collate([record], np.random.default_rng(0), False)
    with evaluating(task.model):
        scores = task.scores({name: paddle.to_tensor(value) for name, value in batch.items()})
    return scores.astype("float32").numpy()[0].astype(np.float64), batch


def _sigmoid(score: float) -> float:
    return float(1.0 / (1.0 + np.exp(-score)))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as a configuration: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a configuration, found {type(content).__name__}")
    return content


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value
