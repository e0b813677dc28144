"""VCR: four texts about one image, of which one is right (ViLBERT, arXiv 1908.02265, section 4.1).

Q→A: `[CLS] question [SEP] answer [SEP]`. QA→R: `[CLS] question [SEP] answer [SEP] rationale [SEP]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from pyutils.data.annotations.vcr import neutral_names, plain_text
from pyutils.data.records import VCRRecord
from pyutils.engine.vcr import Mode
from pyutils.errors import InputError
from pyutils.metrics.vcr import CHOICES
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.regions import RegionReader, region_arrays
from vilbert_paddle.data.texts import choice_batch

HIDDEN = -1  # label of a test question


def vcr_batch(
    records: Sequence[VCRRecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    mode: Mode,
    rng: Optional[np.random.Generator] = None,
    given_answer: Optional[int] = None,
) -> dict[str, np.ndarray]:
    """Collate texts [b, 4, t] (types 1 in the last part), the regions [b, r, …] of their image, and `labels` [b] int64,
    -1 where hidden.

    `mode` is "answer" (original: 60 positions) or "rationale" (80). `rng` draws the names of people, see
    `neutral_names`; training only. `given_answer` is the answer before the rationales; by default the right one, which
    test questions do not have. Regions of annotated objects, where the reader has them, take precedence over detected
    ones when there are more than `max_regions`.

    Raises:
        InputError: rationales of a question without answer.
    """
    texts = [text for record in records for text in _texts(record, tokenizer, max_text, mode, rng, given_answer)]
    batch = choice_batch(tokenizer, texts, CHOICES, reader.inputs.multiple)
    keys = [record.image for record in records]
    regions = reader.read(keys) if reader.annotated is None else reader.read_mixed(keys, keep="annotated")[0]
    labels = [record.answer_label if mode == "answer" else record.rationale_label for record in records]
    batch.update(region_arrays(regions))
    batch["labels"] = np.array([HIDDEN if label is None else label for label in labels], dtype=np.int64)
    return batch


def _texts(
    record: VCRRecord,
    tokenizer: WordPiece,
    max_text: int,
    mode: Mode,
    rng: Optional[np.random.Generator],
    given_answer: Optional[int],
) -> list[sequences.TextSequence]:
    names = neutral_names(record.object_names, rng)
    first = tokenizer.encode(plain_text(record.question, names))
    choices = record.answer_choices
    if mode == "rationale":
        answer = record.answer_label if given_answer is None else given_answer
        if answer is None:
            raise InputError(
                f"VCR question {record.annot_id} has no answer label: for rationales of a test split set "
                "vcr.given_answer to each answer, 0 to 3"
            )
        first = [*first, tokenizer.sep, *tokenizer.encode(plain_text(choices[answer], names))]
        choices = record.rationale_choices
    second = tokenizer.encode_batch(plain_text(choice, names) for choice in choices)
    return [sequences.pair(tokenizer, first, words, max_text) for words in second]
