"""The originals' task files (`vilbert_tasks.yml` of 12-in-1, `vlbert_tasks.yml` of ViLBERT) as settings of our recipes.

Every entry has our recipe of its kind under it: what the file says replaces the recipe's value, the rest stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyutils.config import Override
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.formats.yaml_text import parse_yaml
from vilbert_paddle.config import CONFIGS

MINIVAL = 3000  # validation questions, the last by id, that the originals' `minval` holds and `trainval` leaves out
_QUESTIONS = "v2_OpenEnded_mscoco_{}2014_questions.json"
_ANNOTATIONS = "v2_mscoco_{}2014_annotations.json"


@dataclass(frozen=True)
class Kind:
    """A task that an entry may name: the key of `multitask.TASKS`, the recipe, `type` and `loss` in the file, where the
    folder goes, what the name alone sets, and our names of the file's validation splits."""

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
    return Kind("vcr", recipe, "VL-logit", _CE, "vcr.root", {"vcr.asked": asked}, annotated=True)


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
# Field -> the setting that takes its value unchanged.
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
_WORDS = ("name", "type", "loss", "process", "train_split", "val_split")
FIELDS = (*PLAIN, *_JSON_LINES, *_OTHERS, "val_split", "start_iteration")


@dataclass(frozen=True)
class Entry:
    """One task of a file: its key there (`TASK10`), its kind, its fields, and how messages name it."""

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
        """Our configuration that the entry's settings are put over."""
        return CONFIGS / self.kind.recipe

    def number(self, name: str) -> float:
        """A field that is a number above 0. InputError where it is missing or something else."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise InputError(f"{self.origin}: {name} is {value!r}, expected a number above 0")
        return value

    def overrides(self) -> list[Override]:
        """The settings that the entry means. InputError for fields that no ViLBERT task file has, and for values that
        ask for what the task does not do."""
        found = dict(self.kind.sets)
        for name, value in self.fields.items():
            if name not in FIELDS:
                raise InputError(f"{self.origin}: no task file has the field {name!r}: {nearest(name, FIELDS)}")
            if name in PLAIN:
                found[PLAIN[name]] = value
        self._check_kind()
        if self.kind.root and "dataroot" in self.fields:
            found[self.kind.root] = self.fields["dataroot"]
        if "max_region_num" in self.fields:
            found["regions.max_regions"] = int(self.number("max_region_num")) - 1  # the global region is one of them
        self._annotated(found)
        self._annotations(found)
        self._splits(found)
        return [Override(key, value, self.origin) for key, value in found.items()]

    def _check_kind(self) -> None:
        expected = {"type": self.kind.type, "loss": self.kind.loss, "start_iteration": 0}
        for name, value in expected.items():
            if self.fields.get(name, value) != value:
                raise InputError(f"{self.origin}: {name} of {self.name} is {self.fields[name]!r}, expected {value!r}")

    def _annotated(self, found: dict[str, Any]) -> None:
        path = self.fields.get("features_h5path2") or ""
        if self.kind.annotated and "features_h5path2" in self.fields:
            found["annotated_regions.path"] = path
        elif path:
            raise InputError(f"{self.origin}: {self.name} takes no second features; features_h5path2 must be ''")

    def _annotations(self, found: dict[str, Any]) -> None:
        """Annotation files: of retrieval and VCR. They are named from where the program runs, not from dataroot."""
        section = {"vcr": "vcr", "retrieval": "retrieval"}.get(self.kind.task)
        for name, split in _JSON_LINES.items():
            path = self.fields.get(name) or ""
            if path and section is None:
                raise InputError(f"{self.origin}: {self.name} finds its files in dataroot; {name} must be ''")
            if path:
                found[f"{section}.splits.{split}"] = str(Path(path).expanduser().absolute())

    def _splits(self, found: dict[str, Any]) -> None:
        given = self.fields.get("val_split", "val")
        if given not in self.kind.validation:
            raise InputError(f"{self.origin}: val_split {given!r}: {nearest(given, self.kind.validation)}")
        found["train.eval_split"] = found["eval_split"] = self.kind.validation[given]
        training = self.fields.get("train_split", "train")
        if training not in (("train", "trainval") if self.name == "VQA" else ("train",)):
            raise InputError(f"{self.origin}: train_split {training!r} of {self.name}, expected 'train'")
        if training == "trainval":
            rest = {"without_last": MINIVAL} if given == "minval" else {}
            found["vqa.splits.train"] = [_questions("train"), {**_questions("val"), **rest}]
        if given == "minval":
            found["vqa.splits.val"] = [{**_questions("val"), "only_last": MINIVAL}]


def _questions(split: str) -> dict[str, str]:
    return {"questions": _QUESTIONS.format(split), "annotations": _ANNOTATIONS.format(split)}


def read_tasks(path: PathLike, wanted: str) -> list[Entry]:
    """The entries of the file `path` that `wanted` names: `TASK10`, `10`, or several as the originals write them,
    `1-5-10`. InputError naming file and entry for everything that is not as it should be."""
    try:
        content = parse_yaml(Path(path).expanduser().read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); --tasks_file names a vilbert_tasks.yml") from error
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise InputError(f"{path}: expected entries TASK1, TASK2, … with fields, as vilbert_tasks.yml has them")
    words = [word for word in re.split(r"[-,\s]+", wanted.strip()) if word]
    keys = [f"TASK{word}" if word.isdigit() else word if word in content else word.upper() for word in words]
    if not keys:
        raise InputError(f"--tasks is missing: {path} has {_listed(content)}")
    entries = [_entry(path, content, key) for key in keys]
    repeated = {entry.name for entry in entries if sum(other.name == entry.name for other in entries) > 1}
    if repeated:
        raise InputError(f"--tasks {wanted}: {sorted(repeated)[0]} is named more than once")
    return entries


def _entry(path: PathLike, content: Mapping[str, Any], key: str) -> Entry:
    if key not in content:
        raise InputError(f"{path}: there is no {key}; it has {_listed(content)}")
    words = {field: value for field, value in content[key].items() if field in _WORDS and not isinstance(value, str)}
    if words:
        field, value = next(iter(words.items()))
        raise InputError(f"{path}: {key}: {field} is {value!r}, expected a word")
    name = content[key].get("name")
    if name not in KINDS:
        raise InputError(f"{path}: {key}: the task {name!r} is not one of those here: {nearest(str(name), KINDS)}")
    return Entry(key, KINDS[name], content[key], f"{path}: {key}")


def _listed(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} ({value.get('name')})" for key, value in content.items())


def multitask_overrides(path: PathLike, entries: Sequence[Entry]) -> list[Override]:
    """Settings of run_multitask.py for several entries, as 12-in-1 trains them: the largest batch for all, smaller ones
    as a share of it; the lowest learning rate, higher ones as a factor on the loss."""
    batch = int(max(entry.number("batch_size") for entry in entries))
    rate = min(entry.number("lr") for entry in entries)
    members = {}
    for entry in entries:
        share, rest = divmod(batch, int(entry.number("batch_size")))
        if rest:
            raise InputError(f"{entry.origin}: batch_size does not divide the largest, {batch}: all share one batch")
        members[entry.name.lower()] = {
            **{"task": entry.kind.task, "config": str(entry.recipe), "share": share},
            **{"weight": round(entry.number("lr") / rate, 6), "tasks_file": str(Path(path).absolute())},
            **{"tasks_entry": entry.key},
        }
    epochs = max(int(entry.number("num_epoch")) for entry in entries)
    found = {"tasks": members, "train.batch_size": batch, "train.optimizer.lr": rate, "train.epochs": epochs}
    return [Override(key, value, str(path)) for key, value in found.items()]
