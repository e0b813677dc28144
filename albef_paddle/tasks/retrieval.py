"""Image-text retrieval with ALBEF on Flickr30k or COCO (arXiv 2107.07651, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import paddle

from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.tasks.base import AlbefRunConfig
from albef_paddle.tasks.matching import MatchingTask
from albef_paddle.tasks.towers import AlbefTowers
from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.data.annotations import albef
from pyutils.data.records import CaptionRecord
from pyutils.engine.gallery import Chunks
from pyutils.engine.reranking import RerankedGallery, RerankingConfig, reranked
from pyutils.engine.task import Batch
from pyutils.metrics.retrieval import RankPredictions


@dataclass(frozen=True)
class AlbefRetrievalConfig(RerankingConfig, AlbefRunConfig):
    """Configuration of run_retrieval.py."""

    max_tokens: int = setting(
        30, "Maximum tokens of a text in evaluation, including [CLS]; training does not truncate."
    )

    def __post_init__(self) -> None:
        AlbefRunConfig.__post_init__(self)
        RerankingConfig.__post_init__(self)
        at_least(self, 2, "max_tokens")


class IdentifiedPairs(MatchingTask):
    """Training on pairs that may share images. `identity`: the record field that identifies the image."""

    identity: str
    least_batch = 2

    def before_training(self) -> None:
        """Number the images, too, before data workers start."""
        super().before_training()
        self.identities  # noqa: B018

    @cached_property
    def identities(self) -> dict[int | str, int]:
        """Number of each image of the training split."""
        return {name: number for number, name in enumerate(dict.fromkeys(self.train_records().column(self.identity)))}

    def pair_arrays(self, texts: Sequence[str], images: Sequence[int | str]) -> dict[str, np.ndarray]:
        """Make `input_ids`, `text_mask` `[b, t]` int64 of training texts, and `identities` `[b]` int64 of images."""
        numbers = np.array([self.identities[image] for image in images], dtype=np.int64)
        return {**self.text_arrays([self.caption(text) for text in texts]), "identities": numbers}

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        inputs = (batch[name] for name in ("images", "input_ids", "text_mask", "identities"))
        losses = self.model(*inputs, alpha)
        return losses.itc + losses.itm, losses._asdict()


class AlbefRetrieval(IdentifiedPairs):
    """Batches: `images` `[b, 3, size, size]` float32; in training `input_ids`, `text_mask` `[b, t]` int64 and
    `identities` `[b]` int64, equal for texts of one image."""

    name = "albef_retrieval"
    identity = "image_id"
    best_metric = "r_mean"
    config_class = AlbefRetrievalConfig

    def __init__(self, config: AlbefRetrievalConfig):
        super().__init__(config)
        self.model = AlbefForRetrieval(self.config.model)

    def read(self, split: str) -> Sequence[CaptionRecord]:
        """Read a split: one record per caption in "train", one per image elsewhere."""
        files = self.config.data.files(split)
        return (albef.read_retrieval_train if split == "train" else albef.read_retrieval_eval)(files)

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        batch = {"images": self.images(training).read_batch([record.image for record in records], rng)}
        if training:
            batch |= self.pair_arrays([r.captions[0] for r in records], [r.image_id for r in records])
        return batch

    def predict(self, loader: Iterable[Batch], split: str) -> RankPredictions:
        """Compute the ranks of both directions of `split`."""
        lists = [record.captions for record in self.records(split)]
        tokens = [self.caption(text, self.config.max_tokens) for texts in lists for text in texts]
        return reranked(AlbefTowers(self.model), self.config, loader, tokens, lists)

    def open_gallery(self, chunks: Chunks) -> RerankedGallery:
        """Encode images to search."""

        def tokens(texts: Sequence[str]) -> list[list[int]]:
            return [self.caption(text, self.config.max_tokens) for text in texts]

        def batch(keys: Sequence[str]) -> Batch:
            return {"images": self.pixels(keys)}

        return RerankedGallery(self.model, AlbefTowers(self.model), self.config, tokens, batch, chunks)

    pipelines = {**MatchingTask.pipelines, "retrieval": open_gallery}
