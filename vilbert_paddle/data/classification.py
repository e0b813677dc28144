"""Batches of tasks that classify a picture (or two) and a text: VQA, SNLI-VE, NLVR2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.data.records import EntailmentRecord, PairRecord, VQARecord
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.regions import RegionReader
from vilbert_paddle.data.texts import text_batch

#: Classes of the entailment head, in the order of the original's checkpoints.
ENTAILMENT_CLASSES = ("contradiction", "neutral", "entailment")


def vqa_batch(
    records: Sequence[VQARecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    answers: AnswerVocabulary,
    rule: str = "authors",
    training: bool = True,
) -> dict[str, np.ndarray]:
    """Questions with pictures; in training `labels` [b, answers] float32, soft scores by `rule`.

    "authors" is the table ViLBERT's targets were made with: 0, 0.3, 0.6, 0.9, 1 for 0, 1, 2, 3 and more humans.
    """
    batch = _one_image(
        [record.question for record in records], [record.image for record in records], tokenizer, reader, max_text
    )
    if training:
        batch["labels"] = answers.fill([record.answers for record in records], rule)
    return batch


def entailment_batch(
    records: Sequence[EntailmentRecord], tokenizer: WordPiece, reader: RegionReader, max_text: int
) -> dict[str, np.ndarray]:
    """Hypotheses with pictures; `labels` [b, 3] float32, 1 at the class (`ENTAILMENT_CLASSES`), all 0 where the
    annotators agreed on none."""
    batch = _one_image(
        [record.sentence for record in records], [record.image for record in records], tokenizer, reader, max_text
    )
    classes = [ENTAILMENT_CLASSES.index(record.label) if record.label else -1 for record in records]
    batch["labels"] = one_hot(classes, len(ENTAILMENT_CLASSES))
    return batch


def pair_batch(
    records: Sequence[PairRecord], tokenizer: WordPiece, reader: RegionReader, max_text: int
) -> dict[str, np.ndarray]:
    """Sentences about two pictures (NLVR2): region arrays [b, 2, r, …], left picture first; `labels` [b, 2] float32,
    1 at class 1 when the sentence is true, at class 0 when not, all 0 where hidden.

    The original lays both pictures end to end, [b, 2 r, …], and takes them apart again: the same numbers in the same
    order. The model sees 2 b pictures and each sentence twice.
    """
    batch = text_batch(tokenizer, [record.sentence for record in records], max_text, reader.inputs.multiple)
    pictures = reader.read([key for record in records for key in (record.left, record.right)])
    for name, array in pictures.arrays().items():
        batch[name] = array.reshape(len(records), 2, *array.shape[1:])
    batch["labels"] = one_hot([-1 if record.label is None else int(record.label) for record in records], 2)
    return batch


def one_hot(classes: Sequence[int], count: int) -> np.ndarray:
    """[b, count] float32 with 1 at each class, all 0 where a class is negative."""
    numbers = np.asarray(classes, dtype=np.int64)
    labels = np.zeros((len(numbers), count), dtype=np.float32)
    known = np.flatnonzero(numbers >= 0)
    labels[known, numbers[known]] = 1
    return labels


def _one_image(
    texts: Sequence[str], keys: Sequence[str], tokenizer: WordPiece, reader: RegionReader, max_text: int
) -> dict[str, np.ndarray]:
    batch = text_batch(tokenizer, texts, max_text, reader.inputs.multiple)
    batch.update(reader.read(keys).arrays())
    return batch
