"""ViLBERT's commands: a training script for every task, the flags that users of the original scripts type, and
prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyutils.config import Override, load_config
from pyutils.config.command_line import Flag, Run
from pyutils.engine.commands import Command, Package, Parts
from pyutils.errors import InputError, nearest
from pyutils.formats.yaml_text import parse_yaml
from pyutils.regions.choice import REGION_FLAGS
from vilbert_paddle.config import CONFIGS

ACCUMULATION = "--gradient_accumulation_steps"
_MULTITASK = "run_multitask.py"
_COMPATIBLE = "accepted for compatibility; ignored"


def network_settings(path: str) -> dict[str, Any]:
    """The configuration keys that a file given as --config_file sets: the original's JSON, or our YAML of a network.

    The originals' own names (`config/bert_base_6layer_6conect.json`) work without the file: ours of that name is read.
    InputError when there is no such network.
    """
    from vilbert_paddle.config import VilbertConfig, read_original_config
    from vilbert_paddle.tasks.base import VilbertRunConfig

    file, ours = Path(path).expanduser(), CONFIGS / "model" / f"{Path(path).stem}.yaml"
    if file.suffix == ".json" and (file.is_file() or not ours.is_file()):
        model = read_original_config(file)
    elif file.is_file() or ours.is_file():
        model = load_config(VilbertRunConfig, file if file.is_file() else ours).model
    else:
        known = ", ".join(sorted(entry.stem for entry in ours.parent.glob("*.yaml")))
        raise InputError(f"{path}: no such file; networks that need none: {known}")
    usual = VilbertConfig()
    return {key: value for key, value in _flat(model, "model") if value != _at(usual, key)}


def _flat(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _flat(value, key)
        else:
            yield key, list(value) if isinstance(value, tuple) else value


def _at(node: Any, key: str) -> Any:
    for name in key.split(".")[1:]:
        node = getattr(node, name)
    return list(node) if isinstance(node, tuple) else node


def configure(run: Run, command: Command, config_class: Any) -> Any:
    """Load the configuration of a training: typed settings over the entry of a task file over the recipe."""
    from vilbert_paddle.tasks.base import with_recipe

    run = with_task_file(run, command)
    config = settle(run, run.load(config_class))
    if command.script == _MULTITASK and "tasks_file" in run.extra:  # the file's tasks in place of the recipe's
        config = replace(config, tasks={name: member for name, member in config.tasks.items() if member.tasks_file})
    task: Any = load_parts().tasks[command.script]
    return with_recipe(config, task.heads_of(config))


def with_task_file(run: Run, command: Command) -> Run:
    """`run` with what --tasks_file and --tasks mean under the settings typed: the entry's fields over its recipe, which
    replaces the script's own. InputError for an entry of another script."""
    from vilbert_paddle.originals import multitask_overrides, read_tasks

    path, wanted = run.extra.get("tasks_file"), run.extra.get("tasks", "")
    if path is None:
        if wanted:
            raise InputError("--tasks names entries of a task file: give --tasks_file vilbert_tasks.yml with it")
        return run
    entries = read_tasks(path, wanted)
    if command.script == _MULTITASK:
        return replace(run, overrides=(*multitask_overrides(path, entries), *run.overrides))
    if len(entries) > 1:
        raise InputError(f"--tasks {wanted}: {_MULTITASK} trains several tasks, this script one")
    entry = entries[0]
    if f"run_{entry.kind.task}.py" != command.script:
        raise InputError(f"{entry.origin}: {entry.name} is for run_{entry.kind.task}.py")
    base = entry.recipe if run.config_path == CONFIGS / command.recipe else run.config_path
    return replace(run, config_path=base, overrides=(*entry.overrides(), *run.overrides))


def settle(run: Run, config: Any) -> Any:
    """`config` with what flags mean together: the folder of a run, the micro-batch, the weights to evaluate."""
    output_dir = Path(config.output_dir) / run.extra.get("save_name", "")
    train = config.train
    if any(override.origin == ACCUMULATION for override in run.overrides):
        if train.batch_size % train.accumulation_steps:
            raise InputError(
                f"{ACCUMULATION} {train.accumulation_steps} does not divide the batch size {train.batch_size}: "
                "give --batch_size a multiple of it"
            )
        train = replace(train, batch_size=train.batch_size // train.accumulation_steps)
    init = config.init
    if run.evaluate and not any(override.key == "init" for override in run.overrides):
        # A recipe's `init` is where training begins; what is to be measured is what came out of it.
        found = any((output_dir / name).is_dir() for name in ("best", "last"))
        init = "" if found else config.trained
    return replace(config, output_dir=str(output_dir), train=train, init=init)


def member_of(run: Run, path: Path) -> Any:
    """The task class and configuration of the `--member` of a multi-task checkpoint; None for other checkpoints."""
    content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(content, dict) or "tasks" not in content:
        return None
    from vilbert_paddle.originals import read_tasks
    from vilbert_paddle.tasks.multitask import TASKS, recipe_path

    name = run.extra.get("member", "")
    if name not in content["tasks"]:
        raise InputError(f"{path} has several tasks, --member names one: {nearest(name, content['tasks'])}")
    own = content["tasks"][name]
    overrides = [Override(key, value, str(path)) for key, value in _leaves(content["model"], "model")]
    if own.get("tasks_file"):
        overrides += read_tasks(own["tasks_file"], own["tasks_entry"])[0].overrides()
    task = TASKS[own["task"]]
    return task, load_config(task.config_class, recipe_path(own["config"]), (*overrides, *run.overrides))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def load_parts() -> Parts:
    """Import the tasks, and with them Paddle."""
    from vilbert_paddle.checkpoints.weights import load_initial
    from vilbert_paddle.tasks.base import VilbertRunConfig
    from vilbert_paddle.tasks.entailment import EntailmentTask
    from vilbert_paddle.tasks.multitask import MultitaskTask
    from vilbert_paddle.tasks.nlvr2 import NLVR2Task
    from vilbert_paddle.tasks.pretrain import PretrainTask
    from vilbert_paddle.tasks.refer import ReferTask
    from vilbert_paddle.tasks.retrieval import RetrievalTask
    from vilbert_paddle.tasks.vcr import VCRTask
    from vilbert_paddle.tasks.vqa import VQATask

    tasks: dict[str, Any] = {
        "run_pretrain.py": PretrainTask,
        "run_refer.py": ReferTask,
        "run_vqa.py": VQATask,
        "run_retrieval.py": RetrievalTask,
        "run_nlvr2.py": NLVR2Task,
        "run_ve.py": EntailmentTask,
        "run_vcr.py": VCRTask,
        _MULTITASK: MultitaskTask,
    }
    return Parts(tasks, VilbertRunConfig, load_initial)


COMMON_FLAGS = [
    Flag("--from_pretrained", "init", help="weights to start from, or with --evaluate to measure"),
    Flag("--config_file", network_settings, help="JSON of the original or YAML of configs/vilbert/model"),
    Flag("--tasks_file", None, help="vilbert_tasks.yml of the original, whose entry --tasks is to be run"),
    Flag("--tasks", None, help="entries of the task file: TASK10 or 10; for run_multitask.py several: 1-5-10"),
    Flag("--bert_model", "tokenizer", help="vocabulary: bert-base-uncased, or a vocab.txt"),
    Flag("--do_lower_case", None, type=bool, choices=(True,), help=_COMPATIBLE),
    Flag("--save_name", None, help="folder below --output_dir for this run"),
    Flag("--batch_size", "train.batch_size", type=int, help="records of one step on one process"),
    Flag("--learning_rate", "train.optimizer.lr", type=float),
    Flag("--weight_decay", "train.optimizer.weight_decay", type=float),
    Flag("--warmup_proportion", "train.schedule.warmup", type=float),
    Flag("--decay_factor", "train.schedule.gamma", type=float),
    Flag("--num_train_epochs", "train.epochs", type=int),
    Flag("--max_steps", "train.max_steps", type=int),
    Flag(ACCUMULATION, "train.accumulation_steps", type=int, help="micro-batches that --batch_size is cut into"),
    Flag("--num_workers", "train.workers", type=int),
    Flag("--optimizer", None, choices=("BertAdam", "AdamW"), help=_COMPATIBLE),
]
_DETECTED = Flag(("--features", "--regions"), "regions.path", help="features of detected regions")
_EVALUATED = Flag("--split", "eval_split", help="split that --evaluate takes")
PRETRAIN_FLAGS = [
    Flag("--train", lambda path: {"pretrain.splits.train": [path]}, help="shards or lists of training pairs"),
    Flag("--val", lambda path: {"pretrain.splits.val": [path]}, help="shards or lists of validation pairs"),
    Flag("--objective", "pretrain.objective", help="all, aligned_only or no_alignment"),
    Flag("--visual_target", "pretrain.target", help="classes, features or nce"),
]
REFER_FLAGS = [
    Flag("--dataset", "refer.dataset", choices=("refcoco", "refcoco+", "refcocog"), help="the data set"),
    Flag("--data_dir", "refer.root", help="folder of refcoco/, refcoco+/, refcocog/"),
    Flag("--gt_features", "annotated_regions.path", help="features of annotated boxes"),
    _DETECTED,
    Flag("--split", "eval_split", help="split that --evaluate takes: val, testA, testB, test"),
]
RETRIEVAL_FLAGS = [
    Flag("--annotations", "retrieval.annotations", help="JSON of Karpathy splits"),
    Flag(
        "--zero_shot",
        lambda on: {"retrieval.head": "alignment" if on else "match"},
        type=bool,
        help="score with the head of pre-training",
    ),
    _DETECTED,
    _EVALUATED,
]
VCR_FLAGS = [
    Flag("--data_dir", "vcr.root", help="folder of train.jsonl, val.jsonl, test.jsonl"),
    Flag("--gt_features", "annotated_regions.path", help="features of annotated boxes"),
    Flag("--answer_results", "vcr.answer_results", help="scores_answer.json of a Q→A model: also gives Q→AR"),
    _DETECTED,
    _EVALUATED,
]


def _annotated(section: str) -> list[Flag]:
    """Flags of a task whose data are one folder of annotations."""
    return [Flag("--data_dir", f"{section}.root", help="folder of the annotations"), _DETECTED, _EVALUATED]


PREDICT_FLAGS = [
    Flag("--member", None, help="the task of a multi-task checkpoint"),
    Flag("--rationale_checkpoint", None, help="VCR: the QA→R model beside the Q→A one; leaderboard.csv and Q→AR"),
    Flag(("--regions", "--features"), "regions.path", help="region features, where not those of the configuration"),
    *REGION_FLAGS,
]

COMMANDS = Package(
    name="vilbert",
    configs=CONFIGS,
    load_parts=load_parts,
    commands=(
        Command("run_pretrain.py", "pretrain.yaml", PRETRAIN_FLAGS, "Pre-train ViLBERT."),
        Command("run_refer.py", "refcoco+.yaml", REFER_FLAGS, "ViLBERT on RefCOCO, RefCOCO+ or RefCOCOg."),
        Command("run_vqa.py", "vqa.yaml", _annotated("vqa"), "ViLBERT on VQA v2."),
        Command("run_retrieval.py", "retrieval.yaml", RETRIEVAL_FLAGS, "ViLBERT on image retrieval."),
        Command("run_nlvr2.py", "nlvr2.yaml", _annotated("nlvr2"), "ViLBERT on NLVR2."),
        Command("run_ve.py", "ve.yaml", _annotated("snli_ve"), "ViLBERT on SNLI-VE."),
        Command("run_vcr.py", "vcr.yaml", VCR_FLAGS, "ViLBERT on VCR: Q→A, QA→R, and Q→AR from both."),
        Command(_MULTITASK, "multitask.yaml", about="Train one ViLBERT on several tasks (12-in-1)."),
    ),
    flags=COMMON_FLAGS,
    configure=configure,
    predict_flags=PREDICT_FLAGS,
    member=member_of,
    predict_about="""Predict with a trained ViLBERT: a whole split, or one example. The task is the checkpoint's.

  run_predict.py --checkpoint output/vilbert_vqa --split test
  run_predict.py --checkpoint output/refcoco+ --image COCO_train2014_000000581857 \\
      --text "the lady with the blue shirt"
  run_predict.py --checkpoint output/vilbert_vqa --image dog.jpg --question "What is it?" \\
      --detector frcnn-vg-finetuned --boxes 10:100 --draw_regions regions.png
  run_predict.py --checkpoint output/vilbert_nlvr2 --image dev-0-0-img0 --second_image dev-0-0-img1 \\
      --text "Both images contain a dog."
  run_predict.py --checkpoint output/vilbert_vcr_qa --rationale_checkpoint output/vilbert_vcr_qar --split test
  run_predict.py --checkpoint output/vilbert_multitask --member ve --split test

The configuration is the one saved with the checkpoint; --config and --set change it.""",
)
