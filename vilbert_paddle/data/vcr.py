"""VCR: four texts about one picture, of which one is right (ViLBERT, arXiv 1908.02265, section 4.1).

Q→A: `[CLS] question [SEP] answer [SEP]`. QA→R: `[CLS] question [SEP] answer [SEP] rationale [SEP]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Optional

import numpy as np

from pyutils.data.annotations.vcr import neutral_names, plain_text
from pyutils.data.records import VCRRecord
from pyutils.errors import InputError
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.regions import RegionReader
from vilbert_paddle.data.texts import choice_batch

Question = Literal["answer", "rationale"]
QUESTIONS = ("answer", "rationale")
CHOICES = 4
HIDDEN = -1  # label of a test question


def vcr_batch(
    records: Sequence[VCRRecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    asked: Question,
    rng: Optional[np.random.Generator] = None,
    given_answer: Optional[int] = None,
) -> dict[str, np.ndarray]:
    """Texts [b, 4, t] (types 1 in the last part) with the regions [b, r, …] of their one picture, and `labels` [b]
    int64, -1 where hidden.

    `asked` is "answer" (original: 60 positions) or "rationale" (80). `rng` draws the names of people, see
    `neutral_names`; give it in training only. `given_answer` is the answer before the rationales; by default the
    right one, which test questions do not tell. Objects' own regions, where the reader has them, are kept and
    detected ones cut when there is no room for all.

    Raises InputError for an unknown `asked`, and for rationales of a question without answer.
    """
    if asked not in QUESTIONS:
        raise InputError(f"VCR asks for one of {', '.join(QUESTIONS)}, found {asked!r}")
    texts = [text for record in records for text in _texts(record, tokenizer, max_text, asked, rng, given_answer)]
    batch = choice_batch(tokenizer, texts, CHOICES, reader.inputs.multiple)
    keys = [record.image for record in records]
    pictures = reader.read(keys) if reader.annotated is None else reader.read_mixed(keys, keep="annotated")
    labels = [record.answer_label if asked == "answer" else record.rationale_label for record in records]
    batch.update(pictures.arrays())
    batch["labels"] = np.array([HIDDEN if label is None else label for label in labels], dtype=np.int64)
    return batch


def _texts(
    record: VCRRecord,
    tokenizer: WordPiece,
    max_text: int,
    asked: Question,
    rng: Optional[np.random.Generator],
    given_answer: Optional[int],
) -> list[sequences.TextSequence]:
    names = neutral_names(record.object_names, rng)
    first = tokenizer.encode(plain_text(record.question, names))
    choices = record.answer_choices
    if asked == "rationale":
        answer = record.answer_label if given_answer is None else given_answer
        if answer is None:
            raise InputError(
                f"VCR question {record.annot_id} does not tell its answer: rationales of a test split are asked once "
                "for each answer (given_answer 0 to 3)"
            )
        first = [*first, tokenizer.sep, *tokenizer.encode(plain_text(choices[answer], names))]
        choices = record.rationale_choices
    second = tokenizer.encode_batch(plain_text(choice, names) for choice in choices)
    return [sequences.pair(tokenizer, first, words, max_text) for words in second]
