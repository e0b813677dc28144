"""Masked language modelling: masked words, their replacements and labels (Devlin et al. 2019).

Random draws are separate from their use, so that recorded ones can be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

IGNORED = -100
_MASK_SHARE, _RANDOM_SHARE = 0.8, 0.1


@dataclass(frozen=True)
class MaskDraws:
    """Random numbers for n words: `chance` [n] float64 in [0, 1) and `words` [n] int64, replacement ids."""

    chance: np.ndarray
    words: np.ndarray


def draw(rng: np.random.Generator, count: int, vocab_size: int, allowed: Optional[np.ndarray] = None) -> MaskDraws:
    """Draw for `count` words. Replacements come from the whole vocabulary, as in the originals, or from the ids in
    `allowed` [k] (e.g. those without "[unused…]" pieces)."""
    words = rng.integers(vocab_size if allowed is None else len(allowed), size=count)
    if allowed is not None:
        words = allowed[words]
    return MaskDraws(rng.random(count), words.astype(np.int64))


def mask_words(
    input_ids: np.ndarray, candidates: np.ndarray, draws: MaskDraws, mask_id: int, probability: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Mask a share of the candidate words; returns (input_ids, labels), both of the shape of `input_ids`, int64.

    `input_ids` is [t] or [b, t] and is not changed; `candidates`, bool of the same shape, is true for words that may be
    masked: not [CLS], [SEP] or padding. The draws belong to the candidates in row-major order. A word is chosen where
    chance < `probability`; of those, chance / probability < 0.8 becomes `mask_id`, < 0.9 the drawn word, the rest is
    kept. Labels are the word at chosen positions and `IGNORED` elsewhere.
    """
    words = input_ids[candidates]
    chosen = draws.chance < probability
    share = draws.chance / probability
    replaced = np.where(share < _MASK_SHARE, mask_id, np.where(share < _MASK_SHARE + _RANDOM_SHARE, draws.words, words))
    masked, labels = input_ids.copy(), np.full_like(input_ids, IGNORED)
    masked[candidates] = np.where(chosen, replaced, words)
    labels[candidates] = np.where(chosen, words, IGNORED)
    return masked, labels
