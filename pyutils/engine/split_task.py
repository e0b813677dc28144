"""Part of a task that all models share: tokenizer, splits, vocabulary size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import numpy as np
import paddle

from pyutils.config import to_yaml
from pyutils.console import say
from pyutils.data.features.spec import FeatureSpec, spec_text
from pyutils.data.report import describe_images, describe_texts, first_unlabelled
from pyutils.engine.answers import Example
from pyutils.engine.evaluation import evaluating, predict_split
from pyutils.engine.image_regions import SPEC_FILE
from pyutils.engine.task import Batch, Rows, Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions
from pyutils.text.tokenizer import WordPiece

USUAL_TOP = 5
_IMAGE_FLAGS = ("image", "second_image")


class SplitTask(Task):
    """A task with named splits of records, "train" among them, and WordPiece texts.

    A subclass implements `read`, `collate`, `loss` and `predict` and sets `model`. `config` is the resolved
    configuration, saved with every checkpoint.

    config_class: the dataclass of its configuration. needs_labels: nothing can be learned from a record without label.
    example_flags: flags of `run_predict.py` that describe one
    example, () if only splits are predicted. predict_flags: further flags of `run_predict.py`.
    visual_input: what `hold` takes: "images" (paths, Pillow images) or "regions" (`RegionFeatures`).
    """

    config_class: ClassVar[type]
    visual_input: ClassVar[Literal["images", "regions"]]
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

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        """Return `config` without the data of training, for a task that only answers given examples."""
        raise NotImplementedError(f"{cls.__name__} answers no given examples")

    def hold(self, images: Sequence[Any], names: Sequence[str]) -> list[str]:
        """Read these images from now on, in place of those of the splits; returns their keys.

        `images`: see `visual_input`; `names` are for messages. Raises InputError for regions the model cannot read.
        """
        raise NotImplementedError(f"{self.name} answers no given examples")

    def scores(self, batch: Batch) -> Any:
        """Compute the scores of a batch, as the network gives them."""
        raise NotImplementedError(f"{self.name} has no scores")

    def scores_of(self, records: Sequence[Any]) -> np.ndarray:
        """Compute the scores of records outside a split, `[b, …]` float64."""
        batch = self.collate(list(records), np.random.default_rng(0), False)
        with evaluating(self.model):
            scores = self.scores({name: paddle.to_tensor(value) for name, value in batch.items()})
        return scores.astype("float32").numpy().astype(np.float64)

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:  # noqa: B027 - an optional hook
        """Raise InputError for an example that cannot be answered; called before weights are read."""

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """Answer one example of `run_predict.py`: return rows to print, best first; draw images into `output`.

        `example`: the flags `example_flags` and, if given, `predict_flags`, by name.
        """
        answer = next(iter(self.pipelines.values()))
        images = self.example_images([example[flag] for flag in _IMAGE_FLAGS if flag in example])
        asked = Example(tuple(images), example["text"], example.get("phrase", ""))
        return answer(self, [asked], example.get("top", USUAL_TOP))[0].rows()

    def example_images(self, images: Sequence[str]) -> Sequence[str]:
        """Return the keys of the images that `run_predict.py` names: by default, keys of the region features."""
        return images

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
