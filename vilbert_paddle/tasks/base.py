"""Base of ViLBERT's tasks: configuration, tokenizer, region features, splits, and the steps from batch to loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import nn

from pyutils.compat import has_gpu
from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.config.renamed import Renamed
from pyutils.data.features.inputs import RegionConfig, RegionSourceConfig
from pyutils.data.features.spec import FeatureSpec
from pyutils.data.table import RecordTable
from pyutils.engine.answers import Example, Features, both_given, feature_rows
from pyutils.engine.evaluation import evaluating
from pyutils.engine.run import RunConfig
from pyutils.engine.split_task import SplitTask, vocabulary_size
from pyutils.engine.task import Batch
from pyutils.errors import InputError, nearest
from pyutils.layers.dropout import Dropout
from pyutils.text.tokenizer import load_tokenizer
from vilbert_paddle.config import VilbertConfig
from vilbert_paddle.data.regions import RegionReader, region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.heads import HEAD_DROPOUT, VilbertForTasks
from vilbert_paddle.network.objectives import OBJECTIVES, REGION_INPUTS, TEXT_INPUTS, network_inputs
from vilbert_paddle.tasks.parameter_groups import NEW_HEAD_LR, DecayRule, HeadRates, with_groups

FEWEST_TOKENS = 3  # [CLS], a word, [SEP]


@dataclass(frozen=True)
class VilbertRunConfig(RunConfig):
    """Configuration of every ViLBERT task; a task adds its data."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {"regions.picture": Renamed("image_input")}

    model: VilbertConfig = setting(VilbertConfig, "The network.")
    regions: RegionConfig = setting(RegionConfig, "Region features; max_regions excludes the global region.")
    tokenizer: str = setting("bert-base-uncased", "vocab.txt, a directory with one, or a name known to paddlenlp.")
    task_number: int = setting(0, "Row of the task token table; 0: that of the task in 12-in-1.")
    max_text: int = setting(20, "Maximum tokens of a text, including [CLS] and [SEP].")
    trained: str = setting("", "Weights for --evaluate if the output directory has no checkpoint.")
    decay: DecayRule = setting("default", "No weight decay on biases and norms; original, inverted: the old rules.")
    head_rates: HeadRates = setting("new_heads", "Parameters at new_head_lr: new_heads, original, everything or none.")
    head_dropout: float = setting(HEAD_DROPOUT, "Dropout before the heads; the originals fix it at 0.1.")
    new_head_lr: float = setting(NEW_HEAD_LR, "Learning rate of the parameters chosen by head_rates.")

    def __post_init__(self) -> None:
        at_least(self, FEWEST_TOKENS, "max_text")
        if self.max_text > self.model.max_positions:
            raise InputError(
                f"max_text is {self.max_text}, but the network has {self.model.max_positions} positions for tokens "
                "(model.max_positions): lower max_text, or max_seq_length in a task file"
            )


class VilbertTask(SplitTask):
    """Everything but the data. A subclass names its objective, reads its splits (`read`), collates and evaluates.

    Args:
        config: the task's own configuration class.
        outputs: number of outputs by head, where it is not the default.
        annotated: see `RegionReader`.
        model: a network that several tasks train together; by default the task builds its own.
    """

    config_class: ClassVar[type[VilbertRunConfig]]
    objective: ClassVar[str]
    task_number: int = 0  # row of 12-in-1's table of task tokens
    visual_input = "regions"
    find_unused_parameters = True  # the last co-attention layer leaves out what its head does not read

    def __init__(
        self,
        config: VilbertRunConfig,
        outputs: Mapping[str, int] | None = None,
        annotated: RegionSourceConfig | None = None,
        model: nn.Layer | None = None,
    ):
        tokenizer = load_tokenizer(config.tokenizer)
        words = vocabulary_size(config.model.vocab_size, tokenizer)
        super().__init__(replace(config, model=replace(config.model, vocab_size=words)), tokenizer)
        self.multiple = 8 if has_gpu() else 1  # tensor cores
        self.reader = self.open_regions(annotated)
        self.outputs = {head: (outputs or {}).get(head) for head in self.heads_of(config)}
        self.model = self.network() if model is None else model

    @classmethod
    def heads_of(cls, config: Any) -> tuple[str, ...]:
        """Return the names of the heads that the task trains."""
        return (OBJECTIVES[cls.objective].head,)

    def network(self) -> nn.Layer:
        """Build the encoder with the task's heads."""
        return task_network(self.config, self.outputs)

    def open_regions(self, annotated: RegionSourceConfig | None) -> Any:
        """Open the task's region features."""
        config = self.config
        size, shown = config.model.region_dim, config.image_input
        return RegionReader(config.regions, size, self.multiple, annotated, image_input=shown)

    def region_spec(self) -> FeatureSpec | None:
        """See `SplitTask.region_spec`."""
        return None if self.reader is None else self.reader.inputs.source.spec

    def with_regions(self, records: RecordTable, *fields: str, annotated: bool = False) -> Any:
        """Select `records` whose images, named by `fields`, have features (see `RegionReader.available`); images are
        shuffled for that baseline."""
        return self.reader.inputs.shown(self.reader.available(records, *fields, annotated=annotated), *fields)

    def with_task(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add `task_ids` [b, 1] (or [b, choices, 1]) int64 if the network has task tokens."""
        if self.config.model.task_tokens:
            number = self.config.task_number or self.task_number
            batch["task_ids"] = np.full((*batch["input_ids"].shape[:-1], 1), number, dtype=np.int64)
        return batch

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Compute the scores of the objective's head (`VilbertForTasks.forward`)."""
        return self.model(OBJECTIVES[self.objective].head, **network_inputs(batch))

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        return replace(config, image_input="shown", regions=replace(config.regions, path=""))

    def hold(self, images: Sequence[Any], names: Sequence[str]) -> list[str]:
        return self.reader.inputs.hold(images, names)

    def extract(self, examples: Sequence[Example], top: int = 1) -> list[Features]:
        """Compute the pooled vectors of text and regions, which have read each other, and their joint vector."""
        both_given(examples)
        texts = text_batch(self.tokenizer, [each.text for each in examples], self.config.max_text, self.multiple)
        arrays = {**self.with_task(texts), **region_arrays(self.reader.read([each.images[0] for each in examples]))}
        batch = {name: paddle.to_tensor(value) for name, value in arrays.items()}
        encoder = self.model.encoder
        with evaluating(self.model):
            words = encoder.begin_text(**{name: batch[name] for name in TEXT_INPUTS if name in batch})
            boxes = encoder.begin_regions(**{name: batch[name] for name in REGION_INPUTS}, words=words)
            found = encoder.co_attend(words, boxes, "first", "first")
            vectors = {
                "image": encoder.region_pooler(found.regions),
                "text_vector": encoder.text_pooler(found.text),
                "joint": encoder.pooled(found.text, found.regions),
            }
        return feature_rows({name: vector.numpy() for name, vector in vectors.items()})

    pipelines: ClassVar[Mapping[str, Any]] = {"feature-extraction": extract}

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The objective's loss; nothing else is logged."""
        return OBJECTIVES[self.objective].loss(self.scores(batch), batch["labels"]), {}


def task_network(config: VilbertRunConfig, outputs: Mapping[str, int | None]) -> VilbertForTasks:
    """Build the encoder with heads; `outputs`: head -> number of outputs, None for the default."""
    model = VilbertForTasks(config.model, outputs)
    model.dropout = Dropout(config.head_dropout)
    return model


def with_recipe(config: VilbertRunConfig, heads: Sequence[str]) -> VilbertRunConfig:
    """Set the parameter groups in `config` from its `decay`, `head_rates` and `new_head_lr`."""
    groups = with_groups(config.train.optimizer, heads, config.decay, config.head_rates, config.new_head_lr)
    return replace(config, train=replace(config.train, optimizer=groups))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities of a classifier trained with binary cross-entropy; -inf stays -inf (excluded)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.isneginf(scores), scores, 1.0 / (1.0 + np.exp(-scores)))


def split_entry(splits: Mapping[str, Any], name: str, section: str) -> Any:
    """Return the entry of split `name`. Raises InputError for a split that `section.splits` does not have."""
    if name not in splits:
        raise InputError(f"{section}.splits has no split {name!r}: {nearest(name, splits)}")
    return splits[name]
