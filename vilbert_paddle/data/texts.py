"""Text batches of ViLBERT: `[CLS] words [SEP]`, or two texts, alone or as the choices of a question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece


def text_batch(tokenizer: WordPiece, texts: Sequence[str], max_text: int, multiple: int = 1) -> dict[str, np.ndarray]:
    """Encode single texts as `input_ids`, `text_mask`, `token_type_ids` [b, t] int64.

    Words beyond `max_text` positions are cut, [SEP] is kept (the old Paddle port lost it). A text without words is
    `[CLS] [SEP]`. Types are 0.
    """
    words = tokenizer.encode_batch(texts, max_text)
    return sequences.batch([sequences.single(tokenizer, ids, max_text) for ids in words], tokenizer.pad, multiple)


def choice_batch(
    tokenizer: WordPiece, texts: Sequence[sequences.TextSequence], choices: int, multiple: int = 1
) -> dict[str, np.ndarray]:
    """Arrange `texts` [b · choices], the choices of a record being consecutive, as arrays [b, choices, t] int64."""
    flat = sequences.batch(texts, tokenizer.pad, multiple)
    return {name: array.reshape(-1, choices, array.shape[1]) for name, array in flat.items()}
