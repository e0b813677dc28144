"""Flickr30k Entities with VisualBERT: the region of each phrase (paper, section 4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.console import say
from pyutils.data.annotations import entities
from pyutils.data.features import RegionBatch
from pyutils.data.records import Phrase, PhraseRecord
from pyutils.data.table import RecordTable
from pyutils.engine.answers import Box, Boxes, Example
from pyutils.engine.evaluation import predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import write_json
from pyutils.losses import kl_unnormalised
from pyutils.metrics.classification import softmax
from pyutils.metrics.grounding import first_hits, phrase_recall
from pyutils.metrics.predictions import Predictions
from pyutils.text import sequences
from visualbert_paddle.data.regions import overlaps
from visualbert_paddle.network.heads import VisualBertForPhraseGrounding
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask, network_inputs

RESULT_FILE = "phrases.json"
BOX_NUMBERS = 6
_RIGHT_IOU = 0.5


@dataclass(frozen=True)
class FlickrConfig:
    """The `flickr:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/Flickr30kEntities", "Folder of Annotations/, Sentences/, split lists.")
    splits: dict[str, str] = setting({}, "Split name -> the list of its images.")
    append_boxes: bool = setting(True, "Append six numbers of a region's box to its feature, part of visual_dim.")


@dataclass(frozen=True)
class VisualBertFlickrConfig(VisualBertRunConfig):
    """Configuration of run_flickr.py."""

    flickr: FlickrConfig = setting(FlickrConfig, "Sentences, phrases and boxes.")


class EntitiesItem(NamedTuple):
    """A sentence, and its phrases that have a box and were not cut off, with the position of their last piece."""

    text: sequences.TextSequence
    positions: list[int]
    phrases: list[Phrase]


class VisualBertFlickr(VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64; `phrase_positions` `[b, p]` int64, -1 = padding; `labels`
    `[b, p, r]` float32: one shared evenly by the regions that overlap a box of the phrase by half or more."""

    name = "visualbert_flickr"
    best_metric = "recall@1"
    config_class = VisualBertFlickrConfig
    example_flags = ("image", "text", "phrase")
    predict_flags = ("top",)
    find_unused_parameters = True  # the pooler is not read

    def __init__(self, config: VisualBertFlickrConfig):
        appended = BOX_NUMBERS if config.flickr.append_boxes else 0
        super().__init__(config, config.model.visual_dim - appended)
        self.regions.require(boxes=True)
        self.model = VisualBertForPhraseGrounding(self.config.model)

    def read(self, split: str) -> Sequence[PhraseRecord]:
        """The sentences of `split` that have a phrase with a box."""
        config = self.config.flickr
        if split not in config.splits:
            raise InputError(f"flickr.splits has no split {split!r}: {nearest(split, config.splits)}")
        records = drop_without_boxes(entities.read(config.root, config.splits[split]), split)
        return self.regions.shown(self.regions.available(records, "image"))

    def encode(self, record: PhraseRecord) -> EntitiesItem:
        """`[CLS] sentence [SEP]`; phrases whose last word is cut off are left out."""
        words = self.tokenizer.encode_batch(record.sentence.split(" "))
        text = sequences.single(self.tokenizer, [piece for word in words for piece in word], self.config.max_text)
        ends = np.cumsum([len(word) for word in words])
        last = len(text.ids) - 2
        kept = [(int(ends[p.end - 1]), p) for p in record.phrases if p.boxes and ends[p.end - 1] <= last]
        return EntitiesItem(text, [position for position, _ in kept], [phrase for _, phrase in kept])

    def collate(self, records: list[PhraseRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        encoded = [self.encode(record) for record in records]
        regions = self.read_regions([record.image for record in records])
        features = with_boxes_appended(regions) if self.config.flickr.append_boxes else regions.features
        if self.config.image_input == "withheld":
            features = np.zeros_like(features)
        most = max(1, max(len(own.positions) for own in encoded))
        positions = np.full((len(records), most), -1, dtype=np.int64)
        labels = np.zeros((len(records), most, regions.mask.shape[1]), dtype=np.float32)
        for row, (record, own) in enumerate(zip(records, encoded)):
            positions[row, : len(own.positions)] = own.positions
            count = int(regions.mask[row].sum())
            for number, phrase in enumerate(own.phrases):
                right = right_regions(phrase, record, regions.boxes[row, :count], regions.sizes[row].tolist())
                labels[row, number, :count] = right / max(1, right.sum())
        return {
            **self.text_arrays([own.text for own in encoded]),
            **self.arrays_of(regions),
            "region_features": features,
            "phrase_positions": positions,
            "labels": labels,
        }

    def read_regions(self, images: Sequence[str]) -> RegionBatch:
        """The regions with their boxes, the candidates, even where `image_input` withholds the image."""
        return self.regions.source.read_batch(images, self.config.regions.max_regions, self.multiple)

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Scores `[b, p, r]` of every region at every phrase."""
        return self.model(**network_inputs(batch))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The authors' divergence: summed over the phrases, averaged over the sentences."""
        return kl_unnormalised(self.scores(batch), batch["labels"]), {}

    def predict(self, loader: Iterable[Batch], split: str) -> PhrasePredictions:
        """The region chosen for every phrase of `split`, and the rank of the first right one."""

        def found(batch: Batch) -> dict[str, list[Any]]:
            scores, labels = self.scores(batch).astype("float32").numpy(), batch["labels"].numpy()
            real = batch["phrase_positions"].numpy() >= 0
            hits = [first_hits(own[kept], right[kept] > 0) for own, right, kept in zip(scores, labels, real)]
            return {"hits": hits, "chosen": [own[kept].argmax(axis=1) for own, kept in zip(scores, real)]}

        columns = predict_all(found, loader)
        results = []
        for record, hits, chosen in zip(self.records(split), columns["hits"], columns["chosen"]):
            for phrase, hit, region in zip(self.encode(record).phrases, hits.tolist(), chosen.tolist()):
                named = {"image": record.image, "sentence": record.sentence_id, "phrase": phrase.text}
                results.append({**named, "chain": phrase.phrase_id, "region": region, "right": hit == 0})
        return PhrasePredictions(np.concatenate(columns["hits"]), results)

    def locate(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Boxes]:
        """List the `top` boxes (pixels) for the words `phrase` of each example's `text`, with their probabilities.

        Raises InputError for a phrase that is not in its sentence, or cut off with it."""
        records = [_marked(example) for example in examples]
        for record in records:
            if not self.encode(record).positions:
                raise InputError(f"the phrase {record.phrases[0].text!r} is beyond max_text {self.config.max_text}")
        regions = self.read_regions([record.image for record in records])
        answers = []
        for own, boxes, mask in zip(self.scores_of(records)[:, 0], regions.boxes.tolist(), regions.mask):
            shares = softmax(own[: int(mask.sum())])
            order = np.argsort(-shares, kind="stable")[:top].tolist()
            best = tuple(Box(tuple(boxes[n]), float(shares[n]), n) for n in order)
            answers.append(Boxes(boxes=best, score_name="probability"))
        return answers

    pipelines = {"grounding": locate, **VisualBertTask.pipelines}


def _marked(example: Example) -> PhraseRecord:
    """The sentence of `example` with its phrase, by default all of it."""
    words = example.text.split()
    wanted = example.phrase.split() or words
    starts = [n for n in range(len(words)) if wanted and words[n : n + len(wanted)] == wanted]
    if not starts:
        raise InputError(f"--phrase {example.phrase!r} is not in --text {example.text!r}: give words of the sentence")
    somewhere = ((0.0, 0.0, 0.0, 0.0),)
    phrase = Phrase(starts[0], starts[0] + len(wanted), " ".join(wanted), "0", "", somewhere)
    return PhraseRecord(example.images[0], " ".join(words), (phrase,))


class PhrasePredictions(Predictions):
    """`hits` `[phrases]`: rank of the first right region; `results`: what was chosen, one entry a phrase."""

    def __init__(self, hits: np.ndarray, results: list[dict[str, Any]]):
        self.hits, self.results = hits, results

    def metrics(self) -> dict[str, float]:
        """`recall@1`, `recall@5`, `recall@10` and `upper_bound` in percent of the phrases that have a box."""
        return {name: 100.0 * value for name, value in phrase_recall(self.hits).items()}

    def write(self, directory: Path) -> list[Path]:
        """Write `phrases.json`: image, sentence, phrase, chosen region, whether it is right."""
        write_json(directory / RESULT_FILE, self.results)
        return [directory / RESULT_FILE]


def drop_without_boxes(records: RecordTable[PhraseRecord], split: str) -> RecordTable[PhraseRecord]:
    """Keep the sentences with a phrase that has a box; log how many phrases have none."""
    boxed = np.array([sum(bool(phrase.boxes) for phrase in record.phrases) for record in records])
    marked = sum(len(record.phrases) for record in records)
    if boxed.sum() < marked:
        say(
            f"{split}: {marked - boxed.sum()} of {marked} phrases have no box and are not counted; "
            f"{int((boxed == 0).sum())} of {len(records)} sentences are left out"
        )
    return records.select(boxed > 0)


def right_regions(phrase: Phrase, record: PhraseRecord, boxes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """`[r]` bool: the `boxes` `[r, 4]` (pixels of an image of `size`) that overlap one of the phrase's by half."""
    return np.any(overlaps(phrase.boxes, (record.width, record.height), boxes, size) >= _RIGHT_IOU, axis=0)


def with_boxes_appended(regions: RegionBatch) -> np.ndarray:
    """Append left, top, right, bottom, width and height, relative to the image's size: `[b, r, d + 6]`.

    Rows of padding stay 0. InputError where the features have no image sizes.
    """
    if (regions.sizes <= 0).any():
        raise InputError("flickr.append_boxes needs features with the sizes of their images: set it to false")
    scale = np.concatenate([regions.sizes, regions.sizes], axis=1).astype(np.float32)[:, None]
    edges = regions.boxes / scale
    return np.concatenate([regions.features, edges, edges[..., 2:] - edges[..., :2]], axis=-1)
