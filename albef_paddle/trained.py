"""A trained task from the checkpoint that run_predict.py is given."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from albef_paddle.names import tasks_of
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from albef_paddle.tasks.entailment import AlbefEntailment
from albef_paddle.tasks.grounding import AlbefGrounding, AlbefGroundingConfig
from albef_paddle.tasks.nlvr2 import AlbefNLVR2
from albef_paddle.tasks.pretraining import AlbefPretraining, AlbefPretrainingConfig
from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from albef_paddle.weights import load_tensors, read_checkpoint
from pyutils import distributed
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.console import say
from pyutils.errors import InputError
from pyutils.formats.yaml_text import parse_yaml
from pyutils.weights.checkpoint import CONFIG_FILE

TASKS: dict[str, tuple[type[AlbefTask], type[AlbefRunConfig]]] = {
    "retrieval": (AlbefRetrieval, AlbefRetrievalConfig),
    "pretrain": (AlbefPretraining, AlbefPretrainingConfig),
    "grounding": (AlbefGrounding, AlbefGroundingConfig),
    "vqa": (AlbefVQA, AlbefVQAConfig),
    "ve": (AlbefEntailment, AlbefRunConfig),
    "nlvr": (AlbefNLVR2, AlbefRunConfig),
}
_VOCABULARY = "vocab.txt"


def load_settings(run: Run, name: str, file: Path) -> AlbefRunConfig:
    """The configuration of task `name` for the weights in `file`: `--config`, else the one beside them, whose
    vocabulary and answer list are those beside them. InputError when there is none, or it is another task's."""
    saved = file.with_name(CONFIG_FILE)
    if run.config_path is None:
        if not saved.is_file():
            raise InputError(f"{file}: no {CONFIG_FILE} beside the weights: name the recipe's file with --config")
        _check_settings(name, saved, file)
    config = load_config(TASKS[name][1], run.config_path or saved, run.overrides)
    if file.with_name(_VOCABULARY).is_file():
        config = replace(config, tokenizer=str(file.with_name(_VOCABULARY)))
    if isinstance(config, AlbefVQAConfig):
        answers = file.with_name(Path(config.answer_list).name)
        if answers.is_file():
            config = replace(config, answer_list=str(answers))
    return config


def load_task(name: str, config: AlbefRunConfig, file: Path) -> AlbefTask:
    """Task `name` with the weights in `file`, none of which may be missing. InputError for those of another task."""
    tensors = read_checkpoint(file)
    _check_name(name, tasks_of(tensors), file)
    distributed.initialize()
    task = TASKS[name][0](config)
    say(str(load_tensors(task.model, tensors, str(file), may_miss=())))
    return task


def _check_settings(name: str, saved: Path, file: Path) -> None:
    """InputError when the entries of `saved` are those of another task's configuration."""
    kinds = _tasks_of_settings(saved)
    if kinds and name not in kinds:
        exact = tuple(kind for kind in tasks_of(read_checkpoint(file)) if kind in kinds)
        _check_name(name, exact or kinds, file)


def _tasks_of_settings(path: Path) -> tuple[str, ...]:
    """The tasks whose configuration the file may be: those with all its entries and fewest others; () for none."""
    content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    entries = set(content) if isinstance(content, dict) else set()
    classes = {**{name: config_class for name, (_, config_class) in TASKS.items()}, "nlvr_pretrain": AlbefRunConfig}
    known = {name: {item.name for item in fields(config_class)} for name, config_class in classes.items()}
    lacking = {name: len(own - entries) for name, own in known.items() if entries <= own}
    return tuple(name for name, number in lacking.items() if number == min(lacking.values()))


def _check_name(name: str, kinds: tuple[str, ...], file: Path) -> None:
    """InputError when `kinds`, tasks that a checkpoint may be of, has others than `name` alone."""
    if not kinds or name in kinds:
        return
    if kinds[0] not in TASKS:
        raise InputError(
            f"{file}: this is a checkpoint of the pre-training before NLVR2, which answers nothing; name one that was "
            "fine-tuned from it (--task nlvr)"
        )
    raise InputError(f"{file}: this is a checkpoint of task {kinds[0]}; give --task {kinds[0]}")
