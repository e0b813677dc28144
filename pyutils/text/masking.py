"""Masked language modelling: which words are hidden, by what, and what the model is to predict (Devlin et al. 2019).

The draws are values, apart from their use: `draw` takes them from a generator, a test hands in recorded ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

IGNORED = -100
_MASK_SHARE, _RANDOM_SHARE = 0.8, 0.1


@dataclass(frozen=True)
class MaskDraws:
    """Random numbers for n words: `chance` [n] float64 in [0, 1) and `words` [n] int64, ids to put in their place."""

    chance: np.ndarray
    words: np.ndarray


def draw(rng: np.random.Generator, count: int, vocab_size: int, allowed: Optional[np.ndarray] = None) -> MaskDraws:
    """Draws for `count` words. Replacements come from the whole vocabulary, as in the originals, or from the ids in
    `allowed` [k] (e.g. those without "[unused…]" pieces)."""
    if allowed is None:
        words = rng.integers(vocab_size, size=count)
    else:
        words = np.asarray(allowed)[rng.integers(len(allowed), size=count)]
    return MaskDraws(rng.random(count), words.astype(np.int64))


def mask_words(
    input_ids: np.ndarray,
    candidates: np.ndarray,
    draws: MaskDraws,
    mask_id: int,
    probability: float = 0.15,
    ignored: int = IGNORED,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide a share of the candidate words; returns (input_ids, labels), both of the shape of `input_ids`, int64.

    `input_ids` is [t] or [b, t] and stays untouched; `candidates`, of the same shape, is true for words that may be
    hidden: not [CLS], [SEP] or padding. The draws belong to the candidates in row-major order. A word is chosen where
    chance < `probability`; of those, chance / probability < 0.8 becomes `mask_id`, < 0.9 the drawn word, the rest stay
    as they are. Labels hold the word at chosen positions and `ignored` elsewhere. VisualBERT and ViLBERT share this
    rule. Raises ValueError when shapes or the number of draws do not fit.
    """
    input_ids, candidates = np.asarray(input_ids, dtype=np.int64), np.asarray(candidates, dtype=bool)
    if candidates.shape != input_ids.shape:
        raise ValueError(f"candidates {candidates.shape} must have the shape of input_ids {input_ids.shape}")
    count = int(candidates.sum())
    if draws.chance.shape != (count,) or draws.words.shape != (count,):
        raise ValueError(f"{count} candidate words but draws of {draws.chance.shape} and {draws.words.shape}")
    words = input_ids[candidates]
    chosen = draws.chance < probability
    share = draws.chance / probability
    replaced = np.where(share < _MASK_SHARE, mask_id, np.where(share < _MASK_SHARE + _RANDOM_SHARE, draws.words, words))
    masked, labels = input_ids.copy(), np.full_like(input_ids, ignored)
    masked[candidates] = np.where(chosen, replaced, words)
    labels[candidates] = np.where(chosen, words, ignored)
    return masked, labels
