"""Pre-training batches: masked words, masked regions, and captions that may belong to another image.

Paper: arXiv 1908.02265, section 3.2; 12-in-1 (arXiv 1912.02315, section 3.1) for the overlap rule and for excluding
mismatched pairs from the masked losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Optional

import numpy as np

from pyutils.data.features import RegionBatch
from pyutils.text import masking
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.masking import global_region, mask_regions
from vilbert_paddle.data.regions import region_arrays
from vilbert_paddle.data.texts import text_batch

Objective = Literal["all", "aligned_only", "no_alignment"]
_REPLACED_SHARE = 0.5


def replace_captions(
    captions: Sequence[str], pool: Sequence[str], replaced: np.ndarray, drawn: np.ndarray
) -> list[str]:
    """Replace captions where `replaced` [b] bool by entry `drawn` [b] of `pool`, which may happen to be their own."""
    return [pool[int(number)] if replace else caption for caption, replace, number in zip(captions, replaced, drawn)]


def pretrain_batch(
    captions: Sequence[str],
    regions: RegionBatch,
    tokenizer: WordPiece,
    max_text: int,
    rng: np.random.Generator,
    pool: Sequence[str] = (),
    objective: Objective = "aligned_only",
    target: Literal["classes", "features"] = "classes",
    multiple: int = 1,
) -> dict[str, np.ndarray]:
    """Collate a batch for the three objectives.

    Args:
        captions: one per image.
        regions: those of `RegionReader.read`, with class distributions for the target "classes". Features are changed
            in place.
        pool: captions, e.g. of the whole training set, that replace half of them; only drawn ones are read.
        objective: "all" trains all objectives on all pairs; "aligned_only" excludes the masked words and regions of
            replaced captions; "no_alignment" replaces no caption (the original's 0, 1, 2).
        target: what masked regions predict: the detector's class distribution, or the region's own feature.
    Returns:
        The shared arrays (`vilbert_paddle.data`), masked, and
        word_labels [b, t] int64: the word at masked positions, -100 elsewhere;
        region_labels [b, r - 1] int64: 1 for a masked region, else 0, without the global region;
        region_targets [b, r - 1, classes or d] float32;
        replaced [b] int64: 1 where caption and image do not belong together.
    """
    # Both are drawn whatever the objective, so that the later draws do not depend on it.
    chance, drawn = rng.random(len(captions)), rng.integers(max(1, len(pool)), size=len(captions))
    replaced = (chance > _REPLACED_SHARE) & (objective != "no_alignment") & (len(pool) > 0)
    text = text_batch(tokenizer, replace_captions(captions, pool, replaced, drawn), max_text, multiple)
    words = masking.draw(rng, int(maskable(text).sum()), tokenizer.vocab_size)
    batch = masked_batch(text, regions, tokenizer, words, rng.random(regions.mask[:, 1:].shape), target)
    batch["replaced"] = replaced.astype(np.int64)
    if objective == "aligned_only":
        keep_aligned(batch)
    return batch


def masked_batch(
    text: dict[str, np.ndarray],
    regions: RegionBatch,
    tokenizer: WordPiece,
    words: masking.MaskDraws,
    chance: np.ndarray,
    target: Literal["classes", "features"] = "classes",
) -> dict[str, np.ndarray]:
    """Mask words (in reading order) and regions (`chance` [b, r - 1], see `mask_regions`) by given draws.

    Returns the arrays of `pretrain_batch` without `replaced`.
    """
    ids, labels = masking.mask_words(text["input_ids"], maskable(text), words, tokenizer.mask)
    features, mask = regions.features[:, 1:], regions.mask[:, 1:]
    masked = mask_regions(chance, regions.boxes[:, 1:], mask)
    source = regions.features if target == "features" else regions.class_probs
    assert source is not None  # the reader requires class distributions for the target "classes"
    targets = source[:, 1:].copy()
    features[masked.hidden] = 0
    regions.features[:, 0] = global_region(features, mask, masked.covered)
    return {
        **text,
        "input_ids": ids,
        **region_arrays(regions),
        "word_labels": labels,
        "region_labels": masked.chosen.astype(np.int64),
        "region_targets": targets,
    }


def maskable(text: dict[str, np.ndarray]) -> np.ndarray:
    """Mark the positions of single texts that hold words, [b, t] bool: not [CLS], the last one ([SEP]) or padding."""
    last = text["text_mask"].sum(axis=1, keepdims=True) - 1
    positions = np.arange(text["text_mask"].shape[1])
    return (positions > 0) & (positions < last)


def keep_aligned(batch: dict[str, np.ndarray]) -> None:
    """Exclude masked words and regions of replaced captions from the loss, in place: they cannot be inferred from a
    caption about another image."""
    wrong = batch["replaced"].astype(bool)
    batch["word_labels"][wrong] = masking.IGNORED
    batch["region_labels"][wrong] = 0


def caption_of(captions: Sequence[str], rng: Optional[np.random.Generator]) -> str:
    """Choose one of an image's captions: a random one, or the first without `rng`."""
    if len(captions) == 1 or rng is None:
        return captions[0]
    return captions[int(rng.integers(len(captions)))]
