"""The part of a task that is the same for every model: a tokenizer, splits read once, a vocabulary that fits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyutils.config import to_yaml
from pyutils.engine.task import Task
from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece


class SplitTask(Task):
    """A task whose records come in named splits, "train" among them, and whose texts are WordPiece.

    A subclass reads a split (`read`), collates, sets `model` and gives loss and metrics. `config` is the resolved
    configuration, which is saved with every checkpoint.
    """

    def __init__(self, config: Any, tokenizer: WordPiece):
        self.config, self.tokenizer = config, tokenizer
        self.config_text = to_yaml(config)
        self._splits: dict[str, Sequence[Any]] = {}

    @abstractmethod
    def read(self, split: str) -> Sequence[Any]:
        """The records of `split` from its files; InputError names the known splits when it is none of them."""

    def records(self, split: str) -> Sequence[Any]:
        """The records of `split`, read once."""
        if split not in self._splits:
            self._splits[split] = self.read(split)
        return self._splits[split]

    def train_records(self) -> Sequence[Any]:
        """See Task."""
        return self.records("train")

    def eval_records(self, split: str) -> Sequence[Any]:
        """See Task."""
        return self.records(split)

    def checkpoint_files(self) -> Sequence[Path]:
        """The vocabulary: with it a checkpoint predicts on its own."""
        return (self.tokenizer.path,)


def vocabulary_size(own: int, tokenizer: WordPiece, key: str = "model.vocab_size") -> int:
    """The number of word embeddings: `own`, or the tokenizer's number of pieces where that is 0.

    Raises InputError, naming the configuration `key`, when `own` is too small for the tokenizer.
    """
    size = tokenizer.vocab_size
    if own == 0:
        return size
    if own < size:
        raise InputError(
            f"{tokenizer.path}: {size} pieces, but {key} is {own}: take the vocab.txt the checkpoint was made with, or "
            f"set {key} to 0 to follow the vocabulary"
        )
    return own
