"""Part of a task that all models share: tokenizer, splits, vocabulary size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Optional

from pyutils.config import to_yaml
from pyutils.data.features.spec import FeatureSpec, spec_text
from pyutils.engine.evaluation import predict_split
from pyutils.engine.image_regions import SPEC_FILE
from pyutils.engine.task import Rows, Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions
from pyutils.text.tokenizer import WordPiece


class SplitTask(Task):
    """A task with named splits of records, "train" among them, and WordPiece texts.

    A subclass implements `read`, `collate`, `loss` and `predict` and sets `model`. `config` is the resolved
    configuration, saved with every checkpoint.

    config_class: the dataclass of its configuration. example_flags: flags of `run_predict.py` that describe one
    example, () if only splits are predicted. predict_flags: further flags of `run_predict.py`.
    """

    config_class: ClassVar[type]
    example_flags: ClassVar[tuple[str, ...]] = ()
    predict_flags: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, tokenizer: WordPiece):
        if config.task not in ("", self.name):
            raise InputError(f"the configuration is of task {config.task}, not of {self.name}; give another --config")
        self.config, self.tokenizer = replace(config, task=self.name), tokenizer
        self.config_text = to_yaml(self.config)
        self._splits: dict[str, Any] = {}

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

    def region_spec(self) -> Optional[FeatureSpec]:
        """Return the description of the region features that the task reads; None if it reads none, or several."""
        return None

    def checkpoint_texts(self) -> Mapping[str, str]:
        """Return the description of the region features, with which `run_predict.py` describes other images."""
        spec = self.region_spec()
        return {} if spec is None else {SPEC_FILE: spec_text(spec)}


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
