"""Base of VisualBERT's tasks: configuration, tokenizer, region features and their arrays."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import paddle

from pyutils.compat import has_gpu
from pyutils.config import setting
from pyutils.config.renamed import Renamed
from pyutils.data.features import RegionBatch
from pyutils.data.features.inputs import RegionConfig, RegionInputs
from pyutils.data.features.spec import FeatureSpec
from pyutils.engine.answers import Example, Features, both_given, feature_rows
from pyutils.engine.evaluation import evaluating
from pyutils.engine.run import RunConfig
from pyutils.engine.split_task import SplitTask, vocabulary_size
from pyutils.engine.task import Batch
from pyutils.text import sequences
from pyutils.text.sequences import TextSequence
from pyutils.text.tokenizer import load_tokenizer
from visualbert_paddle.config import VisualBertConfig

NOT_INPUTS = ("labels", "index")

# Recipes for features of a dimension, for the error about features of another one.
_FOLDER = "configs/visualbert"
RECIPES = {
    2048: f"{_FOLDER}/vqa2.yaml, flickr.yaml, or pretrain.yaml with --image_feature_type coco_detectron_fix_100",
    1024: f"{_FOLDER}/nlvr2.yaml, or pretrain.yaml with --image_feature_type coco_detectron_fix_144",
    512: f"{_FOLDER}/vcr.yaml",
}


@dataclass(frozen=True)
class VisualBertRunConfig(RunConfig):
    """Configuration common to VisualBERT's tasks; a task adds its data."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {"regions.picture": Renamed("image_input")}

    model: VisualBertConfig = setting(VisualBertConfig, "The network.")
    regions: RegionConfig = setting(RegionConfig, "Region features.")
    tokenizer: str = setting("bert-base-uncased", "vocab.txt, a folder with one, or a name known to paddlenlp.")
    max_text: int = setting(128, "Maximum tokens of a text; batches are padded to their longest.")


class VisualBertTask(SplitTask):
    """Everything but the objective. A subclass reads its splits (`read`), collates and sets `model`.

    `dimension`: of the features on disk; default: the network's `visual_dim`.
    """

    visual_input = "regions"

    def __init__(self, config: VisualBertRunConfig, dimension: int | None = None):
        tokenizer = load_tokenizer(config.tokenizer)
        words = vocabulary_size(config.model.vocab_size, tokenizer)
        super().__init__(replace(config, model=replace(config.model, vocab_size=words)), tokenizer)
        self.multiple = 8 if has_gpu() else 1  # tensor cores
        size = dimension or config.model.visual_dim
        self.regions = RegionInputs(config.regions, size, self.multiple, RECIPES, config.image_input)

    def region_spec(self) -> FeatureSpec:
        """See `SplitTask.region_spec`."""
        return self.regions.source.spec

    @abstractmethod
    def scores(self, batch: Batch) -> Any:
        """Scores of a batch, as the network gives them."""

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        return replace(config, image_input="shown", regions=replace(config.regions, path=""))

    def hold(self, images: Sequence[Any], names: Sequence[str]) -> list[str]:
        return self.regions.hold(images, names)

    def extract(self, examples: Sequence[Example], top: int = 1) -> list[Features]:
        """Compute the state at [CLS] of text and regions together."""
        both_given(examples)
        words = self.tokenizer.encode_batch([example.text for example in examples])
        texts = [sequences.single(self.tokenizer, ids, self.config.max_text) for ids in words]
        regions = self.regions.read([example.images[0] for example in examples])
        arrays = {**self.text_arrays(texts), **self.arrays_of(regions)}
        with evaluating(self.model):
            inputs = {name: paddle.to_tensor(value) for name, value in arrays.items()}
            states = self.model.encoder(read_at=0, **inputs).states
        return feature_rows({"joint": states[:, 0].numpy()})

    pipelines: ClassVar[Mapping[str, Any]] = {"feature-extraction": extract}

    def text_arrays(self, texts: Sequence[TextSequence]) -> dict[str, np.ndarray]:
        """`input_ids`, `text_mask`, `token_type_ids`, each `[b, t]` int64."""
        return sequences.batch(texts, self.tokenizer.pad, self.multiple)

    def region_arrays(self, images: Sequence[str]) -> dict[str, np.ndarray]:
        """`region_features` `[b, r, d]` float32, `region_mask` and `region_token_type_ids` `[b, r]` int64."""
        return self.arrays_of(self.regions.read(images))

    def arrays_of(self, regions: RegionBatch) -> dict[str, np.ndarray]:
        """The arrays of `region_arrays` for given regions."""
        return {
            "region_features": regions.features,
            "region_mask": regions.mask,
            "region_token_type_ids": np.full_like(regions.mask, self.config.model.region_token_type),
        }


def network_inputs(batch: Batch, without: Sequence[str] = NOT_INPUTS) -> Batch:
    """The network's inputs of a batch."""
    return {name: value for name, value in batch.items() if name not in without}
