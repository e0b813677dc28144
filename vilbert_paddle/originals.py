"""Task files of the originals (`vilbert_tasks.yml` of 12-in-1, `vlbert_tasks.yml` of ViLBERT) as recipe settings.

The fields of an entry override our recipe for its task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pyutils.config import Override
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.formats.yaml_text import parse_yaml
from vilbert_paddle.config import CONFIGS

MINIVAL = 3000  # validation questions with the highest ids: the originals' `minval`, excluded from `trainval`
_QUESTIONS = "v2_OpenEnded_mscoco_{}2014_questions.json"
_ANNOTATIONS = "v2_mscoco_{}2014_annotations.json"


@dataclass(frozen=True)
class Kind:
    """A task that an entry may name.

    task: key of `multitask.TASKS`. type, loss: values in the file. root: setting that takes `dataroot`. sets: settings
    that follow from the name. validation: validation split in the file -> ours. annotated: takes `features_h5path2`.
    """

    task: str
    recipe: str
    type: str
    loss: str
    root: str = ""
    sets: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, str] = field(default_factory=lambda: {"val": "val", "test": "test"})
    annotated: bool = False


_BCE, _CE = "BCEWithLogitLoss", "CrossEntropyLoss"
_DEV = {"dev": "val", "val": "val", "test": "test"}


def _refer(dataset: str) -> Kind:
    splits = {name: name for name in ("val", "test", "testA", "testB", "mteval")}
    return Kind("refer", f"{dataset}.yaml", "V-logit", _BCE, "refer.root", {"refer.dataset": dataset}, splits, True)


def _vcr(recipe: str, asked: str) -> Kind:
    return Kind("vcr", recipe, "VL-logit", _CE, "vcr.root", {"mode": asked}, annotated=True)


KINDS: dict[str, Kind] = {
    "VQA": Kind("vqa", "vqa.yaml", "VL-classifier", _BCE, "vqa.root", validation={"val": "val", "minval": "val"}),
    "VCR_Q-A": _vcr("vcr.yaml", "answer"),
    "VCR_QA-R": _vcr("vcr_rationale.yaml", "rationale"),
    "RetrievalCOCO": Kind("retrieval", "retrieval_coco.yaml", "VL-logit", _CE),
    "RetrievalFlickr30k": Kind("retrieval", "retrieval.yaml", "VL-logit", _CE),
    "refcoco": _refer("refcoco"),
    "refcoco+": _refer("refcoco+"),
    "refcocog": _refer("refcocog"),
    "NLVR2": Kind("nlvr2", "nlvr2.yaml", "VL-binary-classifier", _BCE, "nlvr2.root", validation=_DEV),
    "VisualEntailment": Kind("ve", "ve.yaml", "VL-tri-classifier", _BCE, "snli_ve.root", validation=_DEV),
}
# Field -> setting with the same value.
PLAIN = {
    "features_h5path1": "regions.path",
    "max_seq_length": "max_text",
    "batch_size": "train.batch_size",
    "eval_batch_size": "train.eval_batch_size",
    "lr": "train.optimizer.lr",
    "num_epoch": "train.epochs",
    "task_id": "task_number",
    "fusion_method": "model.fusion",
}
_JSON_LINES = {"train_annotations_jsonpath": "train", "val_annotations_jsonpath": "val"}
_OTHERS = ("name", "type", "loss", "process", "dataroot", "features_h5path2", "max_region_num", "train_split")
FIELDS = (*PLAIN, *_JSON_LINES, *_OTHERS, "val_split", "start_iteration")


@dataclass(frozen=True)
class Entry:
    """One task of a file: its key there (`TASK10`), its kind, its fields, and its place for messages."""

    key: str
    kind: Kind
    fields: Mapping[str, Any]
    origin: str

    @property
    def name(self) -> str:
        """The task's name, e.g. `refcoco+`."""
        return self.fields["name"]

    @property
    def recipe(self) -> Path:
        """The configuration that the entry overrides."""
        return CONFIGS / self.kind.recipe

    def refuse(self, field: str, expected: str) -> NoReturn:
        """Raise InputError for the value of `field`."""
        raise InputError(f"{self.origin}: {field} of {self.name} is {self.fields.get(field)!r}, expected {expected}")

    def number(self, name: str) -> float:
        """Return a field that must be a number above 0."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            self.refuse(name, "a number above 0")
        return value

    def overrides(self) -> list[Override]:
        """Return the settings of the entry.

        Raises:
            InputError: an unknown field, or a value that the task does not support.
        """
        found = dict(self.kind.sets)
        for name, value in self.fields.items():
            if name not in FIELDS:
                raise InputError(f"{self.origin}: no task file has the field {name!r}: {nearest(name, FIELDS)}")
            if name in PLAIN:
                found[PLAIN[name]] = value
        for name, value in {"type": self.kind.type, "loss": self.kind.loss, "start_iteration": 0}.items():
            if self.fields.get(name, value) != value:
                self.refuse(name, repr(value))
        if self.kind.root and "dataroot" in self.fields:
            found[self.kind.root] = self.fields["dataroot"]
        if "max_region_num" in self.fields:
            found["regions.max_regions"] = int(self.number("max_region_num")) - 1  # it counts the global region
        if self.kind.annotated and "features_h5path2" in self.fields:
            found["annotated_regions.path"] = self.fields["features_h5path2"] or ""
        elif self.fields.get("features_h5path2"):
            self.refuse("features_h5path2", "'': the task has no second features")
        for name, split in _JSON_LINES.items():
            if not self.fields.get(name):
                continue
            if self.kind.task not in ("vcr", "retrieval"):
                self.refuse(name, "'': the task finds its files in dataroot")
            # Relative to the working directory, not to dataroot.
            found[f"{self.kind.task}.splits.{split}"] = str(Path(self.fields[name]).expanduser().absolute())
        return [Override(key, value, self.origin) for key, value in {**found, **self._splits()}.items()]

    def _splits(self) -> dict[str, Any]:
        """Settings of the training and validation splits."""
        given, training = str(self.fields.get("val_split", "val")), self.fields.get("train_split", "train")
        if given not in self.kind.validation:
            self.refuse("val_split", ", ".join(self.kind.validation))
        if training not in (("train", "trainval") if self.name == "VQA" else ("train",)):
            self.refuse("train_split", "'train'")
        found: dict[str, Any] = dict.fromkeys(("train.eval_split", "eval_split"), self.kind.validation[given])
        if training == "trainval":
            rest = {"without_last": MINIVAL} if given == "minval" else {}
            found["vqa.splits.train"] = [_questions("train"), {**_questions("val"), **rest}]
        if given == "minval":
            found["vqa.splits.val"] = [{**_questions("val"), "only_last": MINIVAL}]
        return found


def _questions(split: str) -> dict[str, str]:
    return {"questions": _QUESTIONS.format(split), "annotations": _ANNOTATIONS.format(split)}


def read_tasks(path: PathLike, wanted: str) -> list[Entry]:
    """Read the entries `wanted` of the file `path`: `TASK10`, `10`, or several as in the originals, `1-5-10`.

    Raises:
        InputError: a file that is no task file, or an entry that does not exist or is of no task here.
    """
    try:
        content = parse_yaml(Path(path).expanduser().read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); --tasks_file is a vilbert_tasks.yml") from error
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise InputError(f"{path}: expected entries TASK1, TASK2, … with fields, as in vilbert_tasks.yml")
    words = [word for word in re.split(r"[-,\s]+", wanted.strip()) if word]
    keys = [f"TASK{word}" if word.isdigit() else word if word in content else word.upper() for word in words]
    names = [content[key].get("name") for key in keys if key in content]
    if not keys or len(names) < len(keys) or len(set(map(str, names))) < len(names):
        listed = ", ".join(f"{key} ({value.get('name')})" for key, value in content.items())
        raise InputError(f"--tasks {wanted!r}: expected one or more tasks of {path}, each once; it has {listed}")
    for key, name in zip(keys, names):
        if str(name) not in KINDS:
            raise InputError(f"{path}: {key}: name is {name!r}, which is no task here: {nearest(str(name), KINDS)}")
    return [Entry(key, KINDS[name], content[key], f"{path}: {key}") for key, name in zip(keys, names)]


def multitask_overrides(path: PathLike, entries: Sequence[Entry]) -> list[Override]:
    """Return settings of run_multitask.py for several entries, trained as in 12-in-1.

    The batch is the largest, smaller ones being a share of it; the learning rate is the lowest, higher ones being a
    factor on the loss.
    """
    batch = int(max(entry.number("batch_size") for entry in entries))
    rate = min(entry.number("lr") for entry in entries)
    members = {}
    for entry in entries:
        share, rest = divmod(batch, int(entry.number("batch_size")))
        if rest:
            entry.refuse("batch_size", f"a divisor of the largest, {batch}: all tasks share one batch")
        members[entry.name.lower()] = {
            "task": entry.kind.task,
            "config": str(entry.recipe),
            "share": share,
            "weight": round(entry.number("lr") / rate, 6),
            "tasks_file": str(Path(path).absolute()),
            "tasks_entry": entry.key,
        }
    epochs = max(int(entry.number("num_epoch")) for entry in entries)
    found = {"tasks": members, "train.batch_size": batch, "train.optimizer.lr": rate, "train.epochs": epochs}
    return [Override(key, value, str(path)) for key, value in found.items()]
