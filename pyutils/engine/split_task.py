"""Part of a task that all models share: tokenizer, splits, vocabulary size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pyutils.config import to_yaml
from pyutils.console import say
from pyutils.data.report import describe_images, describe_texts, first_unlabelled
from pyutils.engine.evaluation import predict_split
from pyutils.engine.task import Rows, Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions
from pyutils.text.tokenizer import WordPiece


class SplitTask(Task):
    """A task with named splits of records, "train" among them, and WordPiece texts.

    A subclass implements `read`, `collate`, `loss` and `predict` and sets `model`. `config` is the resolved
    configuration, saved with every checkpoint.

    config_class: the dataclass of its configuration. needs_labels: nothing can be learned from a record without label.
    example_flags: flags of `run_predict.py` that describe one
    example, () if only splits are predicted. predict_flags: further flags of `run_predict.py`.
    """

    config_class: ClassVar[type]
    needs_labels: ClassVar[bool] = False
    file_keys: tuple[str, ...] = ("tokenizer",)
    example_flags: ClassVar[tuple[str, ...]] = ()
    predict_flags: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, tokenizer: WordPiece):
        if config.task not in ("", self.name):
            raise InputError(f"the configuration is of task {config.task}, not of {self.name}; give another --config")
        self.config, self.tokenizer = replace(config, task=self.name), tokenizer
        self.config_text = to_yaml(self.config)
        self._splits: dict[str, Any] = {}

    def labelled(self, split: str) -> bool:
        """Return True if every record of `split` has a label, for tasks that need one."""
        return not self.needs_labels or not first_unlabelled(self.records(split))

    def before_training(self) -> None:
        self.check_training_data()

    def check_training_data(self) -> None:
        """Log what the splits of a training contain. Raises InputError if nothing can be learned from them."""
        records = self.records("train")
        missing = first_unlabelled(records) if self.needs_labels else ""
        if missing:
            raise InputError(
                f"split 'train' has records without labels, e.g. {missing}: give its annotations, or take them out"
            )
        train = self.config.train
        for split in dict.fromkeys(("train", train.eval_split) if train.evaluates else ("train",)):
            for line in self.describe(split):
                say(line)

    def describe(self, split: str) -> list[str]:
        """Return lines about the records of `split`. Raises InputError if nothing can be learned from them."""
        records = self.records(split)
        return [*describe_images(records, split), *describe_texts(records, self.tokenizer, self.is_cut, split)]

    def is_cut(self, text: str, pieces: int) -> bool:
        """Return True if the model does not read the end of a text of so many word pieces."""
        return pieces + len(("[CLS]", "[SEP]")) > self.config.max_text

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """Return `config` with the files of the checkpoint `folder` (vocabulary, answer list) if they exist."""
        vocabulary = folder / "vocab.txt"
        return replace(config, tokenizer=str(vocabulary)) if vocabulary.is_file() else config

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:  # noqa: B027 - an optional hook
        """Raise InputError for an example that cannot be answered; called before weights are read."""

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """Answer one example of `run_predict.py`: return rows to print, best first; draw images into `output`.

        `example`: the flags `example_flags` and, if given, `predict_flags`, by name.
        """
        raise NotImplementedError(f"{self.name} has no example_flags")

    def predict_with(self, flags: Mapping[str, Any], split: str) -> Predictions:
        """Return the predictions for `split`; `flags` may have `predict_flags`."""
        return predict_split(self, self.config.train, split)

    @abstractmethod
    def read(self, split: str) -> Sequence[Any]:
        """Read the records of `split`. Raises InputError, with the known splits, for an unknown one."""

    def records(self, split: str) -> Any:
        """Return the records of `split`, read once."""
        if split not in self._splits:
            self._splits[split] = self.read(split)
        return self._splits[split]

    def train_records(self) -> Any:
        return self.records("train")

    def eval_records(self, split: str) -> Sequence[Any]:
        return self.records(split)

    def checkpoint_files(self) -> Sequence[Path]:
        """Return the vocabulary."""
        return (self.tokenizer.path,)


def vocabulary_size(own: int, tokenizer: WordPiece, key: str = "model.vocab_size") -> int:
    """Return the number of word embeddings: `own`, or the size of the vocabulary if that is 0.

    Raises InputError, with the configuration `key`, if `own` is smaller than the vocabulary.
    """
    size = tokenizer.vocab_size
    if 0 < own < size:
        raise InputError(
            f"{tokenizer.path}: {size} pieces, but {key} is {own}: use the vocab.txt of the checkpoint, or set "
            f"{key} to 0 to follow the vocabulary"
        )
    return own or size
