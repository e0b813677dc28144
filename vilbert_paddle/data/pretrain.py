"""Pre-training batches: masked words, masked regions, and captions that may belong to another picture.

Paper: arXiv 1908.02265, section 3.2; 12-in-1 (arXiv 1912.02315, section 3.1) for the overlap rule and for leaving the
masked losses of wrong pairs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Optional

import numpy as np

from pyutils.errors import InputError
from pyutils.text import masking
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.masking import MASKED_SHARE, global_region, mask_regions
from vilbert_paddle.data.regions import Pictures
from vilbert_paddle.data.texts import text_batch

Objective = Literal["all", "aligned_only", "no_alignment"]
OBJECTIVES = ("all", "aligned_only", "no_alignment")
_REPLACED_SHARE = 0.5


@dataclass(frozen=True)
class CaptionDraws:
    """`replace` [b] bool: whether a pair gets a random caption; `caption` [b] int64: which one of the pool."""

    replace: np.ndarray
    caption: np.ndarray


@dataclass(frozen=True)
class PretrainDraws:
    """All random numbers of a batch: words in reading order, regions [b, n] without the global one."""

    words: masking.MaskDraws
    regions: np.ndarray


def draw_captions(rng: np.random.Generator, count: int, pool: int, objective: Objective) -> CaptionDraws:
    """Half of the pairs get a random caption of a pool of `pool`, none under "no_alignment"."""
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")
    chance, caption = rng.random(count), rng.integers(max(1, pool), size=count)
    return CaptionDraws((chance > _REPLACED_SHARE) & (objective != "no_alignment") & (pool > 0), caption)


def replace_captions(captions: Sequence[str], pool: Sequence[str], draws: CaptionDraws) -> list[str]:
    """`captions` with those of `pool` where a pair was drawn; a drawn caption may happen to be the pair's own."""
    return [
        pool[int(number)] if replaced else caption
        for caption, replaced, number in zip(captions, draws.replace, draws.caption)
    ]


def pretrain_batch(
    captions: Sequence[str],
    pictures: Pictures,
    tokenizer: WordPiece,
    max_text: int,
    rng: np.random.Generator,
    pool: Sequence[str] = (),
    objective: Objective = "aligned_only",
    target: Literal["classes", "features"] = "classes",
    multiple: int = 1,
) -> dict[str, np.ndarray]:
    """A batch for the three objectives.

    Args:
        captions: one a picture.
        pictures: their regions (`RegionReader.read`), with class distributions for the target "classes".
            Their features are changed in place.
        pool: captions to replace half of them by, e.g. those of the whole training set; only drawn ones are read.
        objective: "all" trains all objectives on all pairs; "aligned_only" leaves the masked words and regions of
            replaced captions out; "no_alignment" replaces no caption (the original's 0, 1, 2).
        target: what masked regions are to predict: the detector's class distribution, or the region's own feature.
    Returns:
        The shared arrays (`vilbert_paddle.data`), masked, and
        word_labels [b, t] int64: the word at masked positions, -100 elsewhere;
        region_labels [b, r - 1] int64: 1 where a region is to be predicted, else 0, without the global region;
        region_targets [b, r - 1, classes or d] float32;
        replaced [b] int64: 1 where caption and picture do not belong together.
    Raises:
        InputError: unknown objective, or no class distributions though they are the target.
    """
    drawn = draw_captions(rng, len(captions), len(pool), objective)
    text = text_batch(tokenizer, replace_captions(captions, pool, drawn), max_text, multiple)
    count = int(maskable(text).sum())
    words = masking.draw(rng, count, tokenizer.vocab_size)
    draws = PretrainDraws(words, rng.random(pictures.mask[:, 1:].shape))
    batch = masked_batch(text, pictures, tokenizer, draws, target)
    batch["replaced"] = drawn.replace.astype(np.int64)
    if objective == "aligned_only":
        keep_aligned(batch)
    return batch


def masked_batch(
    text: dict[str, np.ndarray],
    pictures: Pictures,
    tokenizer: WordPiece,
    draws: PretrainDraws,
    target: Literal["classes", "features"] = "classes",
    probability: float = MASKED_SHARE,
) -> dict[str, np.ndarray]:
    """Hide words and regions by given draws: the arrays of `pretrain_batch` without `replaced`."""
    ids, labels = masking.mask_words(text["input_ids"], maskable(text), draws.words, tokenizer.mask, probability)
    regions, mask = pictures.features[:, 1:], pictures.mask[:, 1:]
    hidden = mask_regions(draws.regions, pictures.pixels[:, 1:], mask, probability)
    targets = region_targets(pictures, target)
    regions[hidden.hidden] = 0
    pictures.features[:, 0] = global_region(regions, mask, hidden.covered)
    return {
        **text,
        "input_ids": ids,
        **pictures.arrays(),
        "word_labels": labels,
        "region_labels": hidden.chosen.astype(np.int64),
        "region_targets": targets,
    }


def maskable(text: dict[str, np.ndarray]) -> np.ndarray:
    """Which positions of a batch of single texts hold words: all but [CLS], the last one ([SEP]) and padding."""
    real = text["text_mask"].astype(bool)
    last = text["text_mask"].sum(axis=1, keepdims=True) - 1
    places = np.arange(real.shape[1])
    return real & (places > 0) & (places < last)


def region_targets(pictures: Pictures, target: Literal["classes", "features"]) -> np.ndarray:
    """What regions are to predict, [b, r - 1, k] float32, taken before anything is hidden."""
    if target == "features":
        return pictures.features[:, 1:].copy()
    if pictures.class_probs is None:
        raise InputError(
            "masked regions are to predict the detector's classes, but the regions come without class distributions: "
            'give features that have them, or set the target to "features"'
        )
    return np.ascontiguousarray(pictures.class_probs[:, 1:])


def keep_aligned(batch: dict[str, np.ndarray]) -> None:
    """Leave masked words and regions of replaced captions out of the loss, in place: what is hidden cannot be known
    from a caption about something else."""
    wrong = batch["replaced"].astype(bool)
    batch["word_labels"][wrong] = masking.IGNORED
    batch["region_labels"][wrong] = 0


def caption_of(captions: Sequence[str], rng: Optional[np.random.Generator]) -> str:
    """One of a picture's captions: a random one, or the first without `rng`."""
    if len(captions) == 1 or rng is None:
        return captions[0]
    return captions[int(rng.integers(len(captions)))]
