"""Batches of tasks that classify one or two images and a text: VQA, SNLI-VE, NLVR2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.data.annotations.classified import ENTAILMENT_CLASSES
from pyutils.data.records import EntailmentRecord, PairRecord, VQARecord
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.regions import RegionReader, region_arrays
from vilbert_paddle.data.texts import text_batch


def vqa_batch(
    records: Sequence[VQARecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    answers: AnswerVocabulary,
    rule: str = "authors",
    training: bool = True,
) -> dict[str, np.ndarray]:
    """Collate questions; in training with `labels` [b, answers] float32, soft scores by `rule`.

    "authors" is the table of ViLBERT's targets: 0, 0.3, 0.6, 0.9, 1 for 0, 1, 2, 3 and more annotators.
    """
    batch = text_batch(tokenizer, [record.question for record in records], max_text, reader.inputs.multiple)
    batch.update(region_arrays(reader.read([record.image for record in records])))
    if training:
        batch["labels"] = answers.fill([record.answers for record in records], rule)
    return batch


def entailment_batch(
    records: Sequence[EntailmentRecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    classes: Sequence[str] = ENTAILMENT_CLASSES,
) -> dict[str, np.ndarray]:
    """Collate sentences; `labels` [b, classes] float32, 1 at the class, all 0 without a label."""
    batch = text_batch(tokenizer, [record.sentence for record in records], max_text, reader.inputs.multiple)
    batch.update(region_arrays(reader.read([record.image for record in records])))
    rows = [-1 if record.label is None else classes.index(record.label) for record in records]
    batch["labels"] = _one_hot(rows, len(classes))
    return batch


def pair_batch(
    records: Sequence[PairRecord], tokenizer: WordPiece, reader: RegionReader, max_text: int
) -> dict[str, np.ndarray]:
    """Collate sentences about two images (NLVR2): region arrays [b, 2, r, …], left image first; `labels` [b, 2]
    float32, 1 at class 1 for a true sentence, at class 0 for a false one, all 0 where hidden.

    The original concatenates both images, [b, 2 r, …], and splits them again: the same numbers in the same order. The
    model reads 2 b images and each sentence twice.
    """
    batch = text_batch(tokenizer, [record.sentence for record in records], max_text, reader.inputs.multiple)
    regions = reader.read([key for record in records for key in (record.left, record.right)])
    for name, array in region_arrays(regions).items():
        batch[name] = array.reshape(len(records), 2, *array.shape[1:])
    batch["labels"] = _one_hot([-1 if record.label is None else int(record.label) for record in records], 2)
    return batch


def _one_hot(classes: Sequence[int], count: int) -> np.ndarray:
    """[b, count] float32 with 1 at each class, all 0 for class -1, which is the last row of the table."""
    return np.eye(count + 1, count, dtype=np.float32)[classes]
