"""The part of a task that is the same for every model: a tokenizer, splits read once, a vocabulary that fits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pyutils.config import to_yaml
from pyutils.engine.evaluation import predict_split
from pyutils.engine.task import Rows, Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions
from pyutils.text.tokenizer import WordPiece


class SplitTask(Task):
    """A task whose records come in named splits, "train" among them, and whose texts are WordPiece.

    A subclass reads a split (`read`), collates, sets `model` and gives loss and predictions. `config` is the resolved
    configuration, which is saved with every checkpoint.

    config_class: the dataclass of its configuration. example_flags: flags of `run_predict.py` that describe one
    example, () where only whole splits are predicted; predict_flags: further flags it takes there.
    """

    config_class: ClassVar[type]
    example_flags: ClassVar[tuple[str, ...]] = ()
    predict_flags: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, tokenizer: WordPiece):
        if config.task not in ("", self.name):
            raise InputError(f"the configuration is of task {config.task}, not of {self.name}; name another --config")
        self.config, self.tokenizer = replace(config, task=self.name), tokenizer
        self.config_text = to_yaml(self.config)
        self._splits: dict[str, Any] = {}

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """`config` reading the files saved with a checkpoint in `folder` (vocabulary, answer list) where they exist."""
        vocabulary = folder / "vocab.txt"
        return replace(config, tokenizer=str(vocabulary)) if vocabulary.is_file() else config

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:  # noqa: B027 - an optional hook
        """Raises InputError for an example that cannot be answered; called before weights are read."""

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """Answer one example of `run_predict.py`: rows to print, best first; images are drawn into `output`.

        `example` holds the flags `example_flags` and, where typed, `predict_flags`, by name.
        """
        raise NotImplementedError(f"{self.name} has no example_flags")

    def predict_with(self, flags: Mapping[str, Any], split: str) -> Predictions:
        """Predictions for `split` under the typed `predict_flags`."""
        return predict_split(self, self.config.train, split)

    @abstractmethod
    def read(self, split: str) -> Sequence[Any]:
        """The records of `split` from its files; InputError names the known splits when it is none of them."""

    def records(self, split: str) -> Any:
        """The records of `split`, read once."""
        if split not in self._splits:
            self._splits[split] = self.read(split)
        return self._splits[split]

    def train_records(self) -> Any:
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
