"""Prediction with a trained VisualBERT: result files of whole splits, and what it says about one example."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pyutils import distributed
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.console import say
from pyutils.engine.run import check_output_dir
from pyutils.errors import InputError
from pyutils.weights.checkpoint import CONFIG_FILE, find_checkpoint, load_weights
from visualbert_paddle.tasks.base import VisualBertTask


class Predictor(NamedTuple):
    """Where a task's prediction is: `module` has `Config`, `Task`, `predict_split` and `predict_one`.

    `single`: the flags that describe one example, the first of which asks for it; `others`: what else it takes.
    """

    module: str
    single: tuple[str, ...]
    others: tuple[str, ...] = ()


# The section that tells a task's configuration from the others'.
PREDICTORS = {
    "vqa": Predictor("visualbert_paddle.predict_vqa", ("image", "question"), ("top", "picture", "allow_unk")),
    "nlvr2": Predictor("visualbert_paddle.predict_nlvr2", ("left", "right", "sentence")),
    "vcr": Predictor("visualbert_paddle.predict_vcr", ("annot_id",), ("of_split", "rationale_checkpoint")),
    "flickr": Predictor("visualbert_paddle.predict_flickr", ("image", "sentence", "phrase"), ("top",)),
}


def predict(run: Run) -> None:
    """Do what the command line of run_predict.py says. InputError for flags that do not go together."""
    extra = run.extra
    if "checkpoint" not in extra:
        raise InputError("--checkpoint is missing: name a checkpoint folder or the output folder of a run")
    checkpoint = find_checkpoint(extra["checkpoint"])
    kind = kind_of(run.config_path or checkpoint / CONFIG_FILE)
    single = PREDICTORS[kind].single
    taken = ("checkpoint", "split", *single, *PREDICTORS[kind].others)
    for name in extra:
        if name not in taken:
            raise InputError(
                f"--{name} means nothing to {kind}, the task of {checkpoint}; it takes --{' --'.join(taken)}"
            )
    if ("split" in extra) == (single[0] in extra):
        flags = " ".join(f"--{name}" for name in single)
        raise InputError(f"{kind}: give either --split for a result file, or {flags} for one example")
    for name in single[1:]:
        if single[0] in extra and name not in extra:
            raise InputError(f"--{single[0]} needs a --{name}")
    # A split's files go to a folder of its own: those of another split, written while training, stay.
    output_dir = Path(run.output_dir) if run.output_dir else Path(extra["checkpoint"], extra.get("split", ""))
    check_output_dir(output_dir)
    module = import_module(PREDICTORS[kind].module)
    task = load_task(run, checkpoint, module.Config, module.Task, extra.get("split"))
    (module.predict_split if "split" in extra else module.predict_one)(task, extra, output_dir)


def kind_of(config_path: Path) -> str:
    """The key of `PREDICTORS` for a configuration file. InputError when it is none of these tasks'."""
    try:
        content = yaml.safe_load(Path(config_path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{config_path}: cannot be read as a configuration: {error}") from error
    sections = [kind for kind in PREDICTORS if isinstance(content, dict) and kind in content]
    if len(sections) != 1:
        raise InputError(
            f"{config_path}: run_predict.py answers for {', '.join(PREDICTORS)}, and this configuration is of none of "
            "them; evaluate a pre-training with run_pretrain.py --evaluate"
        )
    return sections[0]


def load_task(
    run: Run, checkpoint: Path, config_class: type, task_class: type, split: str | None = None
) -> VisualBertTask:
    """The task of a checkpoint with its weights. The vocabulary and lists saved with it stand in for lost ones.

    The records of `split` are read before the weights, so that a wrong name costs no time.
    """
    config: Any = load_config(config_class, run.config_path or checkpoint / CONFIG_FILE, run.overrides)
    vocabulary = checkpoint / "vocab.txt"
    if vocabulary.is_file():
        config = replace(config, tokenizer=str(vocabulary))
    if hasattr(config, "vqa") and (checkpoint / Path(config.vqa.answers).name).is_file():
        answers = checkpoint / Path(config.vqa.answers).name
        config = replace(config, vqa=replace(config.vqa, answers=str(answers.resolve())))
    distributed.initialize()
    task = task_class(config)
    if split is not None:
        task.eval_records(split)
    say(str(load_weights(task.model, checkpoint)))
    return task
