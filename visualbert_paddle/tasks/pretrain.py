"""Pre-training of VisualBERT: MLM and sentence-image prediction (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle

from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.losses import masked_cross_entropy, token_losses
from pyutils.metrics.predictions import MetricsOnly
from pyutils.text import sequences
from pyutils.text.masking import IGNORED, MaskDraws, draw, mask_words
from pyutils.text.sequences import TextSequence
from pyutils.text.tokenizer import WordPiece
from visualbert_paddle.data.regions import pair_arrays
from visualbert_paddle.network.heads import PretrainingScores, VisualBertForPretraining
from visualbert_paddle.tasks.base import VisualBertTask, network_inputs
from visualbert_paddle.tasks.pretraining_texts import SOURCES, Example, TextSource, VisualBertPretrainingConfig

TARGETS = ("word_labels", "matches", "index")
_EVALUATION_SEED = 1908_03557


class VisualBertPretraining(VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64; `word_positions`, `word_labels` `[n]` int64: flat positions
    b · (t + r) + i of the masked words and the words; with the matching objective `matches` `[b]` int64, 1 = match."""

    pipelines = {}  # no answers to a user's examples
    name = "visualbert_pretraining"
    best_metric = "word_accuracy"
    config_class = VisualBertPretrainingConfig

    def __init__(self, config: VisualBertPretrainingConfig):
        super().__init__(config)
        settings = config.pretraining
        self.source: TextSource = SOURCES[settings.dataset](self.config, self.tokenizer)
        self.allowed = used_pieces(self.tokenizer) if settings.avoid_unused else None
        self.model = VisualBertForPretraining(self.config.model)
        self.find_unused_parameters = not self.source.matching  # pooler and matching head

    def read(self, split: str) -> Sequence[Any]:
        return self.source.read(split, self.regions)

    def collate(self, records: list[Any], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """The batch of the class. In evaluation a record's draws depend on the record alone."""
        examples, draws = [], []
        for record in records:
            own = rng if training else np.random.default_rng([_EVALUATION_SEED, self.source.seed_of(record)])
            examples.append(self.source.example(record, own))
            draws.append(draw(own, sum(examples[-1].text.words), self.tokenizer.vocab_size, self.allowed))
        return self.batch_of(examples, draws)

    def batch_of(self, examples: Sequence[Example], draws: Sequence[MaskDraws]) -> dict[str, np.ndarray]:
        """The batch of given examples, masked by `draws`."""
        texts, labels = zip(*(self._mask(example.text, own) for example, own in zip(examples, draws)))
        columns = list(zip(*(example.images for example in examples)))
        images = pair_arrays(self.regions, *columns) if self.source.pairs else self.region_arrays(columns[0])
        batch = {**self.text_arrays(texts), **images}
        batch.update(labelled_words(labels, batch["input_ids"].shape[1], batch["region_mask"].shape[1], self.multiple))
        if self.source.matching:
            batch["matches"] = np.array([example.matches for example in examples], dtype=np.int64)
        return batch

    def _mask(self, text: TextSequence, draws: MaskDraws) -> tuple[TextSequence, np.ndarray]:
        share = self.config.pretraining.masking
        ids, labels = mask_words(np.asarray(text.ids), np.asarray(text.words), draws, self.tokenizer.mask, share)
        return TextSequence(ids.tolist(), text.types, text.words), labels

    def scores(self, batch: Batch) -> PretrainingScores:
        """Scores of the masked words `[n, vocab]` and of matching `[b, 2]`."""
        return self.model(**network_inputs(batch, TARGETS))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """MLM loss, the mean over the masked words, plus the matching loss, the mean over the records, if used."""
        scores = self.scores(batch)
        words = masked_cross_entropy(scores.words, batch["word_labels"])
        if "matches" not in batch:
            return words, {}
        matching = masked_cross_entropy(scores.sentence_image, batch["matches"])
        return words + matching, {"words": words, "matching": matching}

    def predict(self, loader: Iterable[Batch], split: str) -> MetricsOnly:
        """`word_loss` and `word_accuracy` (percent) over all masked words of the split, and the same of matching."""
        sums = predict_all(self._sums, loader)
        words = max(float(sums["words"].sum()), 1.0)
        metrics = {
            "word_accuracy": 100.0 * float(sums["right"].sum()) / words,
            "word_loss": float(sums["loss"].sum()) / words,
        }
        if self.source.matching:
            metrics["matching_accuracy"] = 100.0 * float(sums["matched"].mean())
            metrics["matching_loss"] = float(sums["matching_loss"].mean())
        return MetricsOnly(metrics)

    def _sums(self, batch: Batch) -> dict[str, np.ndarray]:
        """Sums over each record's masked words: `loss`, `right`, `words` `[b]`; `matched`, `matching_loss` `[b]`."""
        scores = self.scores(batch)
        labels = batch["word_labels"]
        length = batch["input_ids"].shape[1] + batch["region_mask"].shape[1]
        rows, count = (batch["word_positions"] // length).numpy(), batch["input_ids"].shape[0]

        def sum_of(values: np.ndarray) -> np.ndarray:
            return np.bincount(rows, weights=values.astype(np.float64), minlength=count)

        found = {
            "loss": sum_of(token_losses(scores.words, labels).numpy()),
            "right": sum_of((scores.words.argmax(axis=-1) == labels).numpy()),
            "words": sum_of((labels != IGNORED).numpy()),
        }
        if "matches" in batch:
            found["matched"] = (scores.sentence_image.argmax(axis=-1) == batch["matches"]).numpy().astype(np.float64)
            found["matching_loss"] = token_losses(scores.sentence_image, batch["matches"]).numpy()
        return found


def labelled_words(labels: Sequence[np.ndarray], words: int, regions: int, multiple: int = 1) -> dict[str, np.ndarray]:
    """Flat positions and labels of the masked words, the only ones that the head scores.

    `labels`: for each record `[≤ words]` int64, `IGNORED` where nothing is masked. Returns `word_positions` and
    `word_labels` `[n]`; n is at least one and a multiple of `multiple`, padded with ignored labels at position 0.
    """
    padded = sequences.pad([own.tolist() for own in labels], IGNORED)
    rows, columns = np.nonzero(padded != IGNORED)
    count = max(1, -(-len(rows) // multiple)) * multiple
    positions, targets = np.zeros(count, dtype=np.int64), np.full(count, IGNORED, dtype=np.int64)
    positions[: len(rows)] = rows * (words + regions) + columns
    targets[: len(rows)] = padded[rows, columns]
    return {"word_positions": positions, "word_labels": targets}


def used_pieces(tokenizer: WordPiece) -> np.ndarray:
    """Ids `[k]` of all pieces but "[unused…]"."""
    pieces = tokenizer.tokens(range(tokenizer.vocab_size))
    return np.array([number for number, piece in enumerate(pieces) if not piece.startswith("[unused")], dtype=np.int64)
