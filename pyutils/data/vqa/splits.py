"""Read the configured splits of a question-answering data set, and find questions that splits share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyutils.config import setting
from pyutils.config.checks import at_least, one_of
from pyutils.console import say
from pyutils.data.annotations.fields import get_split
from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable, concat
from pyutils.data.vqa import annotations as vqa
from pyutils.data.vqa.answers import SCORE_RULES
from pyutils.data.vqa.forms import RESULT_FORM_HELP, ResultForm
from pyutils.errors import InputError
from pyutils.metrics.vqa import CURRENT_VERSION, EVALUATION_HELP


@dataclass(frozen=True)
class VQAFiles:
    """One part of a split: the official questions with annotations, or one file of both (imdb, GQA, VizWiz, list)."""

    questions: str = setting(
        "", "Questions JSON, imdb_*.npy, GQA's or VizWiz's file or a list, relative to `vqa.root`."
    )
    annotations: str = setting("", "Annotations JSON; empty for a file with answers and for a test split.")
    if_missing: str = setting("", "An imdb to read, with a message, if `questions` does not exist; empty: an error.")
    without_last: int = setting(0, "Number of questions with the highest ids to leave out; 0: none.")
    only_last: int = setting(0, "Number of questions with the highest ids to keep; 0: all.")

    def __post_init__(self) -> None:
        at_least(self, 0, "without_last", "only_last")


@dataclass(frozen=True)
class VQAConfig:
    """The `vqa:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/VQA2", "Folder that the paths below are relative to.")
    splits: dict[str, list[VQAFiles]] = setting({}, "Split name -> its parts, read one after the other.")
    answers: str = setting("extras/vocabs/answers_vqa.txt", "Answer list; its order is the order of the classes.")
    image_pattern: str = setting(vqa.COCO_PATTERN, "Image key from {split} and {id} of the official files.")
    soft_scores: str = setting("official", "Rule of the soft targets: official, mmf or authors.")

    evaluation: Literal[2021, 2017] = setting(CURRENT_VERSION, EVALUATION_HELP)
    result_form: ResultForm = setting("vqa", RESULT_FORM_HELP)

    def __post_init__(self) -> None:
        one_of(self, "soft_scores", SCORE_RULES)


def read_split(config: VQAConfig, name: str) -> RecordTable[VQARecord]:
    """Read the records of split `name`. Raises InputError for a split that is not configured, and for damaged files."""
    parts = get_split(config.splits, name, "vqa.splits")
    if not parts:
        raise InputError(f"vqa.splits.{name}: no files are named")
    return concat([_read_part(config, part) for part in parts])


def _read_part(config: VQAConfig, part: VQAFiles) -> RecordTable[VQARecord]:
    """Read the files of one part and apply `without_last` and `only_last`. Raises InputError if nothing is left."""
    root = Path(config.root).expanduser()
    path, annotations = root / part.questions, root / part.annotations if part.annotations else None
    if part.if_missing and not path.exists() and (root / part.if_missing).is_file():
        _say_fallback(path, part.if_missing)
        path = root / part.if_missing
    records = vqa.read(path, annotations, image_pattern=config.image_pattern)
    if not (part.without_last or part.only_last):
        return records
    order = np.argsort(records.column("question_id"), kind="stable")
    kept = order[: max(0, len(order) - part.without_last)]
    kept = kept[-part.only_last :] if part.only_last else kept
    if not len(kept):
        raise InputError(f"{path}: without_last {part.without_last} leaves none of its {len(records)} questions")
    return records.select(np.sort(kept))


@cache  # once per file, although several parts of a run read it
def _say_fallback(path: Path, other: str) -> None:
    say(f"{path}: no such file; {other} is read in its place (vqa.splits)")


def answer_list(config: VQAConfig) -> Path:
    """Return the path of the answer list."""
    return Path(config.root).expanduser() / config.answers


class SplitOverlaps:
    """Finds the questions that the training split shares with others, in any order of reading."""

    def __init__(self) -> None:
        self._ids: dict[str, np.ndarray] = {}

    def add(self, split: str, records: RecordTable[VQARecord]) -> str:
        """Record a split; return one warning per line for each pair of splits that shares questions, "" for none."""
        self._ids[split] = np.unique(records.column("question_id"))
        if "train" not in self._ids:
            return ""
        others = [name for name in (self._ids if split == "train" else (split,)) if name != "train"]
        return "\n".join(filter(None, map(self._warning, others)))

    def _warning(self, split: str) -> str:
        asked = self._ids[split]
        common = len(np.intersect1d(asked, self._ids["train"], assume_unique=True))
        if not common:
            return ""
        return (
            f"warning: {common} of the {len(asked)} questions of split {split!r} are also in the split 'train': the "
            "accuracy does not measure generalisation. Change vqa.splits to select checkpoints by it"
        )


def with_saved_answers(config: Any, folder: Path) -> Any:
    """Point the section `vqa` of `config` to the answer list saved with a checkpoint in `folder`, if it exists."""
    saved = folder / Path(config.vqa.answers).name
    return replace(config, vqa=replace(config.vqa, answers=str(saved.resolve()))) if saved.is_file() else config
